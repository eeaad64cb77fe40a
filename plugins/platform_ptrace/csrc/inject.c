/* Host system calls made by a stopped guest thread on the stub's code page. */
#define _GNU_SOURCE
#include "engine.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static void stub_regs(struct pe_engine *e, struct user_regs_struct *r, uint64_t entry) {
    memset(r, 0, sizeof *r);
    r->rip = e->stub + entry;
    r->cs = 0x33;
    r->ss = 0x2b;
    r->eflags = 0x202;
    r->orig_rax = (uint64_t)-1;
}

/* Run stub code from `entry` to the int3 at `stop`; `r` is what it ended with.
 * 0, -EFAULT (the code at `entry` itself faulted) or PE_GONE. */
static int64_t run(struct pe_engine *e, struct pe_thread *t, struct user_regs_struct *r,
                   uint64_t entry, uint64_t stop) {
    int status;

    if (ptrace(PTRACE_SETREGS, t->tid, 0, r) < 0)
        return PE_GONE;
    t->dirty = 1;
    for (;;) {
        siginfo_t info;
        int sig;

        if (ptrace(PTRACE_CONT, t->tid, 0, 0) < 0)
            return PE_GONE;
        if (pe_wait_stop(e, t, &status) < 0)
            return PE_GONE;
        if (!WIFSTOPPED(status)) {
            pe_reaped(e, t);
            return PE_GONE;
        }
        sig = WSTOPSIG(status);
        if (status >> 16 != 0 || (sig != SIGTRAP && sig != SIGSEGV && sig != SIGBUS))
            continue; /* from outside: ignored */
        if (ptrace(PTRACE_GETREGS, t->tid, 0, r) < 0)
            return PE_GONE;
        if (sig == SIGTRAP && r->rip == e->stub + stop + 1)
            return 0;
        if (sig != SIGTRAP && r->rip == e->stub + entry &&
            ptrace(PTRACE_GETSIGINFO, t->tid, 0, &info) == 0 && info.si_code > 0)
            return -EFAULT;
    }
}

int64_t pe_inject(struct pe_engine *e, struct pe_thread *t, long nr, uint64_t a0, uint64_t a1,
                  uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5) {
    struct user_regs_struct r;
    int64_t rc;

    stub_regs(e, &r, PE_STUB_SYSCALL);
    r.rax = (uint64_t)nr;
    r.rdi = a0;
    r.rsi = a1;
    r.rdx = a2;
    r.r10 = a3;
    r.r8 = a4;
    r.r9 = a5;
    rc = run(e, t, &r, PE_STUB_SYSCALL, PE_STUB_SYSCALL + 2);
    return rc == 0 ? (int64_t)r.rax : PE_GONE;
}

/* Send the thread into exit(2) without waiting for it. */
void pe_inject_exit(struct pe_engine *e, struct pe_thread *t) {
    struct user_regs_struct r;

    stub_regs(e, &r, PE_STUB_SYSCALL);
    r.rax = SYS_exit;
    /* Failure means that it is dying already. */
    if (ptrace(PTRACE_SETREGS, t->tid, 0, &r) == 0)
        ptrace(PTRACE_CONT, t->tid, 0, 0);
    if (t->state != PE_ST_EXITING) {
        pe_mark_stopped(e, t);
        t->state = PE_ST_EXITING;
    }
}

/* ---- which thread of an address space ---- */

struct picked {
    struct pe_thread *t;
    int resume;
};

/* Stop a running thread for our own purposes: the kernel does not notice. */
static struct pe_thread *stop_running(struct pe_engine *e, struct pe_thread *t, int *resume) {
    int status;

    ptrace(PTRACE_INTERRUPT, t->tid, 0, 0);
    if (pe_wait_stop(e, t, &status) < 0)
        return NULL;
    pe_take_status_as(e, t, status, resume);
    return t->state == PE_ST_DEAD || t->state == PE_ST_EXITING ? NULL : t;
}

static struct picked pick(struct pe_engine *e, struct pe_space *s) {
    struct picked p = {NULL, 0};
    struct pe_thread *t = s->last;

    if (s->released)
        return p;
    if (t != NULL && t->state == PE_ST_STOPPED) {
        p.t = t;
        return p;
    }
    for (t = s->threads; t != NULL; t = t->sibling)
        if (t->state == PE_ST_STOPPED || (t->state == PE_ST_RUNNING && t->queued && t->event != PE_DEAD)) {
            p.t = t;
            return p;
        }
    for (t = s->threads; t != NULL; t = t->sibling)
        if (t->state == PE_ST_RUNNING && (!t->released || t->keeper)) {
            p.t = stop_running(e, t, &p.resume);
            return p;
        }
    return p;
}

static void unpick(struct picked p) {
    if (p.resume && p.t->state == PE_ST_RUNNING)
        pe_go_on(p.t);
}

int64_t pe_space_call(struct pe_engine *e, struct pe_space *s, long nr, uint64_t a0, uint64_t a1,
                      uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5) {
    struct picked p = pick(e, s);
    int64_t rc;

    if (p.t == NULL)
        return PE_GONE;
    p.t->refs++;
    rc = pe_inject(e, p.t, nr, a0, a1, a2, a3, a4, a5);
    unpick(p);
    pe_thread_drop(p.t);
    return rc;
}

int64_t pe_space_cmpxchg(struct pe_engine *e, struct pe_space *s, uint64_t addr, uint32_t expected,
                         uint32_t desired, uint32_t *found) {
    struct user_regs_struct r;
    struct picked p;
    int64_t rc;

    if (addr < e->min_address || addr > e->task_size - 4)
        return -EFAULT;
    p = pick(e, s);
    if (p.t == NULL)
        return PE_GONE;
    stub_regs(e, &r, PE_STUB_CMPXCHG);
    r.rdi = addr;
    r.rax = expected;
    r.rcx = desired;
    p.t->refs++;
    rc = run(e, p.t, &r, PE_STUB_CMPXCHG, PE_STUB_CMPXCHG + 4);
    unpick(p);
    pe_thread_drop(p.t);
    *found = (uint32_t)r.rax;
    return rc;
}

/* PTRACE_POKEDATA writes like a debugger: into private pages whatever their protection. */
int64_t pe_space_poke(struct pe_engine *e, struct pe_space *s, uint64_t addr, const void *buf,
                      uint64_t len) {
    struct picked p;
    uint64_t done = 0;

    if (addr < e->min_address || addr >= e->task_size)
        return 0;
    if (len > e->task_size - addr)
        len = e->task_size - addr;
    p = pick(e, s);
    if (p.t == NULL)
        return PE_GONE;
    while (done < len) {
        uint64_t word = (addr + done) & ~7UL, skip = addr + done - word, n = 8 - skip;
        long value;

        if (n > len - done)
            n = len - done;
        errno = 0;
        value = ptrace(PTRACE_PEEKDATA, p.t->tid, word, 0);
        if (errno == ESRCH)
            return PE_GONE;
        if (errno != 0)
            break;
        memcpy((char *)&value + skip, (const char *)buf + done, n);
        if (ptrace(PTRACE_POKEDATA, p.t->tid, word, value) < 0) {
            if (errno == ESRCH)
                return PE_GONE;
            break;
        }
        done += n;
    }
    unpick(p);
    return (int64_t)done;
}

/* ---- new threads and processes ---- */

struct pe_thread *pe_clone(struct pe_engine *e, struct pe_thread *parent, int as_thread, int *err) {
    unsigned long flags = as_thread ? PE_CLONE_THREAD : PE_CLONE_PROCESS;
    struct pe_space *space = parent->space;
    struct pe_thread *t;
    int64_t pid;
    int status;

    if (parent->state != PE_ST_STOPPED || space->released) {
        *err = PE_GONE;
        return NULL;
    }
    e->early_pid = 0;
    pid = pe_inject(e, parent, SYS_clone, flags, 0, 0, 0, 0, 0);
    if (pid < 0) {
        *err = pid == PE_GONE ? PE_GONE : (int)pid;
        return NULL;
    }
    if (!as_thread && (space = pe_space_new(e, (pid_t)pid)) == NULL) {
        pe_kill_child((pid_t)pid);
        *err = -ENOMEM;
        return NULL;
    }
    t = pe_thread_new(e, space, (pid_t)pid);
    if (t == NULL) {
        pe_kill_child((pid_t)pid);
        *err = -ENOMEM;
        return NULL;
    }
    t->regs = parent->regs;
    t->dirty = 1;
    t->refs++;
    if (pe_wait_stop(e, t, &status) < 0 || !WIFSTOPPED(status)) {
        t->released = 1;
        space->usable--;
        pe_reaped(e, t);
        pe_thread_drop(t);
        pe_thread_drop(t);
        if (!as_thread)
            pe_space_drop(space);
        *err = PE_GONE;
        return NULL;
    }
    t->refs--;
    *err = 0;
    return t;
}
