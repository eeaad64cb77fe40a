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
#include <sys/auxv.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define TOP 0x7ffffffff000UL /* end of 47-bit user addresses, less the guard page */
#define CLOSE_LIMIT_NS 10000000000LL
#define SPIN_NS 12000 /* most answers come sooner */
#define CALIBRATION_NS 200000
#define PATIENCE_S 30
#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif
#define HWCAP2_FSGSBASE 2
#define PROBE_CALL 0x1234 /* no such system call */

extern const char stub_start[], stub_end[], stub_handler[], stub_return[], stub_cas[];

static uint64_t align_up(uint64_t value, uint64_t to) { return (value + to - 1) & ~(to - 1); }

/* A slot: room for copies, and a stack for a frame and, inside it, one for a fault in the handler and two for
 * signals that some process of the host sends. */
static void measure_slot(struct sy_engine *e) {
    uint64_t frame = getauxval(AT_MINSIGSTKSZ), stack;

    if (frame < 2048)
        frame = 2048;
    stack = align_up(3 * frame + 512, SY_PAGE);
    if (stack < 3 * SY_PAGE)
        stack = 3 * SY_PAGE;
    for (e->slot_size = 65536; e->slot_size < S_ALL_ROOM + stack;)
        e->slot_size *= 2;
    e->stack_at = e->slot_size - stack;
}

/* A place as high as there is room for guard page, code, control page and slots. */
static int find_place(struct sy_engine *e) {
    uint64_t slots = (uint64_t)SY_MAX_SLOTS * e->slot_size;
    uint64_t thunks = e->thunks != NULL ? SY_THUNKS_SIZE + SY_PAGE : 0;
    uint64_t front = align_up(3 * SY_PAGE + thunks, e->slot_size), size = front + slots;

    for (uint64_t at = (TOP - size) & ~(e->slot_size - 1); at > TOP - (1UL << 38); at -= 1UL << 20) {
        void *got = mmap((void *)at, size, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
        if (got == MAP_FAILED) {
            if (errno == EEXIST)
                continue;
            return -errno;
        }
        munmap(got, size);
        if ((uint64_t)got != at)
            continue; /* a kernel that takes the address for a hint */
        e->region = at + front;
        e->gate = e->region - 2 * SY_PAGE;
        e->thunks_at = e->gate - thunks;
        e->task_size = e->thunks_at - SY_PAGE;
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
    value = align_up(value, SY_PAGE);
    return value < 65536 ? 65536 : value;
}

/* Time-stamp counter ticks in SPIN_NS. */
static uint64_t spin_ticks(void) {
    int64_t start = sy_now(), now;
    uint64_t ticks = __builtin_ia32_rdtsc();

    do
        now = sy_now();
    while (now < start + CALIBRATION_NS);
    return (__builtin_ia32_rdtsc() - ticks) * SPIN_NS / (uint64_t)(now - start);
}

static int make_control(struct sy_engine *e) {
    struct sy_control *c;

    e->control_fd = memfd_create("runsc-control", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (e->control_fd < 0 || ftruncate(e->control_fd, SY_PAGE) < 0)
        return -errno;
    c = mmap(NULL, SY_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, e->control_fd, 0);
    if (c == MAP_FAILED)
        return -errno;
    e->control = c;
    c->eventfd = (uint32_t)e->eventfd;
    c->one = 1;
    c->spin = spin_ticks();
    c->patience[0] = PATIENCE_S;
    c->mask = -e->slot_size;
    /* Nobody maps it writable any more: not a stub either. */
    if (fcntl(e->control_fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW) < 0)
        return -errno;
    return 0;
}

static void put_away(struct sy_engine *e) {
    sy_patch_close(e);
    if (e->control != NULL)
        munmap(e->control, SY_PAGE);
    e->control = NULL;
    if (e->control_fd >= 0)
        close(e->control_fd);
    if (e->eventfd >= 0)
        close(e->eventfd);
    if (e->listener >= 0)
        close(e->listener);
    if (e->proc >= 0)
        close(e->proc);
    e->control_fd = e->eventfd = e->listener = e->proc = -1;
}

struct sy_engine *sy_open(int patch, int *err) {
    struct sy_engine *e;

    *err = -EOPNOTSUPP;
    if (!(getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE))
        return NULL;
    *err = -ENOMEM;
    e = calloc(1, sizeof *e);
    if (e == NULL)
        return NULL;
    e->owner = getpid();
    e->queue_tail = &e->queue;
    e->base_limit = TOP;
    e->min_address = read_min_address();
    measure_slot(e);
    e->listener = e->control_fd = e->thunks_fd = e->table_fd = -1;
    e->proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC); /* without it, a stuck stub lives a little longer */
    e->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    *err = e->eventfd < 0 ? -errno : make_control(e);
    if (*err == 0 && patch)
        *err = sy_patch_open(e);
    if (*err == 0)
        *err = find_place(e);
    if (*err == 0)
        e->control->top = e->task_size;
    if (*err == 0)
        *err = sy_signals_open(e);
    if (*err < 0) {
        put_away(e);
        free(e);
        return NULL;
    }
    return e;
}

/* ---- the first stub's own preparation ---- */

struct kernel_sigaction {
    uint64_t handler, flags, restorer, mask;
};

#define KSA_SIGINFO 4UL
#define KSA_RESTORER 0x04000000UL
#define KSA_ONSTACK 0x08000000UL
#define KSA_NODEFER 0x40000000UL
#define BIT(signo) (1UL << ((signo) - 1))
#define SYNCHRONOUS (BIT(SIGSEGV) | BIT(SIGBUS) | BIT(SIGILL) | BIT(SIGFPE) | BIT(SIGTRAP) | BIT(SIGSYS))

static volatile uint64_t frame_at; /* of the stub being prepared */

static void note_frame(int signo, siginfo_t *info, void *context) {
    (void)signo;
    (void)info;
    frame_at = (uint64_t)context - 8;
}

/* Take one signal to see how large a frame is. */
static long measure_frame(struct sy_engine *e, stack_t *stack) {
    struct kernel_sigaction note = {
        .handler = (uint64_t)note_frame,
        .flags = KSA_SIGINFO | KSA_RESTORER | KSA_ONSTACK,
        .restorer = (uint64_t)stub_return,
    };
    uint64_t top = (uint64_t)stack->ss_sp + stack->ss_size;
    unsigned long mask = ~BIT(STUB_INTERRUPT);

    if (syscall(SYS_sigaltstack, stack, NULL) < 0 ||
        syscall(SYS_rt_sigaction, STUB_INTERRUPT, &note, NULL, 8UL) < 0 ||
        syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, 8UL) < 0 ||
        syscall(SYS_tgkill, syscall(SYS_getpid), syscall(SYS_gettid), STUB_INTERRUPT) < 0)
        return -errno;
    if (frame_at == 0)
        return -EPROTO;
    stack->ss_size = sy_stack_size(e, top - frame_at);
    stack->ss_sp = (void *)(top - stack->ss_size);
    return 0;
}

static long take_signals(struct sy_engine *e) {
    struct kernel_sigaction ours = {
        .handler = e->gate + (uint64_t)(stub_handler - stub_start),
        .flags = KSA_SIGINFO | KSA_RESTORER | KSA_ONSTACK | KSA_NODEFER,
        .restorer = e->gate,
        /* A synchronous signal that is blocked would end the process. */
        .mask = ~SYNCHRONOUS,
    };
    struct kernel_sigaction ignore = {.handler = (uint64_t)SIG_IGN};
    stack_t stack = {.ss_sp = (void *)(e->region + e->stack_at), .ss_size = e->slot_size - e->stack_at};
    long rc = measure_frame(e, &stack);

    if (rc < 0)
        return rc;
    if (syscall(SYS_sigaltstack, &stack, NULL) < 0)
        return -errno;
    for (int i = 1; i <= 64; i++) {
        int handled = (SYNCHRONOUS | BIT(STUB_INTERRUPT)) & BIT(i) ? 1 : 0;
        if (i == SIGKILL || i == SIGSTOP)
            continue;
        if (syscall(SYS_rt_sigaction, i, handled ? &ours : &ignore, NULL, 8UL) < 0)
            return -errno;
    }
    return 0;
}

/* The host would go on writing to the C library's rseq area, in the guest's memory. */
static long drop_rseq(void) {
    char *area = (char *)__builtin_thread_pointer() + __rseq_offset;
    const unsigned lengths[] = {32, __rseq_size, (unsigned)getauxval(27 /* AT_RSEQ_FEATURE_SIZE */)};

    if (__rseq_size == 0)
        return 0;
    for (unsigned i = 0; i < 3; i++)
        if (syscall(SYS_rseq, area, lengths[i], RSEQ_FLAG_UNREGISTER, RSEQ_SIG) == 0)
            return 0;
    return -errno;
}

static long prepare(struct sy_engine *e, int region_fd) {
    struct __user_cap_header_struct cap_version = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct no_caps[2] = {{0}};
    struct rlimit none = {0, 0};
    unsigned long mask = 0;
    long rc;

    if (syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        return -errno;
    /* We may have changed our ids and become undumpable: then nobody could reach the memory. And without
     * capabilities of its own, a stub stays accessible when we give up ours. */
    syscall(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
    syscall(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (syscall(SYS_capset, &cap_version, no_caps) < 0 || syscall(SYS_setpgid, 0, 0) < 0 ||
        syscall(SYS_chdir, "/") < 0 || syscall(SYS_prlimit64, 0, RLIMIT_CORE, &none, NULL) < 0 ||
        syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    syscall(SYS_prctl, PR_SET_NAME, "runsc-stub", 0, 0, 0);
    if (mmap((void *)e->region, SY_FIRST_SLOTS * e->slot_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
             region_fd, 0) == MAP_FAILED ||
        mmap((void *)(e->gate + SY_PAGE), SY_PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, e->control_fd, 0) ==
            MAP_FAILED)
        return -errno;
    rc = sy_patch_map(e);
    if (rc == 0)
        rc = drop_rseq();
    if (rc == 0)
        rc = take_signals(e);
    if (rc < 0)
        return rc;
    if (syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, 8UL) < 0)
        return -errno;
    return sy_install_filter(e->gate, e->eventfd);
}

/* It shares nothing with us but descriptors and its slot. */
static void become_stub(struct sy_engine *e, int region_fd, uint8_t *slot) {
    long rc;

    e->control->parent = (uint32_t)syscall(SYS_getppid);
    rc = prepare(e, region_fd);
    sy_set64(slot, S_RESULT, (uint64_t)rc);
    if (rc >= 0)
        for (;;)
            syscall(PROBE_CALL); /* the first event */
    for (;;)
        syscall(SYS_exit_group, 1);
}

static int make_code_page(struct sy_engine *e) {
    size_t size = (size_t)(stub_end - stub_start);
    void *page = mmap((void *)e->gate, SY_PAGE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

    if (page == MAP_FAILED)
        return -errno;
    memset(page, 0xcc, SY_PAGE);
    memcpy(page, stub_start, size);
    e->cas_at = e->gate + (uint64_t)(stub_cas - stub_start);
    if (mprotect(page, SY_PAGE, PROT_READ | PROT_EXEC) < 0) {
        int err = -errno;
        munmap(page, SY_PAGE);
        return err;
    }
    return 0;
}

static int start(struct sy_engine *e, struct sy_thread *t) {
    int64_t end = sy_now() + CLOSE_LIMIT_NS, rc;

    while (sy_get32(t->slot, S_STATE) != ST_EVENT) {
        rc = (int64_t)sy_get64(t->slot, S_RESULT);
        sy_reap(e);
        if (t->space->dead || sy_now() > end)
            return rc < 0 && rc > -4096 ? (int)rc : -ECHILD;
        sy_sleep(NULL, 0, 100000);
    }
    e->listener = (int)sy_get64(t->slot, S_RESULT);
    t->parked = 0;
    t->state = SY_ST_RUNNING;
    rc = sy_frame_event(e, t);
    t->state = SY_ST_STOPPED;
    t->parked = 1;
    if (rc != SY_SYSCALL || t->nr != PROBE_CALL)
        return -EPROTO;
    return sy_frame_measure(e, t);
}

/* NULL and -errno in *err, or the first stub, stopped, with the memory of this process. */
struct sy_thread *sy_template(struct sy_engine *e, int *err) {
    sigset_t all, old;
    struct sy_space *s;
    struct sy_thread *t = NULL;
    uint8_t *chunk;
    pid_t pid = -1;
    int fd, pidfd = -1;

    fd = sy_chunk_new(e, SY_FIRST_SLOTS, &chunk);
    *err = fd < 0 ? fd : 0;
    if (fd < 0)
        return NULL;
    s = sy_space_new(e, 0);
    if (s == NULL) {
        close(fd);
        munmap(chunk, SY_FIRST_SLOTS * e->slot_size);
        *err = -ENOMEM;
        return NULL;
    }
    s->chunks[s->nchunks++] = chunk;
    *err = sy_slot_take(e, s);
    if (*err >= 0)
        t = sy_thread_new(e, s, 0, *err);
    if (t != NULL) {
        t->released = 1;
        *err = make_code_page(e);
    }
    if (*err >= 0 && t != NULL) {
        sigfillset(&all);
        sigprocmask(SIG_BLOCK, &all, &old);
        pid = (pid_t)syscall(SYS_clone, CLONE_FILES | CLONE_PIDFD | SIGCHLD, 0, &pidfd, 0, 0);
        if (pid == 0)
            become_stub(e, fd, t->slot);
        *err = pid < 0 ? -errno : 0;
        sigprocmask(SIG_SETMASK, &old, NULL);
        munmap((void *)e->gate, SY_PAGE);
    }
    if (pid > 0) {
        setpgid(pid, pid);
        e->pgid = s->tgid = t->tid = pid;
        s->pidfd = pidfd;
        *err = start(e, t);
    }
    close(fd);
    close(e->control_fd);
    if (e->thunks_fd >= 0)
        close(e->thunks_fd);
    if (e->table_fd >= 0)
        close(e->table_fd);
    e->control_fd = e->thunks_fd = e->table_fd = -1;
    if (*err == 0) {
        t->released = 0;
        return t;
    }
    if (t != NULL)
        sy_thread_drop(e, t);
    if (pid > 0 && !s->dead) {
        sy_space_release(e, s); /* reaped by sy_close */
    } else if (!s->dead) {
        s->released = 1;
        sy_space_ended(e, s);
    }
    sy_space_drop(e, s);
    return NULL;
}

void sy_close(struct sy_engine *e) {
    int64_t end;

    /* In a process forked from the owner the stubs are somebody else's. */
    if (e->closed || e->owner != getpid())
        return;
    for (struct sy_space *s = e->spaces; s != NULL; s = s->next)
        sy_space_release(e, s);
    end = sy_now() + CLOSE_LIMIT_NS;
    while (e->pgid != 0 && e->spaces != NULL) {
        sy_reap(e);
        if (e->spaces == NULL || sy_now() > end)
            break; /* stuck in the host's kernel: it dies when it can */
        if (e->chld_scanned == sy_chld_count())
            sy_sleep(NULL, 0, 100000000);
    }
    e->closed = 1;
    sy_signals_close(e);
    put_away(e);
}

void sy_free(struct sy_engine *e) {
    sy_close(e);
    free(e);
}
