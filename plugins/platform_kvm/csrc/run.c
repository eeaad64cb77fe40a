/* Running a guest thread until something happens that is the kernel's business.
 * This is done in the virtual CPU's own thread; what happened is in exits.c.
 */
#define _GNU_SOURCE
#include "engine.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>

#define LOWER_HALF (1ULL << 47)
#define RETRIES 4 /* of a page that KVM cannot reach, for no reason that we find */

/* Registers into the area shared with KVM. */
static void load(struct kv_engine *e, struct kv_vcpu *v, struct kv_thread *t) {
    struct kvm_run *run = v->run;
    struct kvm_regs *r = &run->s.regs.regs;
    struct kvm_sregs *s = &run->s.regs.sregs;
    const struct user_regs_struct *u = &t->regs;
    uint64_t root = t->process->space->root;

    r->rax = u->rax;
    r->rbx = u->rbx;
    r->rcx = u->rcx;
    r->rdx = u->rdx;
    r->rsi = u->rsi;
    r->rdi = u->rdi;
    r->rsp = u->rsp;
    r->rbp = u->rbp;
    r->r8 = u->r8;
    r->r9 = u->r9;
    r->r10 = u->r10;
    r->r11 = u->r11;
    r->r12 = u->r12;
    r->r13 = u->r13;
    r->r14 = u->r14;
    r->r15 = u->r15;
    r->rip = u->rip;
    r->rflags = (u->eflags & FLAGS_USER) | FLAG_IF | FLAGS_FIXED;
    run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
    if (v->cr3 == root && s->cs.selector == USER_CS && s->cs.dpl == 3 && s->fs.base == u->fs_base &&
        s->gs.base == u->gs_base)
        return;
    s->cs = e->sregs.cs;
    s->ss = e->sregs.ss;
    if (v->cr3 != root) {
        s->ds = e->sregs.ds;
        s->es = e->sregs.es;
        s->fs = e->sregs.fs;
        s->gs = e->sregs.gs;
        s->cr3 = v->cr3 = root;
    }
    s->fs.base = u->fs_base;
    s->gs.base = u->gs_base;
    run->kvm_dirty_regs |= KVM_SYNC_X86_SREGS;
}

/* A jump to where no user program can be: what the processor would say. */
static int impossible_rip(struct kv_thread *t) {
    uint64_t rip = t->regs.rip;

    if (rip < LOWER_HALF)
        return 0;
    if (rip >= -LOWER_HALF)
        kv_fault_event(t, SIGSEGV, 1, rip, 14, 0x15);
    else
        kv_fault_event(t, SIGSEGV, 0x80, 0, 13, 0);
    return 1;
}

static int set_fpu(struct kv_vcpu *v, struct kv_thread *t) {
    if (!t->fpu_dirty)
        return 0;
    if (ioctl(v->fd, KVM_SET_XSAVE, t->fpu) < 0)
        return -errno;
    t->fpu_dirty = 0;
    return 0;
}

/* What an interrupted run left to be done first must not happen to what comes next: an instruction of the
 * guest that waits for its data, an exception on its way. */
static void settle(struct kv_vcpu *v) {
    struct kvm_vcpu_events events;

    v->run->immediate_exit = 1;
    ioctl(v->fd, KVM_RUN, 0);
    v->run->immediate_exit = 0;
    if (ioctl(v->fd, KVM_GET_VCPU_EVENTS, &events) == 0 && (events.exception.injected || events.exception.pending)) {
        events.exception.injected = 0;
        events.exception.pending = 0;
        ioctl(v->fd, KVM_SET_VCPU_EVENTS, &events);
    }
}

/* KVM could not reach a page. 1: try again. */
static int unreachable(struct kv_engine *e, struct kv_thread *t, uint32_t seq, int *tries) {
    int found;

    if (seq & 1 || seq != __atomic_load_n(&e->mm.flush_seq, __ATOMIC_SEQ_CST)) {
        sched_yield();
        return 1;
    }
    pthread_mutex_lock(&e->mm.lock);
    found = kv_recheck_files(t->process->space);
    pthread_mutex_unlock(&e->mm.lock);
    return found > 0 || ++*tries < RETRIES;
}

/* Run t until its event is set. */
void kv_run(struct kv_engine *e, struct kv_vcpu *v, struct kv_thread *t) {
    struct kvm_run *run = v->run;
    int raw = 0, tries = 0;

    if ((v->fresh && kv_vcpu_reset(e, v) < 0) || set_fpu(v, t) < 0) {
        t->event = KV_DEAD;
        return;
    }
    for (;;) {
        uint32_t seq;
        int rc;

        if (!raw) {
            if (impossible_rip(t))
                return;
            load(e, v, t);
        }
        __atomic_store_n(&run->immediate_exit, 0, __ATOMIC_SEQ_CST);
        /* Between our exception entry and its `out`, or in the stub, the registers aren't the program's:
         * these few instructions are run to their end first. */
        if (!raw && __atomic_load_n(&t->kick, __ATOMIC_SEQ_CST)) {
            t->event = KV_INTERRUPTED;
            t->regs.orig_rax = ~0ULL;
            settle(v);
            return;
        }
        seq = __atomic_load_n(&e->mm.flush_seq, __ATOMIC_SEQ_CST);
        rc = ioctl(v->fd, KVM_RUN, 0) < 0 ? errno : 0;
        if (rc == EINTR || rc == EAGAIN || rc == EFAULT) {
            raw = run->s.regs.sregs.cs.dpl != 3 || kv_in_ours(run->s.regs.regs.rip);
            if (!raw)
                kv_store(v, t);
            if (rc != EFAULT || unreachable(e, t, seq, &tries))
                continue;
            kv_fault_event(t, SIGBUS, 2, 0, 14, 4);
            v->fresh = raw; /* where it got stuck, it must not go on */
            return;
        }
        if (rc != 0) {
            t->event = KV_DEAD;
            return;
        }
        tries = 0;
        raw = 0;
        if (kv_take_exit(e, v, t)) {
            if (run->exit_reason != KVM_EXIT_IO || run->io.direction != KVM_EXIT_IO_OUT)
                settle(v);
            return;
        }
    }
}
