/* Waiting for stops: spin a little, then sleep. */
#define _GNU_SOURCE
#include "engine.h"

#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <sys/wait.h>
#include <time.h>

#define SPIN_NS 20000        /* before an event: longer than a round trip, shorter than a slice */
#define STOP_SPIN_NS 100000  /* injected calls: most are over by then */
#define STOP_LIMIT_NS 30000000000LL
#define POLL_TURNS 8         /* look at poll_fd every so many deliveries */
#define SCAN_TURNS 64        /* and at all tracees, not only the running ones */
#define FEW 4                /* so many running threads are asked one by one */
#define MAX_BACKOFF 64

int64_t pe_now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static struct pe_thread *dequeue(struct pe_engine *e) {
    struct pe_thread *t = e->queue;
    if (t != NULL) {
        e->queue = t->next_queued;
        if (e->queue == NULL)
            e->queue_tail = &e->queue;
        t->queued = 0;
    }
    return t;
}

static void scan_all(struct pe_engine *e) {
    int status;
    pid_t pid;

    e->chld_scanned = pe_chld_count();
    while ((pid = waitpid(-e->pgid, &status, __WALL | WNOHANG)) > 0)
        pe_take_status(e, pid, status);
}

static void scan_running(struct pe_engine *e) {
    struct pe_thread *t, *next;
    int status;

    if (e->nrunning > FEW) {
        scan_all(e);
        return;
    }
    for (t = e->running; t != NULL; t = next) {
        next = t->run_next;
        /* a queued thread is stopped already; only its death could be reported */
        if (!t->queued && waitpid(t->tid, &status, __WALL | WNOHANG) == t->tid)
            pe_take_status(e, t->tid, status);
    }
}

static int64_t deliver(struct pe_engine *e) {
    struct pe_thread *t = dequeue(e);
    int64_t handle = t->handle;

    if (t->event == PE_DEAD) {
        pe_thread_drop(t);
        return handle;
    }
    pe_mark_stopped(e, t);
    t->space->last = t;
    return handle;
}

static void spin(struct pe_engine *e) {
    int64_t end;

    if (e->spin_skip > 0) {
        e->spin_skip--;
        return;
    }
    end = pe_now() + SPIN_NS;
    do {
        sched_yield(); /* hands the processor over when the guest is on this very one */
        scan_running(e);
        if (e->queue != NULL) {
            e->spin_backoff = 0;
            return;
        }
    } while (e->nrunning > 0 && pe_now() < end);
    e->spin_backoff = e->spin_backoff ? e->spin_backoff * 2 : 1;
    if (e->spin_backoff > MAX_BACKOFF)
        e->spin_backoff = MAX_BACKOFF;
    e->spin_skip = e->spin_backoff;
}

/* The handle of the next thread that stopped, or 0: see Platform.wait. */
int64_t pe_wait(struct pe_engine *e, int poll_fd, int64_t timeout_ns) {
    int64_t end = timeout_ns > 0 ? pe_now() + timeout_ns : 0;
    int spun = 0;

    if (e->closed)
        return 0;
    e->turns++;
    if (e->turns % POLL_TURNS == 0 && poll_fd >= 0 && pe_sleep(poll_fd, 0) == 1)
        return 0;
    if (e->turns % SCAN_TURNS == 0)
        scan_all(e);
    for (;;) {
        int64_t left;
        int r;

        if (e->queue == NULL)
            scan_running(e);
        if (e->queue == NULL && timeout_ns != 0 && e->nrunning > 0 && !spun) {
            spun = 1;
            spin(e);
        }
        if (e->queue == NULL) {
            /* A SIGCHLD that is pending may be of a stop taken long ago; one sent from here on is not. */
            pe_drain();
            if (e->chld_scanned != pe_chld_count())
                scan_all(e);
        }
        if (e->queue != NULL)
            return deliver(e);
        left = timeout_ns;
        if (timeout_ns > 0 && (left = end - pe_now()) < 0)
            left = 0;
        r = pe_sleep(poll_fd, left);
        if (r == 1)
            return 0;
        if (r == 0 && left == 0) {
            /* a stop may have come together with the end of the time */
            scan_all(e);
            return e->queue != NULL ? deliver(e) : 0;
        }
        if (r == -EINTR) {
            scan_all(e);
            if (e->queue == NULL)
                return 0; /* a signal to ourselves, perhaps */
        }
    }
}

/* Wait for this very thread. 0 and its status, or PE_GONE; others are queued. */
int pe_wait_stop(struct pe_engine *e, struct pe_thread *t, int *status) {
    int64_t now = pe_now(), spin_end = now + STOP_SPIN_NS, end = now + STOP_LIMIT_NS;
    int killed = 0;

    if (e->early_pid == t->tid) {
        *status = e->early_status;
        e->early_pid = 0;
        return 0;
    }
    for (;;) {
        unsigned long seen = pe_chld_count();
        pid_t pid = waitpid(t->tid, status, __WALL | WNOHANG);
        if (pid == t->tid)
            return 0;
        if (pid < 0 && errno != EINTR)
            return PE_GONE;
        if (now < spin_end) {
            sched_yield();
            now = pe_now();
            continue;
        }
        /* A group's leader is reported dead only after the others were: take all there is. */
        while ((pid = waitpid(-e->pgid, status, __WALL | WNOHANG)) > 0) {
            if (pid == t->tid)
                return 0;
            pe_take_status(e, pid, *status);
        }
        if (seen == pe_chld_count())
            pe_sleep(-1, 1000000000);
        now = pe_now();
        if (now > end) {
            if (killed)
                return PE_GONE;
            pe_kill_space(t->space);
            killed = 1;
            end = now + 1000000000LL;
        }
    }
}
