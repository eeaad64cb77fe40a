/* Confirmation of host calls (seccomp user notification): only what we have just asked for goes through. */
#define _GNU_SOURCE
#include "engine.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

static int known_process(struct sy_engine *e, pid_t pid) {
    for (struct sy_space *s = e->spaces; s != NULL; s = s->next)
        if (s->tgid == pid)
            return 1;
    return 0;
}

/* A process that is a child of ours, of no address space yet. A thread that is not its process's first is
 * nobody's child. */
static int new_child(struct sy_engine *e, pid_t pid) {
    siginfo_t info;

    return pid > 0 && !known_process(e, pid) &&
           waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0;
}

static struct sy_expected *match(struct sy_engine *e, const struct seccomp_notif *n,
                                 struct sy_expected *expected, int count) {
    for (int i = 0; i < count; i++) {
        struct sy_expected *x = &expected[i];
        if (x->done || x->nr != n->data.nr || memcmp(x->args, n->data.args, sizeof x->args) != 0)
            continue;
        if (n->data.instruction_pointer < e->gate || n->data.instruction_pointer >= e->gate + STUB_PAGE)
            continue;
        if (x->tid != 0 ? x->tid == (pid_t)n->pid : new_child(e, (pid_t)n->pid))
            return x;
    }
    return NULL;
}

/* Answer what is pending; never blocks. */
void sy_notifications(struct sy_engine *e, struct sy_expected *expected, int count) {
    union {
        struct seccomp_notif n;
        char room[512];
    } in;
    union {
        struct seccomp_notif_resp r;
        char room[512];
    } out;

    for (;;) {
        struct pollfd pfd = {.fd = e->listener, .events = POLLIN};
        struct sy_expected *x;

        if (poll(&pfd, 1, 0) <= 0 || !(pfd.revents & POLLIN))
            return;
        memset(&in, 0, sizeof in);
        if (ioctl(e->listener, SECCOMP_IOCTL_NOTIF_RECV, &in.n) < 0)
            return; /* the caller was killed meanwhile, or a signal to us */
        memset(&out, 0, sizeof out);
        out.r.id = in.n.id;
        x = match(e, &in.n, expected, count);
        if (x != NULL) {
            x->done = 1;
            x->tid = (pid_t)in.n.pid;
            out.r.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
        } else {
            out.r.error = -EPERM; /* the guest's own idea */
        }
        ioctl(e->listener, SECCOMP_IOCTL_NOTIF_SEND, &out.r); /* ENOENT: killed meanwhile */
    }
}
