/* The queue of events, and waiting for one: spin a little, then sleep. */
#define _GNU_SOURCE
#include "engine.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#define SPIN_NS 40000 /* about what a guest's system call takes where KVM is itself virtual */
#define POLL_TURNS 8  /* look at poll_fd every so many deliveries */
#define MAX_BACKOFF 64

int64_t kv_now(void) {
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/* From a virtual CPU's thread: its guest thread has an event. */
void kv_publish(struct kv_engine *e, struct kv_vcpu *v, struct kv_thread *t) {
    pthread_mutex_lock(&e->queue_lock);
    t->state = KV_ST_QUEUED;
    t->queue_next = NULL;
    t->queue_prev = e->queue_last;
    if (e->queue_last != NULL)
        e->queue_last->queue_next = t;
    else
        __atomic_store_n(&e->queue, t, __ATOMIC_SEQ_CST);
    e->queue_last = t;
    v->busy = 0;
    e->nrunning--;
    pthread_cond_signal(&e->parked);
    pthread_mutex_unlock(&e->queue_lock);
    if (__atomic_load_n(&e->sleeping, __ATOMIC_SEQ_CST)) {
        uint64_t one = 1;

        if (write(e->event_fd, &one, sizeof one) < 0)
            return; /* full: the loop is about to wake up anyway */
    }
}

/* The queue lock is held. */
static void take_out(struct kv_engine *e, struct kv_thread *t) {
    if (t->queue_prev != NULL)
        t->queue_prev->queue_next = t->queue_next;
    else
        e->queue = t->queue_next;
    if (t->queue_next != NULL)
        t->queue_next->queue_prev = t->queue_prev;
    else
        e->queue_last = t->queue_prev;
    t->state = KV_ST_STOPPED;
}

void kv_unqueue(struct kv_engine *e, struct kv_thread *t) {
    pthread_mutex_lock(&e->queue_lock);
    if (t->state == KV_ST_QUEUED)
        take_out(e, t);
    pthread_mutex_unlock(&e->queue_lock);
}

static struct kv_thread *look(struct kv_engine *e) { return __atomic_load_n(&e->queue, __ATOMIC_SEQ_CST); }

static int64_t deliver(struct kv_engine *e) {
    struct kv_thread *t;

    pthread_mutex_lock(&e->queue_lock);
    t = e->queue;
    take_out(e, t);
    pthread_mutex_unlock(&e->queue_lock);
    t->kick = 0;
    return t->handle;
}

static int running(struct kv_engine *e) { return __atomic_load_n(&e->nrunning, __ATOMIC_RELAXED); }

static void spin(struct kv_engine *e) {
    int64_t end;

    /* A descriptor that is always readable must not keep us from seeing guests. */
    if (e->spin_skip > 0 && !e->was_readable) {
        e->spin_skip--;
        return;
    }
    end = kv_now() + SPIN_NS;
    do {
        sched_yield(); /* hands the processor over if the guest is to run on this very one */
        if (look(e) != NULL) {
            e->spin_backoff = 0;
            return;
        }
    } while (running(e) > 0 && kv_now() < end);
    e->spin_backoff = e->spin_backoff ? e->spin_backoff * 2 : 1;
    if (e->spin_backoff > MAX_BACKOFF)
        e->spin_backoff = MAX_BACKOFF;
    e->spin_skip = e->spin_backoff;
}

/* Sleep until there is an event, poll_fd is readable (1), a signal came (-1) or the time is up (0). */
static int doze(struct kv_engine *e, int poll_fd, int64_t ns) {
    struct pollfd fds[2] = {{.fd = e->event_fd, .events = POLLIN}, {.fd = poll_fd, .events = POLLIN}};
    struct timespec limit = {ns / 1000000000, ns % 1000000000};
    int n;

    __atomic_store_n(&e->sleeping, 1, __ATOMIC_SEQ_CST);
    if (look(e) != NULL && ns != 0) {
        limit = (struct timespec){0, 0};
        ns = 0;
    }
    n = ppoll(fds, poll_fd >= 0 ? 2 : 1, ns < 0 ? NULL : &limit, NULL);
    __atomic_store_n(&e->sleeping, 0, __ATOMIC_SEQ_CST);
    if (n < 0)
        return -1;
    if (n > 0 && fds[0].revents) {
        uint64_t count;

        if (read(e->event_fd, &count, sizeof count) < 0 && errno == EINTR)
            return -1;
    }
    return n > 0 && poll_fd >= 0 && fds[1].revents ? 1 : 0;
}

static int readable(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return fd >= 0 && poll(&p, 1, 0) == 1;
}

/* The handle of the next thread that stopped, or 0: see Platform.wait. */
int64_t kv_wait(struct kv_engine *e, int poll_fd, int64_t timeout_ns) {
    int64_t end = timeout_ns > 0 ? kv_now() + timeout_ns : 0;

    if (e->closed)
        return 0;
    e->turns++;
    if (e->turns % POLL_TURNS == 0 && readable(poll_fd)) {
        e->was_readable = 1;
        return 0;
    }
    if (look(e) == NULL && timeout_ns != 0 && running(e) > 0)
        spin(e);
    e->was_readable = 0;
    for (;;) {
        int64_t left = timeout_ns;
        int r;

        if (look(e) != NULL)
            return deliver(e);
        if (timeout_ns > 0 && (left = end - kv_now()) < 0)
            left = 0;
        r = doze(e, poll_fd, left);
        if (look(e) != NULL)
            return deliver(e);
        e->was_readable = r == 1;
        if (r != 0 || left == 0)
            return 0;
    }
}
