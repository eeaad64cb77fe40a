/* The code that runs in guest processes: the signal handler and the gate.
 *
 * Copied to one page above the guest's addresses; the control page follows it. The handler runs on the
 * alternate stack in the thread's slot and never uses the stack itself: it finds the slot by
 * masking the stack pointer, and all its state is in registers and in the slot. The seccomp filter lets host calls through
 * only from this page, and only those that are harmless with any argument or confirmed by the kernel:
 * the guest may jump anywhere in here, with any registers. */
#include "stub.h"

#define STR2(x) #x
#define STR(x) STR2(x)
#define CTL(field) "stub_start+" STR(STUB_PAGE) "+" STR(field) "(%rip)"
#define SLOT(field) STR(field) "(%rbx)"

/* Segment limit of the host's per-processor descriptor: the processor's number (as the vDSO's getcpu). */
#define CPU_TO_EAX "mov $0x7b, %eax\n lsl %eax, %eax\n and $0xfff, %eax\n"

__asm__(
    ".pushsection .text\n"
    ".balign 64\n"
    ".globl stub_start, stub_end, stub_handler, stub_return, stub_cas\n"
    ".hidden stub_start, stub_end, stub_handler, stub_return, stub_cas\n"
    "stub_start:\n"
    " .fill " STR(STUB_QUIET) ", 1, 0xcc\n"

    /* edi: signal, rsi: siginfo, rdx: ucontext, rsp: the frame */
    "stub_handler:\n"
    " mov %rsp, %rbx\n"
    " and " CTL(C_MASK) ", %rbx\n"
    " cmpl $0, 8(%rsi)\n" /* si_code */
    " jg 1f\n"
    " cmp $" STR(STUB_INTERRUPT) ", %edi\n"
    " jne .Lback\n" /* sent by some process of the host */
    "1:\n"
    " lea stub_cas(%rip), %rax\n"
    " cmp %rax, 168(%rdx)\n" /* rip */
    " je .Lcas_fault\n"
    " mov %rsp, " SLOT(S_SP) "\n"
    " mov %edi, " SLOT(S_SIGNO) "\n"
    " rdfsbase %rax\n"
    " mov %rax, " SLOT(S_FS) "\n"
    " rdgsbase %rax\n"
    " mov %rax, " SLOT(S_GS) "\n" CPU_TO_EAX
    " mov %eax, " SLOT(S_CPU) "\n"
    " mov $" STR(ST_EVENT) ", %ebp\n"

    /* ebp: the state to publish */
    ".Lannounce:\n"
    " mov %ebp, %eax\n"
    " xchg %eax, " SLOT(S_STATE) "\n" /* a full barrier, too */
    " cmpl $0, " CTL(C_SLEEPING) "\n"
    " je .Lwait\n"
    " mov $1, %eax\n" /* write */
    " mov " CTL(C_EVENTFD) ", %edi\n"
    " lea " CTL(C_ONE) ", %rsi\n"
    " mov $8, %edx\n"
    " syscall\n"

    /* until the state is no longer ours */
    ".Lwait:\n"
    " mov " SLOT(S_STATE) ", %eax\n"
    " cmp %ebp, %eax\n"
    " jne .Lact\n" CPU_TO_EAX
    " cmp " CTL(C_CPU) ", %eax\n"
    " je .Lsleep\n" /* the kernel would run here: get out of its way */
    " mov " SLOT(S_SKIP) ", %ecx\n"
    " test %ecx, %ecx\n"
    " jz 1f\n"
    " dec %ecx\n"
    " mov %ecx, " SLOT(S_SKIP) "\n"
    " jmp .Lsleep\n"
    "1: rdtsc\n"
    " shl $32, %rdx\n"
    " lea (%rax, %rdx), %r13\n"
    " add " CTL(C_SPIN) ", %r13\n"
    "2: mov " SLOT(S_STATE) ", %eax\n"
    " cmp %ebp, %eax\n"
    " jne .Lspun\n"
    " pause\n"
    " rdtsc\n"
    " shl $32, %rdx\n"
    " add %rdx, %rax\n"
    " cmp %r13, %rax\n"
    " jb 2b\n"
    " mov " SLOT(S_BACKOFF) ", %ecx\n"
    " lea 1(%rcx, %rcx), %ecx\n"
    " and $63, %ecx\n"
    " mov %ecx, " SLOT(S_BACKOFF) "\n"
    " mov %ecx, " SLOT(S_SKIP) "\n"

    ".Lsleep:\n"
    " mov $1, %eax\n"
    " xchg %eax, " SLOT(S_SLEEPING) "\n"
    " mov " SLOT(S_STATE) ", %eax\n"
    " cmp %ebp, %eax\n"
    " jne .Lwoke\n"
    " mov $202, %eax\n" /* futex(FUTEX_WAIT) */
    " lea " SLOT(S_STATE) ", %rdi\n"
    " xor %esi, %esi\n"
    " mov %ebp, %edx\n"
    " lea " CTL(C_PATIENCE) ", %r10\n"
    " syscall\n"
    " cmp $-110, %rax\n" /* ETIMEDOUT */
    " jne .Lsleep\n"
    " mov $110, %eax\n" /* getppid */
    " syscall\n"
    " cmp " CTL(C_PARENT) ", %eax\n"
    " je .Lsleep\n"
    ".Ldie:\n"
    " mov $0x1fff, %eax\n" /* no such call: the filter ends the process */
    " syscall\n"
    " ud2\n"
    ".Lwoke:\n"
    " movl $0, " SLOT(S_SLEEPING) "\n" CPU_TO_EAX
    " mov %eax, " SLOT(S_CPU) "\n"
    " mov " SLOT(S_STATE) ", %eax\n"
    " jmp .Lact\n"
    ".Lspun:\n"
    " movl $0, " SLOT(S_BACKOFF) "\n"

    ".Lact:\n"
    " cmp $" STR(ST_GO) ", %eax\n"
    " je .Lgo\n"
    " cmp $" STR(ST_CAS) ", %eax\n"
    " je .Lcas\n"
    " cmp $" STR(ST_EXIT) ", %eax\n"
    " je .Lexit\n"
    " mov %eax, %r14d\n"
    " mov " STR(S_FORK) "+0(%rbx), %r12\n"
    " mov " STR(S_FORK) "+8(%rbx), %r13\n"
    " mov " STR(S_FORK) "+16(%rbx), %r15\n"
    " mov " STR(S_FORK) "+24(%rbx), %rbp\n"
    " mov " STR(S_CALL) "+0(%rbx), %rax\n"
    " mov " STR(S_CALL) "+8(%rbx), %rdi\n"
    " mov " STR(S_CALL) "+16(%rbx), %rsi\n"
    " mov " STR(S_CALL) "+24(%rbx), %rdx\n"
    " mov " STR(S_CALL) "+32(%rbx), %r10\n"
    " mov " STR(S_CALL) "+40(%rbx), %r8\n"
    " mov " STR(S_CALL) "+48(%rbx), %r9\n"
    " syscall\n"
    " cmp $" STR(ST_CALL) ", %r14d\n"
    " je 1f\n"
    " test %rax, %rax\n"
    " jz .Lchild\n"
    "1: mov %rax, " SLOT(S_RESULT) "\n"
    ".Ldone:\n"
    " mov $" STR(ST_DONE) ", %ebp\n"
    " jmp .Lannounce\n"

    /* Born: a thread on the stack pointer it was given, a process still on its parent's. */
    ".Lchild:\n"
    " cmp $" STR(ST_THREAD) ", %r14d\n"
    " je 1f\n"
    " mov $9, %eax\n" /* mmap: a region of its own in place of the parent's */
    " mov %r12, %rdi\n"
    " mov %r13, %rsi\n"
    " mov $3, %edx\n"    /* PROT_READ | PROT_WRITE */
    " mov $0x11, %r10d\n" /* MAP_SHARED | MAP_FIXED */
    " mov %r15, %r8\n"
    " xor %r9d, %r9d\n"
    " syscall\n"
    " cmp %r12, %rax\n"
    " jne .Ldie\n"
    " mov %rbp, %rsp\n"
    " mov $157, %eax\n" /* prctl(PR_SET_PDEATHSIG, SIGKILL) */
    " mov $1, %edi\n"
    " mov $9, %esi\n"
    " syscall\n"
    " mov $110, %eax\n"
    " syscall\n"
    " cmp " CTL(C_PARENT) ", %eax\n"
    " jne .Ldie\n"
    " mov %rsp, %rbx\n"
    " and " CTL(C_MASK) ", %rbx\n"
    " jmp .Ldone\n"
    "1: mov %rsp, %rbx\n"
    " and " CTL(C_MASK) ", %rbx\n"
    " mov $" STR(ST_DONE) ", %ebp\n" /* what the kernel stored for it */
    " jmp .Lwait\n"

    ".Lcas:\n"
    " mov " STR(S_CALL) "+8(%rbx), %rdi\n"
    " mov " STR(S_CALL) "+16(%rbx), %rax\n"
    " mov " STR(S_CALL) "+24(%rbx), %rcx\n"
    " movq $0, " SLOT(S_FAILED) "\n"
    "stub_cas:\n"
    " lock cmpxchg %ecx, (%rdi)\n"
    " mov %rax, " SLOT(S_RESULT) "\n"
    " jmp .Ldone\n"
    ".Lcas_failed:\n"
    " movq $1, " SLOT(S_FAILED) "\n"
    " jmp .Ldone\n"
    ".Lcas_fault:\n" /* in the nested signal handler */
    " lea .Lcas_failed(%rip), %rax\n"
    " mov %rax, 168(%rdx)\n"
    ".Lback:\n"
    " add $8, %rsp\n"
    "stub_return:\n"
    " mov $15, %eax\n" /* rt_sigreturn */
    " syscall\n"
    " ud2\n"

    ".Lexit:\n"
    " mov $60, %eax\n"
    " xor %edi, %edi\n"
    " syscall\n"
    " ud2\n"

    ".Lgo:\n"
    " mov " SLOT(S_FLAGS) ", %ecx\n"
    " test %ecx, %ecx\n"
    " jz 2f\n"
    " movl $0, " SLOT(S_FLAGS) "\n"
    " test $1, %ecx\n"
    " jz 1f\n"
    " mov " SLOT(S_FS) ", %rax\n"
    " wrfsbase %rax\n"
    "1: test $2, %ecx\n"
    " jz 2f\n"
    " mov " SLOT(S_GS) ", %rax\n"
    " wrgsbase %rax\n"
    "2: mov " SLOT(S_SP) ", %rsp\n"
    " add $8, %rsp\n"
    " mov $15, %eax\n"
    " syscall\n"
    " ud2\n"
    "stub_end:\n"
    ".popsection\n");
