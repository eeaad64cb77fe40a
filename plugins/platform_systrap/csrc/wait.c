/* Waiting for events: spin a little, then sleep in one place for everything. */
#define _GNU_SOURCE
#include "engine.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SPIN_NS 20000
#define POLL_SPINS 4 /* look at poll_fd every so many times a spin's limit, while there are events */
#define MAX_BACKOFF 64

int64_t sy_now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/* Take what a thread's handler published, if it did. 1: nothing for the kernel, and the thread
 * still waits in its handler: the caller lets it go on. */
int sy_look(struct sy_engine *e, struct sy_thread *t) {
    int event;

    if (t->parked || sy_get32(t->slot, S_STATE) != ST_EVENT || t->state > SY_ST_RUNNING)
        return 0;
    event = sy_frame_event(e, t);
    if (event < 0) { /* no handler of ours wrote this */
        sy_kill_space(t->space);
        return 0;
    }
    t->parked = 1;
    if (t->released) {
        sy_leave_running(e, t, SY_ST_STOPPED);
        if (t != t->space->leader) {
            sy_post(e, t, ST_EXIT);
            sy_thread_ended(e, t);
        }
        return 0;
    }
    if (event == SY_NONE)
        return 1;
    t->interrupted = 0; /* done, or overtaken: what may still come of it is stale */
    t->event = event;
    sy_enqueue(e, t);
    return 0;
}

static void look_at_running(struct sy_engine *e) {
    struct sy_thread *t, *next;

    for (t = e->running; t != NULL; t = next) {
        next = t->run_next;
        if (!t->queued && sy_look(e, t))
            sy_go(e, t);
    }
}

static struct sy_space *find(struct sy_engine *e, pid_t pid) {
    struct sy_space *s = e->spaces;

    while (s != NULL && s->tgid != pid)
        s = s->next;
    return s;
}

/* Processes that have ended, or that somebody has stopped from outside. */
void sy_reap(struct sy_engine *e) {
    int status;
    pid_t pid;

    e->chld_scanned = sy_chld_count();
    while ((pid = waitpid(-e->pgid, &status, __WALL | WNOHANG | WUNTRACED)) > 0) {
        struct sy_space *s = find(e, pid);

        if (WIFSTOPPED(status)) {
            if (s != NULL && s->pidfd >= 0)
                syscall(SYS_pidfd_send_signal, s->pidfd, SIGCONT, NULL, 0);
        } else if (s != NULL)
            sy_space_ended(e, s);
    }
}

static struct sy_thread *deliver(struct sy_engine *e) {
    struct sy_thread *t = e->queue;

    e->queue = t->next_queued;
    if (e->queue == NULL)
        e->queue_tail = &e->queue;
    t->queued = 0;
    if (t->event == SY_DEAD) {
        t->refs--; /* the queue's: Python has one still, or there would be no event */
        return t;
    }
    sy_leave_running(e, t, SY_ST_STOPPED);
    t->space->last = t;
    if (t->event == SY_SYSCALL) {
        sy_patch_consider(e, t);
        sy_current(e, t);
    }
    return t;
}

/* Spinning pays only while a guest runs on another processor. One that was asleep may wait for ours: then
 * *yield says to hand it over now and then. */
static int worth_spinning(struct sy_engine *e, int *yield) {
    int worth = 0;

    if (e->spin_skip > 0) {
        e->spin_skip--;
        return 0;
    }
    *yield = 0;
    for (struct sy_thread *t = e->running; t != NULL; t = t->run_next) {
        worth |= t->woken || sy_get32(t->slot, S_CPU) != e->control->cpu;
        *yield |= t->woken;
    }
    return worth;
}

static void spin(struct sy_engine *e) {
    int64_t end;
    int yield;

    if (!worth_spinning(e, &yield))
        return;
    end = sy_now() + SPIN_NS;
    do {
        for (int i = 0; i < 8; i++) {
            look_at_running(e);
            if (e->queue != NULL) {
                e->spin_backoff = 0;
                return;
            }
            __builtin_ia32_pause();
        }
        if (yield)
            sched_yield();
    } while (sy_now() < end);
    e->spin_backoff = e->spin_backoff ? e->spin_backoff * 2 : 1;
    if (e->spin_backoff > MAX_BACKOFF)
        e->spin_backoff = MAX_BACKOFF;
    e->spin_skip = e->spin_backoff;
}

/* One sleep; what sy_sleep answered for poll_fd: 1 readable, 0 not (or the time is up), -EINTR. */
static int sleep_once(struct sy_engine *e, int poll_fd, int64_t ns) {
    int fds[3] = {e->eventfd, e->listener, poll_fd}, r;

    r = sy_sleep(fds, poll_fd >= 0 ? 3 : 2, ns);
    if (r < 0)
        return r;
    if (r & 1) {
        uint64_t count;
        if (read(e->eventfd, &count, sizeof count) < 0 && errno != EAGAIN)
            return 0;
    }
    if (r & 2)
        sy_notifications(e, NULL, 0);
    return (r & 4) != 0;
}

/* Written only when it changes: all stubs read that line. */
void sy_seen_on_cpu(struct sy_engine *e) {
    uint32_t cpu = (uint32_t)sched_getcpu();

    if (e->control->cpu != cpu)
        e->control->cpu = cpu;
}

/* Is it time to look at poll_fd, though there may be events? */
static int poll_is_due(struct sy_engine *e) {
    uint64_t now = __builtin_ia32_rdtsc();

    if (now - e->looked < POLL_SPINS * e->control->spin)
        return 0;
    e->looked = now;
    return 1;
}

/* The next thread that stopped, or NULL: see Platform.wait. `way`: SY_QUICK: NULL too where it would have to
 * sleep, SY_POLL_READY where nothing more is to be tried; SY_PATIENT: after NULL. */
struct sy_thread *sy_wait(struct sy_engine *e, int poll_fd, int64_t timeout_ns, int way) {
    int64_t end;

    if (e->closed)
        return NULL;
    if (e->current != NULL) {
        sy_copies_flush(e);
        e->current = NULL;
    }
    sy_seen_on_cpu(e);
    if (way == SY_QUICK) {
        if (poll_is_due(e) && sleep_once(e, poll_fd, 0) == 1)
            return SY_POLL_READY;
        if (e->queue == NULL)
            look_at_running(e);
        if (e->queue == NULL && timeout_ns != 0 && e->running != NULL)
            spin(e);
        return e->queue != NULL ? deliver(e) : NULL;
    }
    end = timeout_ns > 0 ? sy_now() + timeout_ns : 0;
    for (;;) {
        int64_t left;
        int r;

        if (e->queue == NULL)
            look_at_running(e);
        if (e->queue == NULL && e->chld_scanned != sy_chld_count())
            sy_reap(e);
        if (e->queue != NULL)
            return deliver(e);
        left = timeout_ns;
        if (timeout_ns > 0 && (left = end - sy_now()) < 0)
            left = 0;
        /* A handler that publishes from here on sees that we sleep. */
        __atomic_exchange_n(&e->control->sleeping, 1, __ATOMIC_SEQ_CST);
        look_at_running(e);
        r = e->queue != NULL ? 0 : sleep_once(e, poll_fd, left);
        e->control->sleeping = 0;
        e->looked = __builtin_ia32_rdtsc();
        if (e->queue != NULL)
            continue;
        if (r == 1)
            return NULL;
        if (r == -EINTR) {
            sy_reap(e);
            look_at_running(e);
            if (e->queue == NULL)
                return NULL; /* a signal to ourselves, perhaps */
        } else if (left == 0 || (timeout_ns > 0 && sy_now() >= end)) {
            sy_reap(e);
            look_at_running(e);
            return e->queue != NULL ? deliver(e) : NULL;
        }
    }
}
