/* The engine's life, and the first stub: a copy of this process, emptied by the caller, from which
 * every address space is forked. */
#define _GNU_SOURCE
#include "engine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define TOP 0x7ffffffff000UL /* end of 47-bit user addresses, less the guard page */
#define RSEQ_FLAG_UNREGISTER 1
#define CLOSE_LIMIT_NS 10000000000LL
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

static const unsigned char stub_syscall[] = {0x0f, 0x05, 0xcc};             /* syscall; int3 */
static const unsigned char stub_cmpxchg[] = {0xf0, 0x0f, 0xb1, 0x0f, 0xcc}; /* lock cmpxchg %ecx,(%rdi); int3 */

/* A code page as high as there is room for it and, below it, for the scratch page. */
static int make_stub_page(struct pe_engine *e) {
    for (uint64_t at = TOP - 2 * PE_PAGE; at > TOP - (1UL << 36); at -= 2 * PE_PAGE) {
        unsigned char *page = mmap((void *)at, 2 * PE_PAGE, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        if (page == MAP_FAILED) {
            if (errno == EEXIST)
                continue;
            return -errno;
        }
        if ((uint64_t)page != at) { /* a kernel that takes the address for a hint */
            munmap(page, 2 * PE_PAGE);
            continue;
        }
        munmap(page, PE_PAGE);
        page += PE_PAGE;
        memset(page, 0xcc, PE_PAGE);
        memcpy(page + PE_STUB_SYSCALL, stub_syscall, sizeof stub_syscall);
        memcpy(page + PE_STUB_CMPXCHG, stub_cmpxchg, sizeof stub_cmpxchg);
        if (mprotect(page, PE_PAGE, PROT_READ | PROT_EXEC) < 0) {
            int err = -errno;
            munmap(page, PE_PAGE);
            return err;
        }
        e->scratch = at;
        e->stub = at + PE_PAGE;
        e->task_size = at;
        return 0;
    }
    return -ENOMEM;
}

static uint64_t read_min_address(void) {
    unsigned long value = 0;
    FILE *f = fopen("/proc/sys/vm/mmap_min_addr", "re");

    if (f != NULL) {
        if (fscanf(f, "%lu", &value) != 1)
            value = 0;
        fclose(f);
    }
    value = (value + PE_PAGE - 1) & ~(PE_PAGE - 1UL);
    return value < 65536 ? 65536 : value;
}

/* From Linux 5.19 on PTRACE_KILL is SIGKILL, whatever the tracee is doing. Unlike kill(2) it reaches nobody
 * else, so the process needs no right to signal. */
int pe_kills_by_ptrace(void) {
    static int answer = -1;
    struct utsname name;
    int major, minor;

    if (answer < 0) {
        answer = uname(&name) == 0 && sscanf(name.release, "%d.%d", &major, &minor) == 2 &&
                 (major > 5 || (major == 5 && minor >= 19));
    }
    return answer;
}

/* A tracee that has no struct pe_thread. */
void pe_kill_child(pid_t pid) {
    if (pe_kills_by_ptrace())
        ptrace(PTRACE_KILL, pid, 0, 0);
    else
        kill(pid, SIGKILL);
}

struct pe_engine *pe_open(int *err) {
    struct pe_engine *e = calloc(1, sizeof *e);

    *err = -ENOMEM;
    if (e == NULL)
        return NULL;
    e->owner = getpid();
    pe_kills_by_ptrace(); /* asks once, while it may */
    e->queue_tail = &e->queue;
    e->base_limit = TOP;
    e->min_address = read_min_address();
    *err = pe_signals_open(e);
    if (*err < 0) {
        free(e);
        return NULL;
    }
    return e;
}

/* The first stub's own preparation: host calls only, it shares nothing with us but descriptors. */
static void prepare_stub(int ready, int seized) {
    struct __user_cap_header_struct cap_version = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct no_caps[2] = {{0}};
    struct {
        void *handler;
        unsigned long flags;
        void *restorer;
        unsigned long mask;
    } dfl = {0};
    stack_t no_stack = {.ss_flags = SS_DISABLE};
    struct rlimit none = {0, 0};
    unsigned long mask = 0;
    char c = 0;

    syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    /* We may have changed our ids and become undumpable: nobody could trace us then. And without
     * capabilities of its own, a stub stays accessible when we give up ours. */
    syscall(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
    syscall(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    syscall(SYS_capset, &cap_version, no_caps);
    syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    syscall(SYS_write, ready, &c, 1);
    while (syscall(SYS_read, seized, &c, 1) < 0)
        ;
    for (int i = 1; i <= 64; i++)
        syscall(SYS_rt_sigaction, i, &dfl, NULL, sizeof mask);
    syscall(SYS_sigaltstack, &no_stack, NULL);
    syscall(SYS_setpgid, 0, 0);
    syscall(SYS_chdir, "/");
    syscall(SYS_prlimit64, 0, RLIMIT_CORE, &none, NULL);
    syscall(SYS_prctl, PR_SET_NAME, "runsc-stub", 0, 0, 0);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof mask);
    __asm__ volatile("int3");
    for (;;)
        syscall(SYS_exit_group, 1);
}

/* The kernel would go on writing to the C library's rseq area, in the guest's memory. */
static int64_t drop_rseq(struct pe_engine *e, struct pe_thread *t) {
    struct __ptrace_rseq_configuration conf;

    if (ptrace(PTRACE_GET_RSEQ_CONFIGURATION, t->tid, sizeof conf, &conf) < 0 || conf.rseq_abi_pointer == 0)
        return 0;
    return pe_inject(e, t, SYS_rseq, conf.rseq_abi_pointer, conf.rseq_abi_size, RSEQ_FLAG_UNREGISTER,
                     conf.signature, 0, 0);
}

static int read_byte(int fd) {
    char c;
    ssize_t n;

    do
        n = read(fd, &c, 1);
    while (n < 0 && errno == EINTR);
    return n == 1 ? 0 : -EIO;
}

static int seize(struct pe_engine *e, pid_t pid, int ready, int seized) {
    int status;

    if (read_byte(ready) < 0)
        return -EIO;
    if (ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD) < 0)
        return -errno;
    if (write(seized, "", 1) != 1)
        return -EIO;
    for (;;) {
        if (waitpid(pid, &status, __WALL) < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        if (!WIFSTOPPED(status))
            return -ECHILD;
        if (WSTOPSIG(status) == SIGTRAP && status >> 16 == 0)
            break;
        ptrace(PTRACE_CONT, pid, 0, 0);
    }
    e->pgid = pid;
    return 0;
}

/* NULL and -errno in *err, or the first stub, stopped, with the memory of this process. */
struct pe_thread *pe_template(struct pe_engine *e, int *err) {
    sigset_t all, old;
    int ready[2], seized[2];
    pid_t pid;
    struct pe_space *s;
    struct pe_thread *t = NULL;

    *err = make_stub_page(e);
    if (*err < 0)
        return NULL;
    if (pipe2(ready, O_CLOEXEC) < 0) {
        *err = -errno;
        munmap((void *)e->stub, PE_PAGE);
        return NULL;
    }
    if (pipe2(seized, O_CLOEXEC) < 0) {
        *err = -errno;
        close(ready[0]);
        close(ready[1]);
        munmap((void *)e->stub, PE_PAGE);
        return NULL;
    }
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &old);
    pid = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        prepare_stub(ready[1], seized[0]);
    *err = pid < 0 ? -errno : 0;
    sigprocmask(SIG_SETMASK, &old, NULL);
    if (pid > 0)
        *err = seize(e, pid, ready[0], seized[1]);
    close(ready[0]);
    close(ready[1]);
    close(seized[0]);
    close(seized[1]);
    munmap((void *)e->stub, PE_PAGE);
    if (*err == 0) {
        s = pe_space_new(e, pid);
        t = s != NULL ? pe_thread_new(e, s, pid) : NULL;
        if (t == NULL)
            *err = -ENOMEM;
        else if (drop_rseq(e, t) < 0)
            *err = -EIO;
        else {
            int64_t result = pe_filter_stub(e, t);
            if (result < 0)
                *err = result == PE_GONE ? -EIO : (int)result;
        }
    }
    if (*err != 0 && pid > 0) {
        kill(pid, SIGKILL);
        if (t == NULL)
            while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
                ;
        return NULL;
    }
    return t;
}

void pe_close(struct pe_engine *e) {
    struct pe_space *s;
    int status;

    /* In a process forked from the owner the stubs are somebody else's. */
    if (e->closed || e->owner != getpid())
        return;
    for (s = e->spaces; s != NULL; s = s->next)
        pe_space_release(e, s);
    if (e->pgid != 0) {
        int64_t end = pe_now() + CLOSE_LIMIT_NS;
        pid_t pid;

        while ((pid = waitpid(-e->pgid, &status, __WALL | WNOHANG)) >= 0 || errno == EINTR) {
            if (pid > 0)
                pe_take_status(e, pid, status);
            else if (pe_now() > end)
                break; /* stuck in the host's kernel: it dies when it can */
            else
                pe_sleep(-1, 100000000);
        }
    }
    e->closed = 1;
    pe_signals_close(e);
}

void pe_free(struct pe_engine *e) {
    pe_close(e);
    free(e);
}
