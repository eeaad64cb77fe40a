/* What a stub may do on the host: a seccomp filter, inherited by all stubs.
 *
 * It is not for the guest, whose system calls never get that far (PTRACE_SYSEMU stops them before the
 * filter is asked).  It is for the calls that are made in a stub by injection: whoever took over the kernel's
 * process could make any call that way, and be out of that process's own jail. */
#define _GNU_SOURCE
#include "engine.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/syscall.h>

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define KILL BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)
#define ALLOW_CALL(nr) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (nr), 0, 1), ALLOW

static const struct sock_filter stub_filter[] = {
    LOAD(arch),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
    KILL,
    LOAD(nr),
    ALLOW_CALL(SYS_mmap),
    ALLOW_CALL(SYS_munmap),
    ALLOW_CALL(SYS_mprotect),
    ALLOW_CALL(SYS_mremap),
    ALLOW_CALL(SYS_madvise),
    ALLOW_CALL(SYS_msync),
    ALLOW_CALL(SYS_mincore),
    ALLOW_CALL(SYS_exit),
    ALLOW_CALL(SYS_exit_group),
    /* Going on with a call that a signal to be ignored interrupted. */
    ALLOW_CALL(SYS_restart_syscall),
    /* The vsyscall page asks the filter about the calls it stands for. */
    ALLOW_CALL(SYS_gettimeofday),
    ALLOW_CALL(SYS_time),
    ALLOW_CALL(SYS_getcpu),
    /* Children are traced from birth, or they are not made. */
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 1, 0),
    KILL,
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0]) + 4),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0),
    KILL,
    LOAD(args[0]),
    ALLOW_CALL(PE_CLONE_THREAD),
    ALLOW_CALL(PE_CLONE_PROCESS),
    KILL,
};

static const struct sock_fprog stub_program = {
    sizeof stub_filter / sizeof *stub_filter,
    (struct sock_filter *)(uintptr_t)stub_filter,
};

/* The template is a copy of this process, with the program at the same address. */
int64_t pe_filter_stub(struct pe_engine *e, struct pe_thread *t) {
    return pe_inject(e, t, SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW,
                     (uint64_t)&stub_program, 0, 0, 0);
}
