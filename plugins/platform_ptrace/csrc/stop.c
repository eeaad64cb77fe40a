/* Stops: what waitpid(2) reports becomes an event, or nothing. */
#define _GNU_SOURCE
#include "engine.h"

#include <errno.h>
#include <linux/audit.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#define SYSCALL_STOP (SIGTRAP | 0x80)

/* ---- structures ---- */

struct pe_space *pe_space_new(struct pe_engine *e, pid_t tgid) {
    struct pe_space *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->tgid = tgid;
    s->refs = 2;
    s->next = e->spaces;
    if (s->next != NULL)
        s->next->prev = s;
    e->spaces = s;
    return s;
}

static void space_unref(struct pe_space *s) {
    if (--s->refs == 0)
        free(s);
}

void pe_space_drop(struct pe_space *s) { space_unref(s); }

static struct pe_thread **bucket(struct pe_engine *e, pid_t tid) {
    return &e->table[(unsigned)tid % PE_BUCKETS];
}

static struct pe_thread *find(struct pe_engine *e, pid_t tid) {
    struct pe_thread *t = *bucket(e, tid);

    while (t != NULL && t->tid != tid)
        t = t->same_bucket;
    return t;
}

struct pe_thread *pe_thread_new(struct pe_engine *e, struct pe_space *s, pid_t tid) {
    struct pe_thread *t;

    if ((t = calloc(1, sizeof *t)) == NULL)
        return NULL;
    t->tid = tid;
    t->handle = ++e->next_handle;
    t->state = PE_ST_STOPPED;
    t->refs = 2;
    t->space = s;
    s->refs++;
    s->live++;
    s->usable++;
    t->sibling = s->threads;
    s->threads = t;
    t->same_bucket = *bucket(e, tid);
    *bucket(e, tid) = t;
    return t;
}

void pe_thread_drop(struct pe_thread *t) {
    if (--t->refs == 0) {
        space_unref(t->space);
        free(t);
    }
}

void pe_mark_running(struct pe_engine *e, struct pe_thread *t) {
    if (t->state == PE_ST_RUNNING)
        return;
    t->state = PE_ST_RUNNING;
    t->run_prev = NULL;
    t->run_next = e->running;
    if (t->run_next != NULL)
        t->run_next->run_prev = t;
    e->running = t;
    e->nrunning++;
}

static void leave_running(struct pe_engine *e, struct pe_thread *t, enum pe_state state) {
    if (t->state == PE_ST_RUNNING) {
        if (t->run_prev != NULL)
            t->run_prev->run_next = t->run_next;
        else
            e->running = t->run_next;
        if (t->run_next != NULL)
            t->run_next->run_prev = t->run_prev;
        t->run_next = t->run_prev = NULL;
        e->nrunning--;
    }
    t->state = state;
}

void pe_mark_stopped(struct pe_engine *e, struct pe_thread *t) { leave_running(e, t, PE_ST_STOPPED); }

void pe_enqueue(struct pe_engine *e, struct pe_thread *t) {
    if (t->queued)
        return;
    t->queued = 1;
    t->next_queued = NULL;
    *e->queue_tail = t;
    e->queue_tail = &t->next_queued;
}

void pe_unqueue(struct pe_engine *e, struct pe_thread *t) {
    struct pe_thread **at = &e->queue;
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

/* The host has told us of the thread's end: its id may be used again from now on. */
void pe_reaped(struct pe_engine *e, struct pe_thread *t) {
    struct pe_space *s = t->space;
    struct pe_thread **at = &s->threads, **in;

    pe_unqueue(e, t);
    leave_running(e, t, PE_ST_DEAD);
    for (in = bucket(e, t->tid); *in != t; in = &(*in)->same_bucket)
        ;
    *in = t->same_bucket;
    while (*at != NULL && *at != t)
        at = &(*at)->sibling;
    if (*at == t)
        *at = t->sibling;
    if (s->last == t)
        s->last = NULL;
    if (!t->released)
        s->usable--;
    if (--s->live == 0) {
        if (s->prev != NULL)
            s->prev->next = s->next;
        else
            e->spaces = s->next;
        if (s->next != NULL)
            s->next->prev = s->prev;
        space_unref(s);
    }
    if (!t->released) {
        t->event = PE_DEAD;
        t->refs++; /* the queue's: a dead thread is no longer in the table */
        pe_enqueue(e, t);
    }
    pe_thread_drop(t);
}

void pe_kill_space(struct pe_space *s) {
    struct pe_thread *t;

    if (!pe_kills_by_ptrace()) {
        /* The leader is reaped last, so its id is still ours while any thread is. */
        if (s->live > 0)
            kill(s->tgid, SIGKILL);
        return;
    }
    /* Each: one that has ended and is not reaped yet passes nothing on to the others. */
    for (t = s->threads; t != NULL; t = t->sibling)
        if (t->state != PE_ST_DEAD)
            ptrace(PTRACE_KILL, t->tid, 0, 0);
}

/* ---- from status to event ---- */

/* Resume after a stop the kernel does not hear of. It has used up a pending PTRACE_INTERRUPT. */
void pe_go_on(struct pe_thread *t) {
    if (t->interrupted)
        ptrace(PTRACE_INTERRUPT, t->tid, 0, 0);
    if (t->dirty) {
        ptrace(PTRACE_SETREGS, t->tid, 0, &t->regs);
        t->dirty = 0;
    }
    ptrace(PTRACE_SYSEMU, t->tid, 0, 0);
}

/* The stop was made by a 64-bit `syscall` instruction. */
static int is_syscall64(struct pe_thread *t) {
    struct __ptrace_syscall_info info;
    long n;

    /* `syscall` leaves the return address in rcx.  A guest that prepares rcx and uses int 0x80
     * gets only what `syscall` with the same registers would give it. */
    if (t->regs.rcx == t->regs.rip && t->regs.cs == 0x33)
        return 1;
    n = ptrace(PTRACE_GET_SYSCALL_INFO, t->tid, sizeof info, &info);
    if (n <= 0 || info.op != PTRACE_SYSCALL_INFO_ENTRY || info.arch != AUDIT_ARCH_X86_64)
        return 0;
    t->regs.rcx = t->regs.rip; /* a processor that does not (FRED) */
    t->regs.r11 = t->regs.eflags;
    t->dirty = 1;
    return 1;
}

static int set_syscall(struct pe_thread *t) {
    if (!is_syscall64(t)) {
        /* As on a kernel without 32-bit support: #GP at the instruction. */
        t->regs.rip -= 2;
        t->regs.rax = t->regs.orig_rax;
        t->regs.orig_rax = (uint64_t)-1;
        t->dirty = 1;
        t->signo = SIGSEGV;
        t->code = SI_KERNEL;
        t->addr = 0;
        t->trapno = 13;
        t->err = 0x80 * 8 + 2;
        return PE_FAULT;
    }
    t->nr = (int32_t)t->regs.orig_rax;
    t->args[0] = t->regs.rdi;
    t->args[1] = t->regs.rsi;
    t->args[2] = t->regs.rdx;
    t->args[3] = t->regs.r10;
    t->args[4] = t->regs.r8;
    t->args[5] = t->regs.r9;
    return PE_SYSCALL;
}

/* ptrace shows neither trap number nor error code: what follows from the signal. */
static void guess_trap(struct pe_thread *t) {
    t->err = 0;
    switch (t->signo) {
    case SIGSEGV:
        if (t->code != SEGV_MAPERR && t->code != SEGV_ACCERR && t->code != SEGV_PKUERR) {
            t->trapno = 13;
            break;
        }
        t->trapno = 14;
        t->err = 4 | (t->code != SEGV_MAPERR) | (t->addr == t->regs.rip ? 0x10 : 0);
        break;
    case SIGBUS:
        t->trapno = t->code == BUS_ADRALN ? 17 : 14;
        t->err = t->code == BUS_ADRALN ? 0 : 4;
        break;
    case SIGFPE:
        t->trapno = t->code == FPE_INTDIV ? 0 : 16;
        break;
    case SIGILL:
        t->trapno = 6;
        break;
    default:
        t->trapno = t->code == SI_KERNEL ? 3 : 1;
    }
}

static int set_fault(struct pe_thread *t, int sig) {
    siginfo_t info;

    if (ptrace(PTRACE_GETSIGINFO, t->tid, 0, &info) < 0 || info.si_code <= 0)
        return PE_NONE; /* sent by some process of the host: not the guest's business */
    t->signo = sig;
    t->code = info.si_code;
    t->addr = (uint64_t)info.si_addr;
    guess_trap(t);
    return PE_FAULT;
}

/* The event of a stop; PE_NONE: nothing for the kernel, the thread goes on. */
static int event_of(struct pe_thread *t, int status) {
    int sig = WSTOPSIG(status);

    if (sig == SYSCALL_STOP)
        return set_syscall(t);
    if (status >> 16 != 0) {
        if (status >> 16 != PTRACE_EVENT_STOP || sig != SIGTRAP || !t->interrupted)
            return PE_NONE;
        if (t->regs.orig_rax != (uint64_t)-1) {
            t->regs.orig_rax = (uint64_t)-1; /* no restart by the host */
            t->dirty = 1;
        }
        return PE_INTERRUPTED;
    }
    if (sig == SIGSEGV || sig == SIGBUS || sig == SIGFPE || sig == SIGILL || sig == SIGTRAP)
        return set_fault(t, sig);
    return PE_NONE;
}

static int classify(struct pe_thread *t, int status) {
    int event;

    if (ptrace(PTRACE_GETREGS, t->tid, 0, &t->regs) < 0)
        return -ESRCH;
    t->dirty = 0;
    event = event_of(t, status);
    if (event != PE_NONE)
        t->interrupted = 0; /* done, or overtaken: what may still come of it is stale */
    return event;
}

/* What waitpid returned for a thread that was meant to run. With `resume`, a thread that would go on
 * stays stopped and *resume says so. */
void pe_take_status_as(struct pe_engine *e, struct pe_thread *t, int status, int *resume) {
    int event;

    if (!WIFSTOPPED(status)) {
        pe_reaped(e, t);
        return;
    }
    if (t->state == PE_ST_EXITING) {
        pe_inject_exit(e, t); /* some stop on the way out */
        return;
    }
    event = classify(t, status);
    if (event < 0)
        return; /* being killed: its end will be reported */
    if (t->released) {
        pe_mark_stopped(e, t);
        if (!t->keeper)
            pe_inject_exit(e, t);
    } else if (event != PE_NONE) {
        t->event = event;
        pe_enqueue(e, t);
    } else if (resume != NULL) {
        *resume = 1;
    } else {
        pe_go_on(t);
    }
}

void pe_take_status(struct pe_engine *e, pid_t pid, int status) {
    struct pe_thread *t = find(e, pid);

    if (t != NULL) {
        pe_take_status_as(e, t, status, NULL);
    } else {
        e->early_pid = pid;
        e->early_status = status;
    }
}
