/* Virtual CPUs and the threads that run them. */
#define _GNU_SOURCE
#include "engine.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MSR_STAR 0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_CSTAR 0xc0000083
#define MSR_SFMASK 0xc0000084
#define MSR_KERNEL_GS_BASE 0xc0000102

#define CR0_WANTED 0x80050033ULL /* PG AM WP NE ET MP PE */
#define CR4_WANTED 0x00050620ULL /* PAE OSFXSR OSXMMEXCPT FSGSBASE OSXSAVE */
#define CR4_SMEP (1ULL << 20)
#define CR4_UMIP (1ULL << 11)
#define EFER_WANTED 0xd01ULL /* NXE LMA LME SCE */

#define STACK 65536
#define SPIN_NS 15000 /* for the next order, after an event */
#define STOP_LIMIT_NS 10000000000LL

static void on_kick(int signo) { (void)signo; }

int kv_vcpus_open(struct kv_engine *e) {
    struct sigaction action = {.sa_handler = on_kick};
    struct kvm_segment code = {.limit = 0xffffffff, .selector = USER_CS, .type = 11, .present = 1, .dpl = 3,
                               .s = 1, .l = 1, .g = 1};
    struct kvm_segment data = {.limit = 0xffffffff, .selector = USER_DS, .type = 3, .present = 1, .dpl = 3,
                               .db = 1, .s = 1, .g = 1};
    struct kvm_segment none = {.type = 3, .dpl = 3, .s = 1, .unusable = 1};
    struct kvm_segment task = {.limit = TSS_LIMIT, .selector = TSS_SELECTOR, .type = 11, .present = 1};
    unsigned leaf7_ebx = 0, leaf7_ecx = 0;
    int most;

    /* Never taken away: a late kick must not end the process. */
    if (sigaction(KV_KICK_SIGNAL, &action, NULL) < 0)
        return -errno;
    e->run_size = ioctl(e->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (e->run_size < (int)sizeof(struct kvm_run))
        return -EINVAL;
    most = ioctl(e->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
    e->max_vcpus = most > 0 && most < SYS_MOST_CPUS ? most : SYS_MOST_CPUS;
    for (uint32_t i = 0; i < e->cpuid->nent; i++) {
        if (e->cpuid->entries[i].function == 7 && e->cpuid->entries[i].index == 0) {
            leaf7_ebx = e->cpuid->entries[i].ebx;
            leaf7_ecx = e->cpuid->entries[i].ecx;
        }
    }
    memset(&e->sregs, 0, sizeof e->sregs);
    e->sregs.cs = code;
    e->sregs.ss = data;
    e->sregs.ds = e->sregs.es = e->sregs.fs = e->sregs.gs = none;
    e->sregs.tr = task;
    e->sregs.ldt = (struct kvm_segment){.type = 2, .unusable = 1};
    e->sregs.gdt = (struct kvm_dtable){.base = SYS_GDT, .limit = 7 * 8 - 1};
    e->sregs.idt = (struct kvm_dtable){.base = SYS_IDT, .limit = VECTORS * 16 - 1};
    e->sregs.cr0 = CR0_WANTED;
    e->sregs.cr4 = CR4_WANTED;
    if (leaf7_ebx & 1U << 7)
        e->sregs.cr4 |= CR4_SMEP;
    if (leaf7_ecx & 1U << 2)
        e->sregs.cr4 |= CR4_UMIP;
    if (!(leaf7_ebx & 1))
        e->sregs.cr4 &= ~(1ULL << 16); /* no FSGSBASE */
    e->sregs.efer = EFER_WANTED;
    return 0;
}

/* Set all of the state that isn't a thread's. 0 or -errno. */
int kv_vcpu_reset(struct kv_engine *e, struct kv_vcpu *v) {
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entries[5];
    } msrs = {
        .head = {.nmsrs = 5},
        .entries =
            {
                {.index = MSR_STAR, .data = 0x23ULL << 48 | (uint64_t)KERNEL_CS << 32},
                {.index = MSR_LSTAR, .data = SYS_STUB},
                /* Nothing is ever mapped there: 32-bit SYSCALL ends in a fault of the supervisor. */
                {.index = MSR_CSTAR, .data = 0},
                {.index = MSR_SFMASK, .data = 0x257fd5 & ~FLAGS_FIXED},
                {.index = MSR_KERNEL_GS_BASE, .data = 0},
            },
    };
    struct kvm_sregs *s = &v->run->s.regs.sregs, was;
    struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs = {{.xcr = 0, .value = e->xcr0}}};

    if (ioctl(v->fd, KVM_GET_SREGS, &was) < 0)
        return -errno;
    *s = e->sregs;
    s->apic_base = was.apic_base;
    s->tr.base = v->top - KV_PAGE;
    s->cr3 = e->mm.system_table; /* replaced when a thread is loaded */
    v->cr3 = 0;
    if (ioctl(v->fd, KVM_SET_SREGS, s) < 0)
        return -errno;
    if (ioctl(v->fd, KVM_SET_XCRS, &xcrs) < 0)
        return -errno;
    if (ioctl(v->fd, KVM_SET_MSRS, &msrs) != (int)msrs.head.nmsrs)
        return -EINVAL;
    v->fresh = 0;
    return 0;
}

static struct kv_vcpu *make(struct kv_engine *e, int *err) {
    struct kv_vcpu *v;
    int rc;

    *err = ENOMEM;
    if (e->nvcpus == e->max_vcpus || (v = calloc(1, sizeof *v)) == NULL)
        return NULL;
    v->engine = e;
    v->id = e->nvcpus;
    v->page = kv_at(&e->mm, kv_table_new(&e->mm));
    if (v->page == e->mm.arena)
        goto no_fd;
    v->fd = ioctl(e->vm_fd, KVM_CREATE_VCPU, (unsigned long)v->id);
    if (v->fd < 0) {
        *err = errno;
        goto no_fd;
    }
    v->run = mmap(NULL, (size_t)e->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
    if (v->run == MAP_FAILED) {
        *err = errno;
        goto no_run;
    }
    madvise(v->run, (size_t)e->run_size, MADV_DONTFORK);
    kv_system_cpu(e, v);
    rc = ioctl(v->fd, KVM_SET_CPUID2, e->cpuid) < 0 ? -errno : kv_vcpu_reset(e, v);
    if (rc < 0) {
        *err = -rc;
        goto no_run;
    }
    v->run->kvm_valid_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
    e->vcpus[e->nvcpus++] = v;
    return v;

no_run:
    /* The number stays taken in KVM: the next one would fail too. */
    if (v->run != NULL && v->run != MAP_FAILED)
        munmap(v->run, (size_t)e->run_size);
    close(v->fd);
    e->max_vcpus = e->nvcpus;
no_fd:
    free(v);
    return NULL;
}

static int futex(int *at, int op, int value, const struct timespec *limit) {
    return (int)syscall(SYS_futex, at, op | FUTEX_PRIVATE_FLAG, value, limit, NULL, 0);
}

static int next_order(struct kv_vcpu *v) {
    int64_t end = 0;
    int order;

    for (;;) {
        order = __atomic_load_n(&v->go, __ATOMIC_ACQUIRE);
        if (order != 0)
            return order;
        if (v->engine->cpus > 1) {
            if (end == 0)
                end = kv_now() + SPIN_NS;
            if (kv_now() < end) {
                __builtin_ia32_pause();
                continue;
            }
        }
        __atomic_store_n(&v->asleep, 1, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&v->go, __ATOMIC_SEQ_CST) == 0)
            futex(&v->go, FUTEX_WAIT, 0, NULL);
        __atomic_store_n(&v->asleep, 0, __ATOMIC_SEQ_CST);
    }
}

static void give_order(struct kv_vcpu *v, int order) {
    __atomic_store_n(&v->go, order, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&v->asleep, __ATOMIC_SEQ_CST))
        futex(&v->go, FUTEX_WAKE, 1, NULL);
}

static void *runner(void *arg) {
    struct kv_vcpu *v = arg;

    __atomic_store_n(&v->tid, (pid_t)syscall(SYS_gettid), __ATOMIC_SEQ_CST);
    while (next_order(v) == 1) {
        struct kv_thread *t = v->thread;

        __atomic_store_n(&v->go, 0, __ATOMIC_SEQ_CST);
        kv_run(v->engine, v, t);
        kv_publish(v->engine, v, t);
    }
    return NULL;
}

static int start_runner(struct kv_vcpu *v) {
    pthread_attr_t attr;
    sigset_t all, old;
    int rc;

    /* Signals to the process are the loop's; SIGBUS is how a page that is gone announces itself. */
    sigfillset(&all);
    sigdelset(&all, KV_KICK_SIGNAL);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGSYS);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(&v->pthread, &attr, runner, v);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    v->started = rc == 0;
    return -rc;
}

uint64_t kv_cpu_clock(struct kv_vcpu *v) {
    pid_t tid = __atomic_load_n(&v->tid, __ATOMIC_SEQ_CST);
    struct timespec ts;

    /* The clock of a thread (include/linux/posix-timers.h). */
    if (tid == 0 || clock_gettime((clockid_t)(~(unsigned)tid << 3 | 6), &ts) < 0)
        return 0;
    return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

/* Put the thread's FPU state where the thread keeps it while it has no virtual CPU. 0 or -errno. */
int kv_fpu_fetch(struct kv_engine *e, struct kv_thread *t) {
    unsigned long request = e->xsave_buffer > sizeof(struct kvm_xsave) ? KVM_GET_XSAVE2 : KVM_GET_XSAVE;
    uint64_t features;

    if (t->fpu_dirty || t->vcpu == NULL)
        return 0;
    if (ioctl(t->vcpu->fd, request, t->fpu) < 0)
        return -errno;
    memcpy(t->fpu + 464, &e->xcr0, 8);
    memcpy(&features, t->fpu + 512, 8);
    features &= e->xcr0;
    memcpy(t->fpu + 512, &features, 8);
    return 0;
}

/* A stopped thread that could do without its virtual CPU. */
static struct kv_thread *victim(struct kv_engine *e) {
    struct kv_thread *t, *found = NULL;

    for (t = e->threads; t != NULL; t = t->next) /* the last in the list is the oldest */
        if (t->vcpu != NULL && t->state == KV_ST_STOPPED)
            found = t;
    return found;
}

/* Give a stopped thread a virtual CPU. 0 or -errno. */
int kv_bind(struct kv_engine *e, struct kv_thread *t) {
    struct kv_vcpu *v = e->idle;
    int err = 0, rc;

    if (v == NULL) {
        struct kv_thread *other;

        pthread_mutex_lock(&e->mm.lock);
        v = make(e, &err);
        pthread_mutex_unlock(&e->mm.lock);
        if (v == NULL) {
            if ((other = victim(e)) == NULL)
                return -err;
            kv_unbind(e, other);
            v = e->idle;
        } else {
            v->next_idle = NULL;
            e->idle = v;
        }
    }
    if (!v->started && (rc = start_runner(v)) < 0)
        return rc;
    e->idle = v->next_idle;
    v->thread = t;
    t->vcpu = v;
    t->fpu_dirty = 1;
    t->cpu_base = kv_cpu_clock(v);
    v->cr3 = 0;
    return 0;
}

/* Take the virtual CPU of a thread that is not running. */
void kv_unbind(struct kv_engine *e, struct kv_thread *t) {
    struct kv_vcpu *v = t->vcpu;

    if (v == NULL)
        return;
    if (!t->released && kv_fpu_fetch(e, t) < 0)
        memcpy(t->fpu, e->clean_fpu, e->xsave_buffer);
    t->cpu_ns += kv_cpu_clock(v) - t->cpu_base;
    t->vcpu = NULL;
    v->thread = NULL;
    v->next_idle = e->idle;
    e->idle = v;
}

void kv_start(struct kv_engine *e, struct kv_thread *t) {
    pthread_mutex_lock(&e->queue_lock);
    t->state = KV_ST_RUNNING;
    t->vcpu->busy = 1;
    e->nrunning++;
    pthread_mutex_unlock(&e->queue_lock);
    give_order(t->vcpu, 1);
}

/* Ask a running thread to stop. It may be anywhere between two instructions: see kv_run. */
void kv_kick(struct kv_thread *t) {
    struct kv_vcpu *v = t->vcpu;
    pid_t tid;

    __atomic_store_n(&t->kick, 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    tid = __atomic_load_n(&v->tid, __ATOMIC_SEQ_CST);
    if (tid != 0)
        syscall(SYS_tgkill, v->engine->owner, tid, KV_KICK_SIGNAL);
}

/* Make a thread stop, and wait until it has; its event, if any, is forgotten. */
void kv_stop(struct kv_engine *e, struct kv_thread *t) {
    int64_t end = kv_now() + STOP_LIMIT_NS;

    if (t->vcpu == NULL)
        return;
    pthread_mutex_lock(&e->queue_lock);
    while (t->vcpu->busy && kv_now() < end) {
        struct timespec limit;

        kv_kick(t);
        clock_gettime(CLOCK_REALTIME, &limit);
        limit.tv_nsec += 2000000;
        if (limit.tv_nsec >= 1000000000) {
            limit.tv_nsec -= 1000000000;
            limit.tv_sec++;
        }
        pthread_cond_timedwait(&e->parked, &e->queue_lock, &limit);
    }
    pthread_mutex_unlock(&e->queue_lock);
}

/* End the threads of virtual CPUs, none of which is running. They are made again when needed. */
void kv_vcpus_rest(struct kv_engine *e) {
    for (int i = 0; i < e->nvcpus; i++) {
        struct kv_vcpu *v = e->vcpus[i];

        if (!v->started)
            continue;
        give_order(v, 2);
        pthread_join(v->pthread, NULL);
        v->started = 0;
        v->go = 0;
        v->tid = 0;
    }
}

void kv_vcpus_close(struct kv_engine *e) {
    int ours = e->owner == getpid(); /* a forked process has none of the threads */

    if (ours)
        kv_vcpus_rest(e);
    for (int i = 0; i < e->nvcpus; i++) {
        struct kv_vcpu *v = e->vcpus[i];

        if (ours)
            munmap(v->run, (size_t)e->run_size);
        close(v->fd);
        free(v);
    }
    e->nvcpus = 0;
    e->idle = NULL;
}
