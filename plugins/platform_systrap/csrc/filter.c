/* The stubs' seccomp filter (seccomp(2), Documentation/userspace-api/seccomp_filter.rst).
 *
 * Outside the gate everything traps. From the gate:
 *   allowed: what reaches nothing but the caller's own memory and threads;
 *   notified: what takes a descriptor or makes a process or a thread: the kernel compares it with what it asked for;
 *   all else ends the process. */
#define _GNU_SOURCE
#include "engine.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOW(i) (unsigned)(offsetof(struct seccomp_data, args) + 8 * (i))
#define LOAD(at) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)(at))
#define IS(k, t, f) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)(k), t, f)
#define RET(what) BPF_STMT(BPF_RET | BPF_K, (unsigned)(what))
#define ALLOW RET(SECCOMP_RET_ALLOW)
#define TRAP RET(SECCOMP_RET_TRAP)
#define NOTIFY RET(SECCOMP_RET_USER_NOTIF)
#define KILL RET(SECCOMP_RET_KILL_PROCESS)

/* Flags of an anonymous private mmap that needs no confirmation. */
#define PLAIN (MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE | MAP_POPULATE)

/* In the stub being prepared. The listener, or -errno. */
long sy_install_filter(uint64_t gate, int eventfd) {
    struct sock_filter code[] = {
        LOAD(offsetof(struct seccomp_data, arch)),
        IS(AUDIT_ARCH_X86_64, 1, 0),
        TRAP,
        LOAD(offsetof(struct seccomp_data, instruction_pointer) + 4),
        IS(gate >> 32, 1, 0),
        TRAP,
        LOAD(offsetof(struct seccomp_data, instruction_pointer)),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, ~(SY_PAGE - 1U)),
        IS(gate & 0xffffffff, 1, 0),
        TRAP,
        LOAD(offsetof(struct seccomp_data, nr)),
        IS(SYS_rt_sigreturn, 0, 1), ALLOW,
        IS(SYS_futex, 0, 4),
        LOAD(LOW(1)),
        IS(0 /* FUTEX_WAIT */, 0, 1), ALLOW,
        KILL,
        IS(SYS_write, 0, 7),
        LOAD(LOW(0)),
        IS(eventfd, 1, 0), KILL,
        LOAD(LOW(2)),
        IS(8, 1, 0), KILL,
        ALLOW,
        IS(SYS_munmap, 0, 1), ALLOW,
        IS(SYS_mprotect, 0, 1), ALLOW,
        IS(SYS_mremap, 0, 1), ALLOW,
        IS(SYS_msync, 0, 1), ALLOW,
        IS(SYS_mincore, 0, 1), ALLOW,
        IS(SYS_getppid, 0, 1), ALLOW,
        IS(SYS_sched_yield, 0, 1), ALLOW,
        IS(SYS_restart_syscall, 0, 1), ALLOW, /* a sleep in futex(2) that SIGSTOP has interrupted */
        IS(SYS_exit, 0, 1), ALLOW,
        IS(SYS_madvise, 0, 4),
        LOAD(LOW(2)), /* what may free pages of a shared file is confirmed */
        IS(MADV_REMOVE, 0, 1), NOTIFY,
        ALLOW,
        IS(SYS_mmap, 0, 8),
        LOAD(LOW(3)),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, ~(unsigned)PLAIN),
        IS(0, 1, 0), NOTIFY,
        LOAD(LOW(3)),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, MAP_ANONYMOUS, 1, 0),
        NOTIFY,
        ALLOW,
        IS(SYS_prctl, 0, 7),
        LOAD(LOW(0)),
        IS(PR_SET_PDEATHSIG, 1, 0), KILL,
        LOAD(LOW(1)),
        IS(9 /* SIGKILL */, 1, 0), KILL,
        ALLOW,
        IS(SYS_clone, 0, 1), NOTIFY,
        KILL,
    };
    struct sock_fprog prog = {sizeof code / sizeof *code, code};
    long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &prog);

    return fd < 0 ? -errno : fd;
}
