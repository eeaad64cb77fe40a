/* Guest threads and processes as the engine knows them: lists, beginning, end. */
#define _GNU_SOURCE
#include "engine.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* CF PF AF ZF SF TF DF OF NT RF AC ID: what sigreturn may set. */
#define USER_EFLAGS 0x254dd5UL
#define USER_CS 0x33
#define USER_DS 0x2b
#define PIDFD_SEARCH 65536

struct sy_space *sy_space_new(struct sy_engine *e, pid_t tgid) {
    struct sy_space *s = calloc(1, sizeof *s);

    if (s == NULL || (s->busy = calloc(1, SY_FIRST_SLOTS)) == NULL) {
        free(s);
        return NULL;
    }
    s->engine = e;
    s->pidfd = -1;
    s->tgid = tgid;
    s->refs = 2;
    s->next = e->spaces;
    if (s->next != NULL)
        s->next->prev = s;
    e->spaces = s;
    return s;
}

void sy_space_unref(struct sy_engine *e, struct sy_space *s) {
    if (--s->refs == 0) {
        sy_patch_free(e, s);
        sy_chunks_free(e, s);
        free(s);
    }
}

void sy_space_drop(struct sy_engine *e, struct sy_space *s) { sy_space_unref(e, s); }

struct sy_thread *sy_thread_new(struct sy_engine *e, struct sy_space *s, pid_t tid, int slot) {
    struct sy_thread *t = calloc(1, sizeof *t);

    if (t == NULL)
        return NULL;
    t->engine = e;
    t->tid = tid;
    t->state = SY_ST_STOPPED;
    t->parked = 1;
    t->refs = 2;
    t->space = s;
    t->slot_index = slot;
    t->room = S_FIRST_ROOM;
    t->slot = sy_slot_ours(e, s, slot);
    t->slot_at = sy_slot_guests(e, slot);
    s->refs++;
    t->sibling = s->threads;
    s->threads = t;
    if (s->leader == NULL)
        s->leader = t;
    return t;
}

void sy_thread_drop(struct sy_engine *e, struct sy_thread *t) {
    if (--t->refs == 0) {
        sy_space_unref(e, t->space);
        free(t);
    }
}

/* ---- lists ---- */

/* At the end: the one that has run longest is looked at first. */
void sy_mark_running(struct sy_engine *e, struct sy_thread *t) {
    if (t->state == SY_ST_RUNNING)
        return;
    t->state = SY_ST_RUNNING;
    t->run_next = NULL;
    t->run_prev = e->running_tail;
    if (t->run_prev != NULL)
        t->run_prev->run_next = t;
    else
        e->running = t;
    e->running_tail = t;
    e->nrunning++;
}

void sy_leave_running(struct sy_engine *e, struct sy_thread *t, enum sy_state state) {
    if (t->state == SY_ST_RUNNING) {
        if (t->run_prev != NULL)
            t->run_prev->run_next = t->run_next;
        else
            e->running = t->run_next;
        if (t->run_next != NULL)
            t->run_next->run_prev = t->run_prev;
        else
            e->running_tail = t->run_prev;
        t->run_next = t->run_prev = NULL;
        e->nrunning--;
    }
    t->state = state;
}

void sy_enqueue(struct sy_engine *e, struct sy_thread *t) {
    if (t->queued)
        return;
    t->queued = 1;
    t->next_queued = NULL;
    *e->queue_tail = t;
    e->queue_tail = &t->next_queued;
}

void sy_unqueue(struct sy_engine *e, struct sy_thread *t) {
    struct sy_thread **at = &e->queue;

    if (!t->queued)
        return;
    while (*at != NULL && *at != t)
        at = &(*at)->next_queued;
    if (*at == t)
        *at = t->next_queued;
    for (e->queue_tail = &e->queue; *e->queue_tail != NULL;)
        e->queue_tail = &(*e->queue_tail)->next_queued;
    t->queued = 0;
}

/* ---- ends ---- */

/* The engine is done with a thread: it was told to exit, or its process is gone. */
void sy_thread_ended(struct sy_engine *e, struct sy_thread *t) {
    struct sy_space *s = t->space;
    struct sy_thread **at = &s->threads;

    if (e->current == t)
        e->current = NULL;
    sy_unqueue(e, t);
    sy_leave_running(e, t, SY_ST_DEAD);
    t->parked = 0;
    while (*at != NULL && *at != t)
        at = &(*at)->sibling;
    if (*at == t)
        *at = t->sibling;
    if (s->last == t)
        s->last = NULL;
    if (s->leader == t)
        s->leader = NULL;
    s->busy[t->slot_index] = 2;
    if (!t->released) {
        t->event = SY_DEAD;
        t->refs++; /* the queue's */
        sy_enqueue(e, t);
    }
    sy_thread_drop(e, t);
}

static void close_pidfd(struct sy_space *s) {
    if (s->pidfd >= 0)
        close(s->pidfd);
    s->pidfd = -1;
}

/* The process was reaped: its id may be used again from now on. */
void sy_space_ended(struct sy_engine *e, struct sy_space *s) {
    s->dead = 1;
    while (s->threads != NULL)
        sy_thread_ended(e, s->threads);
    close_pidfd(s);
    if (s->prev != NULL)
        s->prev->next = s->next;
    else
        e->spaces = s->next;
    if (s->next != NULL)
        s->next->prev = s->prev;
    sy_space_unref(e, s);
}

/* kill(2) would reach others, too: the jail doesn't let us. */
void sy_kill_space(struct sy_space *s) {
    if (!s->dead && s->pidfd >= 0)
        syscall(SYS_pidfd_send_signal, s->pidfd, SIGKILL, NULL, 0);
}

static int is_new_pidfd(struct sy_engine *e, int fd) {
    siginfo_t info;

    for (struct sy_space *s = e->spaces; s != NULL; s = s->next)
        if (s->pidfd == fd)
            return 0;
    return waitid(P_PIDFD, (id_t)fd, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0;
}

/* The pidfd of the process that was just made, or -1. The stub has told which one it is; since all others are
 * known, and nobody else makes any, a descriptor of a child of ours that isn't known is the one. */
int sy_pidfd_found(struct sy_engine *e, int claimed) {
    if (claimed >= 0 && is_new_pidfd(e, claimed))
        return claimed;
    for (int fd = 0; fd < PIDFD_SEARCH; fd++)
        if (is_new_pidfd(e, fd))
            return fd;
    return -1;
}

void sy_space_release(struct sy_engine *e, struct sy_space *s) {
    struct sy_thread *t;

    if (s->released)
        return;
    if (e->current != NULL && e->current->space == s) {
        sy_copies_flush(e); /* the memory may be shared with others */
        e->current = NULL;
    }
    s->released = 1;
    for (t = s->threads; t != NULL; t = t->sibling) {
        t->released = 1;
        sy_unqueue(e, t);
        sy_leave_running(e, t, SY_ST_EXITING);
    }
    sy_kill_space(s);
    close_pidfd(s);
}

/* A process's first thread is kept until its end: the process's memory is reached through it. */
void sy_thread_release(struct sy_engine *e, struct sy_thread *t) {
    struct sy_space *s = t->space;

    t->python = NULL;
    if (t->released)
        return;
    if (e->current == t) {
        sy_copies_flush(e);
        e->current = NULL;
    }
    t->released = 1;
    if (t->state == SY_ST_DEAD) {
        if (t->queued) {
            sy_unqueue(e, t);
            sy_thread_drop(e, t); /* the queue's reference */
        }
        return;
    }
    if (s->released)
        return;
    if (!t->parked) {
        syscall(SYS_tgkill, s->tgid, t->tid, STUB_INTERRUPT);
        return;
    }
    sy_unqueue(e, t);
    sy_leave_running(e, t, SY_ST_STOPPED);
    if (t != s->leader) {
        sy_post(e, t, ST_EXIT);
        sy_thread_ended(e, t);
    }
}

/* ---- going on ---- */

int sy_thread_tid(struct sy_thread *t) { return t->state == SY_ST_DEAD ? 0 : t->tid; }

struct sy_space *sy_thread_space(struct sy_thread *t) { return t->space; }

int sy_space_tid(struct sy_space *s) { return s->dead || s->released ? 0 : s->tgid; }

static uint64_t user_base(struct sy_engine *e, uint64_t base) { return base >= e->base_limit ? 0 : base; }

/* The registers in t->regs were replaced: put right what the host would refuse or must not get. */
void sy_thread_regs_set(struct sy_engine *e, struct sy_thread *t) {
    struct user_regs_struct *r = &t->regs;

    r->cs = USER_CS;
    r->ss = USER_DS;
    r->ds = r->es = r->fs = r->gs = 0;
    r->eflags = (r->eflags & USER_EFLAGS) | 0x202;
    r->orig_rax = (uint64_t)-1;
    r->fs_base = user_base(e, r->fs_base);
    r->gs_base = user_base(e, r->gs_base);
    t->dirty = 1;
}

void sy_thread_resume(struct sy_engine *e, struct sy_thread *t) {
    if (t->state != SY_ST_STOPPED || t->released)
        return;
    sy_go(e, t);
    sy_mark_running(e, t);
}

void sy_thread_complete(struct sy_engine *e, struct sy_thread *t, int64_t result) {
    if (t->state != SY_ST_STOPPED || t->released)
        return;
    t->regs.rax = (uint64_t)result;
    sy_thread_resume(e, t);
}

void sy_thread_interrupt(struct sy_engine *e, struct sy_thread *t) {
    (void)e;
    if (t->state != SY_ST_RUNNING || t->queued || t->interrupted)
        return;
    t->interrupted = 1;
    syscall(SYS_tgkill, t->space->tgid, t->tid, STUB_INTERRUPT);
}
