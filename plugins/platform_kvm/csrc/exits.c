/* What a guest stopped for: system calls and exceptions, and what else KVM may report. */
#define _GNU_SOURCE
#include "engine.h"

#include <errno.h>
#include <signal.h>
#include <sys/ioctl.h>

/* si_code (asm-generic/siginfo.h). */
#define MAPERR 1
#define ACCERR 2
#define PKUERR 4
#define ADRALN 1
#define ADRERR 2
#define ILLOPN 2
#define TRACE 2
#define FPE_DIVIDE 1
#define KERNEL 0x80

/* Page-fault error codes. */
#define PF_PRESENT 1
#define PF_WRITE 2
#define PF_RESERVED 8
#define PF_FETCH 16
#define PF_KEY 32

enum { DE = 0, DB = 1, BP = 3, UD = 6, NP = 11, SS = 12, GP = 13, PF = 14, MF = 16, AC = 17, XM = 19 };

/* Vectors that push an error code: #DF #TS #NP #SS #GP #PF #AC #CP #VC #SX */
#define WITH_ERROR (1U << 8 | 1U << 10 | 1U << 11 | 1U << 12 | 1U << 13 | 1U << 14 | 1U << 17 | 1U << 21 | 1U << 29 | \
                    1U << 30)

#define SAME_FAULT_FLUSH 50
#define SAME_FAULT_LIMIT 200

#define VSYSCALL 0xffffffffff600000ULL
#define LOWER_HALF (1ULL << 47)

void kv_fault_event(struct kv_thread *t, int signo, int code, uint64_t addr, int trapno, int err) {
    t->event = KV_FAULT;
    t->signo = signo;
    t->code = code;
    t->addr = addr;
    t->trapno = trapno;
    t->err = err;
    t->same_faults = 0;
}

/* The general registers, out of the area shared with KVM. */
void kv_store(struct kv_vcpu *v, struct kv_thread *t) {
    const struct kvm_regs *r = &v->run->s.regs.regs;
    const struct kvm_sregs *s = &v->run->s.regs.sregs;
    struct user_regs_struct *u = &t->regs;

    u->rax = r->rax;
    u->rbx = r->rbx;
    u->rcx = r->rcx;
    u->rdx = r->rdx;
    u->rsi = r->rsi;
    u->rdi = r->rdi;
    u->rsp = r->rsp;
    u->rbp = r->rbp;
    u->r8 = r->r8;
    u->r9 = r->r9;
    u->r10 = r->r10;
    u->r11 = r->r11;
    u->r12 = r->r12;
    u->r13 = r->r13;
    u->r14 = r->r14;
    u->r15 = r->r15;
    u->rip = r->rip;
    u->eflags = (r->rflags & FLAGS_USER) | FLAG_IF | FLAGS_FIXED;
    u->fs_base = s->fs.base;
    u->gs_base = s->gs.base;
    u->orig_rax = ~0ULL;
}

static void system_call(struct kv_thread *t, uint64_t nr) {
    struct user_regs_struct *u = &t->regs;

    t->event = KV_SYSCALL;
    t->nr = (int32_t)nr;
    t->args[0] = u->rdi;
    t->args[1] = u->rsi;
    t->args[2] = u->rdx;
    t->args[3] = u->r10;
    t->args[4] = u->r8;
    t->args[5] = u->r9;
    u->orig_rax = nr;
    u->rax = (uint64_t)-ENOSYS;
    t->same_faults = 0;
}

/* The stub was reached: by SYSCALL, or by a jump, which is the same to us. */
static void stub(struct kv_vcpu *v, struct kv_thread *t) {
    struct user_regs_struct *u = &t->regs;

    kv_store(v, t);
    u->rip = u->rcx;
    u->eflags = (u->r11 & FLAGS_USER) | FLAG_IF | FLAGS_FIXED;
    system_call(t, u->rax);
}

/* A call of an entry of the old vsyscall page, which isn't there: as Linux emulates it. */
static int vsyscall(struct kv_thread *t, uint64_t at) {
    static const int numbers[] = {96, 201, 309}; /* gettimeofday, time, getcpu */
    struct user_regs_struct *u = &t->regs;
    uint64_t back;

    if (at < VSYSCALL || at > VSYSCALL + 0x800 || at & 0x3ff)
        return 0;
    if (kv_space_read(t->process->space, u->rsp, &back, 8) != 8)
        return 0;
    u->rip = back;
    u->rsp += 8;
    system_call(t, (uint64_t)numbers[(at - VSYSCALL) / 0x400]);
    return 1;
}

static int page_fault(struct kv_engine *e, struct kv_thread *t, uint64_t at, uint64_t err) {
    int access = err & PF_FETCH ? KV_EXEC : err & PF_WRITE ? KV_WRITE : KV_READ, rc;

    if (at == t->regs.rip && at >= VSYSCALL && vsyscall(t, at))
        return 1;
    if (at >= LOWER_HALF)
        err |= PF_PRESENT; /* as Linux hides what is mapped there */
    if (err & PF_KEY) {
        kv_fault_event(t, SIGSEGV, PKUERR, at, PF, (int)err);
        return 1;
    }
    if (err & PF_RESERVED) {
        kv_fault_event(t, SIGSEGV, MAPERR, at, PF, (int)err);
        return 1;
    }
    t->same_faults = at == t->last_fault ? t->same_faults + 1 : 0;
    t->last_fault = at;
    pthread_mutex_lock(&e->mm.lock);
    rc = kv_fault(t->process->space, at, access, 1);
    if (t->same_faults == SAME_FAULT_FLUSH)
        kv_slot_flush(&e->mm);
    pthread_mutex_unlock(&e->mm.lock);
    if (rc == KV_FIXED && t->same_faults < SAME_FAULT_LIMIT)
        return 0;
    if (rc == KV_NOMEM) {
        t->event = KV_DEAD; /* out of memory ends the guest process */
        return 1;
    }
    if (rc == KV_BUS)
        kv_fault_event(t, SIGBUS, ADRERR, at, PF, (int)err);
    else
        kv_fault_event(t, SIGSEGV, rc == KV_ACCERR ? ACCERR : MAPERR, at, PF, (int)err);
    return 1;
}

/* si_code of a floating-point exception (arch/x86/kernel/fpu/core.c: fpu__exception_code). */
static int floating_code(struct kv_vcpu *v, int vector) {
    struct kvm_fpu fpu;
    unsigned raised;

    if (ioctl(v->fd, KVM_GET_FPU, &fpu) < 0)
        return 0;
    raised = vector == MF ? fpu.fsw & ~(unsigned)fpu.fcw : fpu.mxcsr & ~(fpu.mxcsr >> 7);
    if (raised & 1)
        return 7; /* FPE_FLTINV */
    if (raised & 4)
        return 3; /* FPE_FLTDIV */
    if (raised & 8)
        return 4; /* FPE_FLTOVF */
    if (raised & 0x12)
        return 5; /* FPE_FLTUND */
    return raised & 0x20 ? 6 : 0; /* FPE_FLTRES */
}

/* Where KVM is software, it reports some instructions so that a processor would report otherwise. */
static void undefined(struct kv_thread *t) {
    unsigned char code[2] = {0, 0};

    kv_space_read(t->process->space, t->regs.rip, code, 2);
    if (code[0] == 0xcd) { /* int n: refused, as by a kernel without 32-bit calls */
        kv_fault_event(t, SIGSEGV, KERNEL, 0, GP, code[1] << 3 | 2);
    } else if (code[0] == 0xcc) { /* int3 with a stack pointer that is no address */
        t->regs.rip++;
        kv_fault_event(t, SIGTRAP, KERNEL, 0, BP, 0);
    } else {
        kv_fault_event(t, SIGILL, ILLOPN, t->regs.rip, UD, 0);
    }
}

/* 1: an event; 0: settled, go on. */
static int exception(struct kv_engine *e, struct kv_vcpu *v, struct kv_thread *t, unsigned vector) {
    const struct kvm_regs *r = &v->run->s.regs.regs;
    int has_error = WITH_ERROR >> vector & 1;
    uint64_t size = has_error ? 48 : 40, err = 0, cr2 = v->run->s.regs.sregs.cr2;
    const uint64_t *frame;

    kv_store(v, t);
    /* The stack of exceptions is the virtual CPU's page; a frame elsewhere, or one that shows the supervisor, is
     * what comes of a guest that got hold of ring 0 (32-bit SYSCALL does that, at address 0). */
    frame = (const uint64_t *)(v->page + KV_PAGE - size);
    if (has_error)
        err = *frame++;
    t->regs.rip = frame[0];
    t->regs.eflags = (frame[2] & FLAGS_USER) | FLAG_IF | FLAGS_FIXED;
    t->regs.rsp = frame[3];
    if (r->rsp != v->top - size || frame[1] != USER_CS) {
        if (vector == UD && (frame[1] & 3) == 3)
            undefined(t);
        else
            kv_fault_event(t, SIGSEGV, KERNEL, 0, (int)vector, (int)err);
        return 1;
    }
    switch (vector) {
    case PF:
        return page_fault(e, t, cr2, err);
    case DE:
        kv_fault_event(t, SIGFPE, FPE_DIVIDE, t->regs.rip, DE, 0);
        break;
    case DB:
        kv_fault_event(t, SIGTRAP, TRACE, t->regs.rip, DB, 0);
        break;
    case BP:
        kv_fault_event(t, SIGTRAP, KERNEL, 0, BP, 0);
        break;
    case UD:
        undefined(t);
        break;
    case NP:
    case SS:
        kv_fault_event(t, SIGBUS, KERNEL, 0, (int)vector, (int)err);
        break;
    case MF:
    case XM:
        kv_fault_event(t, SIGFPE, floating_code(v, (int)vector), t->regs.rip, (int)vector, 0);
        break;
    case AC:
        kv_fault_event(t, SIGBUS, ADRALN, 0, AC, 0);
        break;
    default:
        kv_fault_event(t, SIGSEGV, KERNEL, 0, (int)vector, (int)err);
    }
    return 1;
}

/* The virtual CPU came back from the guest. 1: the event of t is set; 0: go on with its registers. */
int kv_take_exit(struct kv_engine *e, struct kv_vcpu *v, struct kv_thread *t) {
    const struct kvm_run *run = v->run;
    uint64_t rip = run->s.regs.regs.rip;

    if (run->exit_reason == KVM_EXIT_IO && run->io.port == SYS_PORT && run->io.direction == KVM_EXIT_IO_OUT) {
        /* rip is at the instruction or behind it */
        if (rip == SYS_STUB || rip == SYS_STUB + 2) {
            e->ring = run->s.regs.sregs.cs.dpl;
            stub(v, t);
            return 1;
        }
        if (rip >= SYS_ENTRIES && rip < SYS_ENTRIES + VECTORS * ENTRY_SIZE && run->s.regs.sregs.cs.dpl == 0)
            return exception(e, v, t, (unsigned)((rip - SYS_ENTRIES) / ENTRY_SIZE));
    }
    if (run->s.regs.sregs.cs.dpl == 3)
        kv_store(v, t);
    if (run->exit_reason != KVM_EXIT_IO && run->exit_reason != KVM_EXIT_MMIO)
        v->fresh = 1; /* a triple fault leaves nothing as it was */
    kv_fault_event(t, SIGSEGV, KERNEL, 0, GP, 0);
    return 1;
}
