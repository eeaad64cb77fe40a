/* The signal frame in a slot (arch/x86/include/asm/sigframe.h): registers and FPU state of a stopped thread.
 *
 *     sp + 0     return address
 *     sp + 8     struct ucontext: flags, link, stack; sigcontext at +40; mask at +296
 *     sp + 312   siginfo
 *
 * and, wherever the frame says, the XSAVE area. */
#define _GNU_SOURCE
#include "engine.h"

#include <errno.h>
#include <linux/audit.h>
#include <signal.h>
#include <string.h>

#define UC 8
#define UC_STACK (UC + 16)
#define GREGS (UC + 40)
#define FPSTATE (GREGS + 184)
#define INFO 312
#define FRAME_SIZE (INFO + 128)
#define USER_CS 0x33
#define USER_DS 0x2b
#define SW_RESERVED 464
#define RED_ZONE 128
#define MAGIC1 0x46505853U

extern const char stub_start[], stub_call[], stub_saved[], stub_answer[], stub_answered[], stub_yielded[],
    stub_answer_end[];

enum { G_R8, G_R9, G_R10, G_R11, G_R12, G_R13, G_R14, G_R15, G_RDI, G_RSI, G_RBP, G_RBX, G_RDX, G_RAX,
       G_RCX, G_RSP, G_RIP, G_EFLAGS, G_SEGMENTS, G_ERR, G_TRAPNO, G_OLDMASK, G_CR2, G_COUNT };

/* Note where the frame is. -EINVAL: not inside the slot's stack. */
int sy_frame_place(struct sy_engine *e, struct sy_thread *t, uint64_t sp) {
    if (sp % 8 != 0 || sp < t->slot_at + e->stack_at || sp > t->slot_at + e->slot_size - FRAME_SIZE)
        return -EINVAL;
    t->sp = sp;
    return 0;
}

static uint8_t *frame(struct sy_thread *t) { return t->slot + (t->sp - t->slot_at); }

/* The XSAVE area's place in the slot, if it is one that the kernel would have made. */
static uint64_t find_fp(struct sy_engine *e, struct sy_thread *t) {
    uint64_t at = sy_get64(frame(t), FPSTATE);

    if (at % 64 != 0 || at < t->slot_at + e->stack_at ||
        at > t->slot_at + e->slot_size - (e->xsave_size ? e->xsave_size : 512))
        return 0;
    return at - t->slot_at;
}

void sy_frame_read(struct sy_engine *e, struct sy_thread *t) {
    uint64_t g[G_COUNT];
    struct user_regs_struct *r = &t->regs;

    memcpy(g, frame(t) + GREGS, sizeof g);
    __asm__ volatile("" : : "r"(g) : "memory"); /* our copy from here on */
    r->r8 = g[G_R8];
    r->r9 = g[G_R9];
    r->r10 = g[G_R10];
    r->r11 = g[G_R11];
    r->r12 = g[G_R12];
    r->r13 = g[G_R13];
    r->r14 = g[G_R14];
    r->r15 = g[G_R15];
    r->rdi = g[G_RDI];
    r->rsi = g[G_RSI];
    r->rbp = g[G_RBP];
    r->rbx = g[G_RBX];
    r->rdx = g[G_RDX];
    r->rax = g[G_RAX];
    r->rcx = g[G_RCX];
    r->rsp = g[G_RSP];
    r->rip = sy_patch_to_guest(e, g[G_RIP]);
    r->eflags = g[G_EFLAGS];
    r->cs = g[G_SEGMENTS] & 0xffff;
    r->ss = g[G_SEGMENTS] >> 48;
    r->orig_rax = (uint64_t)-1;
    r->ds = r->es = r->fs = r->gs = 0;
    r->fs_base = sy_get64(t->slot, S_FS);
    r->gs_base = sy_get64(t->slot, S_GS);
    if (r->gs_base == t->slot_at) /* ours while the guest doesn't use it */
        r->gs_base = 0;
    t->trapno = (int32_t)g[G_TRAPNO];
    t->err = (int32_t)g[G_ERR];
    t->fp = find_fp(e, t);
    t->dirty = 0;
}

/* Put t->regs into the frame. */
void sy_frame_write(struct sy_engine *e, struct sy_thread *t) {
    uint8_t *f = frame(t);
    const struct user_regs_struct *r = &t->regs;
    uint64_t g[G_SEGMENTS + 1];

    g[G_R8] = r->r8;
    g[G_R9] = r->r9;
    g[G_R10] = r->r10;
    g[G_R11] = r->r11;
    g[G_R12] = r->r12;
    g[G_R13] = r->r13;
    g[G_R14] = r->r14;
    g[G_R15] = r->r15;
    g[G_RDI] = r->rdi;
    g[G_RSI] = r->rsi;
    g[G_RBP] = r->rbp;
    g[G_RBX] = r->rbx;
    g[G_RDX] = r->rdx;
    g[G_RAX] = r->rax;
    g[G_RCX] = r->rcx;
    g[G_RSP] = r->rsp;
    g[G_RIP] = sy_patch_to_host(e, t->space, r->rip);
    g[G_EFLAGS] = r->eflags;
    g[G_SEGMENTS] = (r->cs & 0xffff) | (uint64_t)(r->ss & 0xffff) << 48;
    memcpy(f + GREGS, g, sizeof g);
    sy_set64(t->slot, S_FS, r->fs_base);
    sy_set64(t->slot, S_GS, r->gs_base == 0 && e->thunks != NULL ? t->slot_at : r->gs_base);
    sy_set32(t->slot, S_FLAGS, 3);
    t->dirty = 0;
}

/* Give `to`, a new thread, the frame of `from`: same offset in another slot. */
void sy_frame_copy(struct sy_engine *e, const struct sy_thread *from, struct sy_thread *to) {
    uint64_t offset = from->sp - from->slot_at, fp;

    memcpy(to->slot + offset, from->slot + offset, e->slot_size - offset);
    to->sp = to->slot_at + offset;
    fp = from->fp ? to->slot_at + from->fp : 0;
    sy_set64(frame(to), FPSTATE, fp);
    to->fp = from->fp;
    /* rt_sigreturn installs the alternate stack that the frame names. */
    sy_set64(frame(to), UC_STACK, to->slot_at + e->slot_size - e->stack_size);
    sy_set64(frame(to), UC_STACK + 8, 0);
    sy_set64(frame(to), UC_STACK + 16, e->stack_size);
    sy_set64(to->slot, S_SP, to->sp);
    to->regs = from->regs;
    to->dirty = 1;
}

/* ---- events ---- */

static int fault(struct sy_thread *t, int signo, int code, uint64_t addr, int trapno, int err) {
    t->signo = signo;
    t->code = code;
    t->addr = addr;
    t->trapno = trapno;
    t->err = err;
    return SY_FAULT;
}

static int set_syscall(struct sy_thread *t, uint32_t arch) {
    struct user_regs_struct *r = &t->regs;

    if (arch != AUDIT_ARCH_X86_64) {
        /* As on a kernel without 32-bit support: #GP at the instruction. */
        r->rip -= 2;
        t->dirty = 1;
        return fault(t, SIGSEGV, SI_KERNEL, 0, 13, 0x80 * 8 + 2);
    }
    t->nr = (int32_t)r->rax;
    r->orig_rax = (uint64_t)(int64_t)t->nr;
    r->rax = (uint64_t)-ENOSYS;
    t->args[0] = r->rdi;
    t->args[1] = r->rsi;
    t->args[2] = r->rdx;
    t->args[3] = r->r10;
    t->args[4] = r->r8;
    t->args[5] = r->r9;
    return SY_SYSCALL;
}

/* A call that came through a thunk: there is no frame, and only what is needed is here. */
static int set_thunk_call(struct sy_thread *t) {
    for (unsigned i = 0; i < 6; i++)
        t->args[i] = sy_get64(t->slot, S_ARGS + 8 * i);
    t->nr = (int32_t)sy_get32(t->slot, S_NR);
    t->regs.rax = (uint64_t)-ENOSYS;
    t->patched = 1;
    t->dirty = 0;
    return SY_SYSCALL;
}

/* Interrupted in the gate, on the way from a thunk or back to it: what the registers would be just before, or
 * just after. */
static void unwind(struct sy_engine *e, struct sy_thread *t) {
    struct user_regs_struct *r = &t->regs;
    uint64_t at = r->rip - e->gate + (uint64_t)stub_start;

    if (at == (uint64_t)stub_answered) {
        r->rip = r->rcx;
    } else if (at >= (uint64_t)stub_yielded && at < (uint64_t)stub_answer_end) {
        r->rax = 0;
        r->rip = sy_get64(t->slot, S_TAIL);
    } else if ((at >= (uint64_t)stub_call && at < (uint64_t)stub_saved) ||
               (at >= (uint64_t)stub_answer && at < (uint64_t)stub_answer_end)) {
        r->rip = r->rcx - THUNK_TAIL + THUNK_RESTART;
    } else {
        r->rdi = sy_get64(t->slot, S_ARGS);
        r->rsi = sy_get64(t->slot, S_ARGS + 8);
        r->rdx = sy_get64(t->slot, S_ARGS + 16);
        r->r10 = sy_get64(t->slot, S_ARGS + 24);
        r->r8 = sy_get64(t->slot, S_ARGS + 32);
        r->r9 = sy_get64(t->slot, S_ARGS + 40);
        r->rbx = sy_get64(t->slot, S_SAVED);
        r->rbp = sy_get64(t->slot, S_SAVED + 8);
        r->r12 = sy_get64(t->slot, S_SAVED + 16);
        r->r13 = sy_get64(t->slot, S_SAVED + 24);
        r->r14 = sy_get64(t->slot, S_SAVED + 32);
        r->r15 = sy_get64(t->slot, S_SAVED + 40);
        r->rax = sy_get64(t->slot, S_RESULT);
        r->rip = sy_get64(t->slot, S_TAIL);
    }
    r->rip = sy_patch_to_guest(e, r->rip);
    r->rcx = r->rip;
    t->dirty = 1;
}

/* What the handler published. SY_NONE: nothing for the kernel; negative: nonsense. */
int sy_frame_event(struct sy_engine *e, struct sy_thread *t) {
    uint64_t info[4];
    int signo = (int)sy_get32(t->slot, S_SIGNO), code;

    if (signo == 0 && e->thunks != NULL)
        return set_thunk_call(t);
    if (sy_frame_place(e, t, sy_get64(t->slot, S_SP)) < 0)
        return -EINVAL;
    sy_frame_read(e, t);
    memcpy(info, frame(t) + INFO, sizeof info);
    __asm__ volatile("" : : "r"(info) : "memory");
    code = (int)info[1];
    switch (signo) {
    case SIGSYS:
        return set_syscall(t, (uint32_t)(info[3] >> 32));
    case STUB_INTERRUPT:
        if (t->regs.rip - e->gate < STUB_PAGE)
            unwind(e, t);
        return t->interrupted ? SY_INTERRUPTED : SY_NONE;
    case SIGSEGV:
        if (sy_patch_to_host(e, t->space, t->regs.rip) != t->regs.rip) {
            t->dirty = 1; /* somebody has jumped to a patched system call instruction */
            return SY_NONE;
        }
        return fault(t, signo, code, info[2], t->trapno, t->err);
    case SIGBUS:
    case SIGFPE:
    case SIGILL:
    case SIGTRAP:
        return fault(t, signo, code, info[2], t->trapno, t->err);
    default:
        return -EINVAL;
    }
}

/* ---- FPU ---- */

static uint32_t get32(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static int all_zero(const uint8_t *at, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (at[i] != 0)
            return 0;
    return 1;
}

/* What is in its initial state is not always marked so by the host: say it, as ptrace(2) does. */
static void normalise(uint8_t *area) {
    uint64_t present;

    memcpy(&present, area + 512, sizeof present);
    if (area[0] == 0x7f && area[1] == 0x03 && all_zero(area + 2, 22) && all_zero(area + 32, 128))
        present &= ~1UL;
    if (get32(area + 24) == 0x1f80 && all_zero(area + 160, 256))
        present &= ~2UL;
    memcpy(area + 512, &present, sizeof present);
}

/* The area, its first software-reserved word the mask of components as in NT_X86_XSTATE; or an error. */
int64_t sy_thread_get_fpu(struct sy_engine *e, struct sy_thread *t, void *buf, uint64_t len) {
    uint8_t *area = buf;

    if (t->space->dead || t->space->released || sy_unpatched(e, t) < 0)
        return SY_GONE;
    if (t->fp == 0 || e->xsave_size == 0 || len < e->xsave_size)
        return -EINVAL;
    memcpy(area, t->slot + t->fp, e->xsave_size);
    memset(area + SW_RESERVED, 0, 48);
    memcpy(area + SW_RESERVED, &e->xfeatures, 8);
    normalise(area);
    return (int64_t)e->xsave_size;
}

/* `buf` is sanitised and has the size of what sy_thread_get_fpu gives. */
int64_t sy_thread_set_fpu(struct sy_engine *e, struct sy_thread *t, const void *buf, uint64_t len) {
    uint8_t *area;

    if (t->space->dead || t->space->released || sy_unpatched(e, t) < 0)
        return SY_GONE;
    area = t->slot + t->fp;
    if (t->fp == 0 || len != e->xsave_size)
        return -EINVAL;
    memcpy(area, buf, SW_RESERVED);
    memcpy(area + 512, (const uint8_t *)buf + 512, len - 512);
    return 0;
}

/* How large an alternate stack is, when a frame at its top takes so many bytes.
 *
 * Faults in the handler (its page is gone, say) nest until the stack is full, which ends the process. But the
 * host takes a stack pointer within the red zone of the end for one that is elsewhere, and starts again at the
 * top: no frame may end there. */
uint64_t sy_stack_size(struct sy_engine *e, uint64_t frame_bytes) {
    uint64_t stride = frame_bytes + RED_ZONE, room = e->slot_size - e->stack_at;
    uint64_t size = (room / stride * stride + stride / 2) & ~63UL;

    return size > room ? size - (stride & ~63UL) : size;
}

/* From the template's first frame: how large this host's areas are. */
int sy_frame_measure(struct sy_engine *e, struct sy_thread *t) {
    uint64_t at;
    const uint8_t *area;
    uint32_t size;

    e->xsave_size = 0;
    at = find_fp(e, t);
    if (at == 0)
        return -EINVAL;
    area = t->slot + at;
    if (get32(area + SW_RESERVED) != MAGIC1)
        return -EOPNOTSUPP;
    memcpy(&e->xfeatures, area + SW_RESERVED + 8, 8);
    memcpy(&size, area + SW_RESERVED + 16, 4);
    if (size < 576 || at + size + 4 > e->slot_size)
        return -EINVAL;
    e->xsave_size = size;
    t->fp = at;
    e->stack_size = sy_stack_size(e, t->slot_at + e->slot_size - t->sp);
    return 0;
}
