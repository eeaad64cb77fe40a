/* Guest memory through process_vm_readv(2) and process_vm_writev(2), which respect its protections. */
#define _GNU_SOURCE
#include "engine.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define SETTLE_NS 2000000000LL

static int64_t copy(struct sy_engine *e, struct sy_space *s, int write, uint64_t addr, void *buf, uint64_t len) {
    pid_t tgid = (pid_t)sy_space_tid(s);
    uint64_t done = 0;

    if (tgid == 0)
        return SY_GONE;
    if (addr < e->min_address || addr >= e->task_size)
        return 0;
    if (len > e->task_size - addr)
        len = e->task_size - addr;
    while (done < len) {
        struct iovec local = {(char *)buf + done, len - done};
        struct iovec remote = {(void *)(addr + done), len - done};
        ssize_t n = write ? process_vm_writev(tgid, &local, 1, &remote, 1, 0)
                          : process_vm_readv(tgid, &local, 1, &remote, 1, 0);
        if (n < 0 && errno == ESRCH)
            return SY_GONE;
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        done += (uint64_t)n;
    }
    return (int64_t)done;
}

int64_t sy_space_read(struct sy_engine *e, struct sy_space *s, uint64_t addr, void *buf, uint64_t len) {
    return copy(e, s, 0, addr, buf, len);
}

int64_t sy_space_write(struct sy_engine *e, struct sy_space *s, uint64_t addr, const void *buf,
                       uint64_t len) {
    int64_t n = copy(e, s, 1, addr, (void *)(uintptr_t)buf, len);

    if (n > 0) /* the pages it has reached can be written */
        sy_writable_add(s, addr & ~(uint64_t)(SY_PAGE - 1), (addr + (uint64_t)n + SY_PAGE - 1) & ~(uint64_t)(SY_PAGE - 1));
    return n;
}

/* mincore(2) needs memory of the caller: a page of the slot. */
int64_t sy_space_mincore(struct sy_engine *e, struct sy_space *s, uint64_t addr, uint64_t len, void *vec) {
    uint64_t pages = len / SY_PAGE, done = 0;

    while (done < pages) {
        uint64_t n = pages - done < S_BUFFER_SIZE ? pages - done : S_BUFFER_SIZE;
        struct sy_thread *t = NULL;
        int64_t rc;

        for (t = s->threads; t != NULL && !t->parked; t = t->sibling)
            ;
        if (t == NULL) /* any thread's slot will do: they share the region */
            t = s->leader;
        if (t == NULL)
            return SY_GONE;
        rc = sy_space_call(e, s, SYS_mincore, addr + done * SY_PAGE, n * SY_PAGE, t->slot_at + S_BUFFER, 0, 0, 0);
        if (rc < 0)
            return rc;
        if (s->dead)
            return SY_GONE;
        memcpy((char *)vec + done, t->slot + S_BUFFER, n);
        done += n;
    }
    return s->dead || s->released ? SY_GONE : 0;
}

/* Wait until the threads that were told to exit have. 0, or SY_GONE: one does not, so all are killed. */
int sy_space_settle(struct sy_engine *e, struct sy_space *s) {
    int64_t end = sy_now() + SETTLE_NS;

    for (;;) {
        int left = 0, total = s->nchunks ? SY_FIRST_SLOTS + (s->nchunks - 1) * SY_MORE_SLOTS : 0;

        if (s->dead || s->released)
            return SY_GONE;
        for (struct sy_thread *t = s->threads, *next; t != NULL; t = next) {
            next = t->sibling;
            if (t->released && t != s->leader) {
                left++;
                sy_look(e, t);
            }
        }
        for (int i = 0; i < total && !left; i++)
            left = s->busy[i] == 2 && sy_get32(sy_slot_ours(e, s, i), S_TID) != 0;
        if (!left)
            return 0;
        if (sy_now() > end) {
            sy_kill_space(s);
            return SY_GONE;
        }
        if (e->chld_scanned != sy_chld_count())
            sy_reap(e);
        sy_sleep(NULL, 0, 50000);
    }
}
