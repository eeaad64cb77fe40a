/* Touching pages of files that may have become shorter meanwhile: SIGBUS ends the copy, not us.
 *
 * As in Linux's own copies from user space, the handler knows the few instructions that may fault and sends
 * them to their ends.
 */
#define _GNU_SOURCE
#include "mm.h"

#include <errno.h>
#include <signal.h>
#include <ucontext.h>

__asm__(".text\n"
        ".globl kv_guard_copy\n.hidden kv_guard_copy\n.type kv_guard_copy,@function\n"
        "kv_guard_copy:\n"
        "    mov %rdx, %rcx\n"
        "kv_guard_move:\n"
        "    rep movsb\n"
        "kv_guard_moved:\n"
        "    mov %rcx, %rax\n"
        "    ret\n"
        /* (at, expected, desired, found) */
        ".globl kv_guard_cmpxchg\n.hidden kv_guard_cmpxchg\n.type kv_guard_cmpxchg,@function\n"
        "kv_guard_cmpxchg:\n"
        "    mov %rcx, %r8\n"
        "    mov %esi, %eax\n"
        "kv_guard_swap:\n"
        "    lock cmpxchg %edx, (%rdi)\n"
        "    mov %eax, (%r8)\n"
        "    xor %eax, %eax\n"
        "    ret\n"
        "kv_guard_no_swap:\n"
        "    mov $1, %eax\n"
        "    ret\n");

extern const char kv_guard_move[] __attribute__((visibility("hidden")));
extern const char kv_guard_moved[] __attribute__((visibility("hidden")));
extern const char kv_guard_swap[] __attribute__((visibility("hidden")));
extern const char kv_guard_no_swap[] __attribute__((visibility("hidden")));

static struct sigaction before;
static int users;

static void on_sigbus(int signo, siginfo_t *info, void *context) {
    greg_t *ip = &((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];

    (void)signo;
    (void)info;
    if (*ip == (greg_t)kv_guard_move)
        *ip = (greg_t)kv_guard_moved;
    else if (*ip == (greg_t)kv_guard_swap)
        *ip = (greg_t)kv_guard_no_swap;
    else
        sigaction(SIGBUS, &before, NULL); /* not ours: it happens again, to whom it belongs */
}

int kv_guard_open(void) {
    struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};

    if (users++ == 0 && sigaction(SIGBUS, &action, &before) < 0) {
        users--;
        return -errno;
    }
    return 0;
}

void kv_guard_close(void) {
    if (--users == 0)
        sigaction(SIGBUS, &before, NULL);
}
