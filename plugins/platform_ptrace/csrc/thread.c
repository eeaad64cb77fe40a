/* Guest threads: registers, going on, ending. */
#define _GNU_SOURCE
#include "engine.h"

#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

/* CF PF AF ZF SF TF DF OF NT RF AC ID: what sigreturn may set. */
#define USER_EFLAGS 0x254dd5UL
#define USER_CS 0x33
#define USER_DS 0x2b
/* Results from -516 to -512 would make the host restart the call (ERESTARTSYS and its kin). */
#define RESTART_FIRST (-516)
#define RESTART_LAST (-512)

int pe_thread_tid(struct pe_thread *t) { return t->state == PE_ST_DEAD ? 0 : t->tid; }

int64_t pe_thread_handle(struct pe_thread *t) { return t->handle; }

int pe_thread_stopped(struct pe_thread *t) { return t->state == PE_ST_STOPPED; }

struct pe_space *pe_thread_space(struct pe_thread *t) { return t->space; }

static uint64_t data_selector(uint64_t value) { return value == USER_DS ? USER_DS : 0; }

/* The registers in t->regs were replaced: put right what the host would refuse or must not get. */
void pe_thread_regs_set(struct pe_engine *e, struct pe_thread *t) {
    struct user_regs_struct *r = &t->regs;

    r->cs = USER_CS;
    r->ss = USER_DS;
    r->ds = data_selector(r->ds);
    r->es = data_selector(r->es);
    r->fs = 0;
    r->gs = 0;
    r->eflags = (r->eflags & USER_EFLAGS) | 0x202;
    r->orig_rax = (uint64_t)-1;
    if (r->fs_base >= e->base_limit)
        r->fs_base = 0;
    if (r->gs_base >= e->base_limit)
        r->gs_base = 0;
    t->dirty = 1;
}

void pe_thread_resume(struct pe_engine *e, struct pe_thread *t) {
    if (t->state != PE_ST_STOPPED || t->released)
        return;
    if (t->dirty) {
        t->regs.orig_rax = (uint64_t)-1; /* not in a call: the host has none to restart */
        if (ptrace(PTRACE_SETREGS, t->tid, 0, &t->regs) < 0 && errno != ESRCH)
            pe_kill_space(t->space); /* registers the host refuses in spite of all: its end is reported */
        t->dirty = 0;
    }
    /* ESRCH: killed from outside, which waitpid will tell. */
    ptrace(PTRACE_SYSEMU, t->tid, 0, 0);
    pe_mark_running(e, t);
}

void pe_thread_complete(struct pe_engine *e, struct pe_thread *t, int64_t result) {
    if (t->state != PE_ST_STOPPED || t->released)
        return;
    t->regs.rax = (uint64_t)result;
    if (result >= RESTART_FIRST && result <= RESTART_LAST)
        t->dirty = 1;
    if (!t->dirty)
        ptrace(PTRACE_POKEUSER, t->tid, offsetof(struct user_regs_struct, rax), result);
    pe_thread_resume(e, t);
}

void pe_thread_interrupt(struct pe_engine *e, struct pe_thread *t) {
    (void)e;
    if (t->state != PE_ST_RUNNING || t->queued || t->interrupted)
        return;
    t->interrupted = 1;
    ptrace(PTRACE_INTERRUPT, t->tid, 0, 0);
}

/* End a thread. The last one of a space is only kept from running, so that the space stays
 * usable until it is released itself. */
void pe_thread_release(struct pe_engine *e, struct pe_thread *t) {
    struct pe_space *s = t->space;

    if (t->released)
        return;
    t->released = 1;
    if (t->state == PE_ST_DEAD) {
        if (t->queued) {
            pe_unqueue(e, t);
            pe_thread_drop(t); /* the queue's reference */
        }
        return;
    }
    if (s->released)
        return;
    t->keeper = --s->usable == 0;
    if (t->queued) { /* stopped already, not yet delivered */
        pe_unqueue(e, t);
        pe_mark_stopped(e, t);
    }
    if (t->state == PE_ST_RUNNING)
        ptrace(PTRACE_INTERRUPT, t->tid, 0, 0);
    else if (!t->keeper)
        pe_inject_exit(e, t);
}

void pe_space_release(struct pe_engine *e, struct pe_space *s) {
    struct pe_thread *t;

    if (s->released)
        return;
    s->released = 1;
    for (t = s->threads; t != NULL; t = t->sibling) {
        if (!t->released) {
            t->released = 1;
            s->usable--;
        }
        pe_unqueue(e, t);
        pe_mark_stopped(e, t);
        t->state = PE_ST_EXITING;
    }
    pe_kill_space(s);
}

int64_t pe_thread_get_fpu(struct pe_thread *t, void *buf, uint64_t len) {
    struct iovec iov = {buf, len};

    if (ptrace(PTRACE_GETREGSET, t->tid, NT_X86_XSTATE, &iov) < 0)
        return errno == ESRCH ? PE_GONE : -errno;
    return (int64_t)iov.iov_len;
}

int64_t pe_thread_set_fpu(struct pe_thread *t, const void *buf, uint64_t len) {
    struct iovec iov = {(void *)(uintptr_t)buf, len};

    if (ptrace(PTRACE_SETREGSET, t->tid, NT_X86_XSTATE, &iov) < 0)
        return errno == ESRCH ? PE_GONE : -EINVAL;
    return 0;
}
