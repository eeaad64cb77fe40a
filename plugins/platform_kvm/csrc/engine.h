/* The KVM engine: guest threads run on virtual CPUs, each with a thread of ours that runs it.
 *
 * Everything is called from one thread, the loop's, but for what a virtual CPU's thread does by itself: run the
 * guest, serve its page faults, put its event into the queue.
 */
#ifndef RUNSC_KVM_ENGINE_H
#define RUNSC_KVM_ENGINE_H

#include "mm.h"
#include "system.h"

#include <linux/kvm.h>
#include <sys/user.h>

/* What a thread stopped for: the numbers of runsc.platform. */
enum { KV_NONE = 0, KV_SYSCALL = 1, KV_FAULT = 2, KV_INTERRUPTED = 3, KV_DEAD = 4 };

/* How a system call reaches us. */
enum { KV_WAY_USER = 0, KV_WAY_SUPERVISOR = 1 };

enum kv_state { KV_ST_STOPPED, KV_ST_RUNNING, KV_ST_QUEUED };

struct kv_thread {
    /* Read from Python through one buffer: the layout is repeated in thread.py. */
    int32_t event;
    int32_t nr;
    uint64_t args[6];
    int32_t signo;
    int32_t code;
    uint64_t addr;
    int32_t trapno;
    int32_t err;
    struct user_regs_struct regs; /* valid while stopped */

    /* Private from here on. */
    int64_t handle;
    enum kv_state state; /* under the engine's queue lock while it may be running */
    int kick;            /* asked to stop */
    int refs;            /* one for Python, one until released */
    int fpu_dirty;       /* fpu is newer than what the virtual CPU has */
    int released;
    unsigned char *fpu; /* an XSAVE area */
    struct kv_vcpu *vcpu;
    struct kv_process *process;
    uint64_t cpu_ns, cpu_base; /* used before it got its virtual CPU; that one's clock then */
    uint64_t last_fault;
    int same_faults;
    struct kv_thread *next, *prev;             /* the engine's list */
    struct kv_thread *queue_next, *queue_prev; /* events that wait */
};

/* An address space as the engine keeps it. */
struct kv_process {
    struct kv_space *space;
    int refs; /* one for Python, one for each thread structure, one until released */
    int released;
    struct kv_process *next, *prev;
};

struct kv_vcpu {
    struct kv_engine *engine;
    int id, fd;
    struct kvm_run *run;
    char *page;     /* TSS and stack */
    uint64_t top;   /* of the stack, for the guest */
    uint64_t cr3;   /* loaded */
    int fresh;      /* all of its state is to be set */
    int busy;       /* runs, under the queue lock */
    int go;         /* futex: 1 run, 2 end */
    int asleep;
    int started;
    pid_t tid;
    pthread_t pthread;
    struct kv_thread *thread; /* bound to it */
    struct kv_vcpu *next_idle;
};

struct kv_engine {
    struct kv_mm mm;
    pid_t owner;
    int kvm_fd, vm_fd, event_fd;
    int way;
    int closed, guarded;
    int ring; /* in which the last system call left the virtual CPU */
    int cpus; /* of the host */
    uint64_t task_size, min_address;
    uint64_t xcr0;
    uint32_t xsave_size, xsave_buffer; /* what the guest sees; what KVM hands over */
    unsigned char *clean_fpu;
    struct kvm_cpuid2 *cpuid;
    struct kvm_sregs sregs; /* of a user program */
    int run_size;
    uint64_t cpu_pages; /* physical address of the virtual CPUs' pages */
    struct kv_vcpu *vcpus[SYS_MOST_CPUS];
    int nvcpus, max_vcpus;
    struct kv_vcpu *idle;
    struct kv_thread *threads;
    struct kv_process *processes;
    int64_t next_handle;

    pthread_mutex_t queue_lock;
    struct kv_thread *queue, *queue_last;
    int nrunning;
    int sleeping; /* the loop waits for event_fd */
    unsigned turns, spin_skip, spin_backoff;
    int was_readable; /* why the last wait ended */
    pthread_cond_t parked; /* a virtual CPU came to rest */
};

/* engine.c */
struct kv_engine *kv_open(int kvm_fd, int *err);
void kv_close(struct kv_engine *e);
void kv_free(struct kv_engine *e);
int kv_set_way(struct kv_engine *e, int way);
int kv_api_version(int kvm_fd);
const char *kv_missing(int kvm_fd);

/* system.c */
int kv_system_open(struct kv_engine *e);
void kv_system_cpu(struct kv_engine *e, struct kv_vcpu *v);
int kv_system_way(struct kv_engine *e);

/* cpuid.c */
int kv_cpuid_open(struct kv_engine *e);
int kv_address_bits(struct kv_engine *e);

/* vcpu.c */
#define KV_KICK_SIGNAL 40
int kv_vcpus_open(struct kv_engine *e);
void kv_vcpus_close(struct kv_engine *e);
void kv_vcpus_rest(struct kv_engine *e);
int kv_bind(struct kv_engine *e, struct kv_thread *t);
void kv_unbind(struct kv_engine *e, struct kv_thread *t);
void kv_start(struct kv_engine *e, struct kv_thread *t);
void kv_stop(struct kv_engine *e, struct kv_thread *t);
void kv_kick(struct kv_thread *t);
int kv_fpu_fetch(struct kv_engine *e, struct kv_thread *t);
uint64_t kv_cpu_clock(struct kv_vcpu *v);

/* run.c */
void kv_run(struct kv_engine *e, struct kv_vcpu *v, struct kv_thread *t);
int kv_vcpu_reset(struct kv_engine *e, struct kv_vcpu *v);

/* exits.c */
int kv_take_exit(struct kv_engine *e, struct kv_vcpu *v, struct kv_thread *t);
void kv_fault_event(struct kv_thread *t, int signo, int code, uint64_t addr, int trapno, int err);
void kv_store(struct kv_vcpu *v, struct kv_thread *t);
static inline int kv_in_ours(uint64_t rip) { return rip >= KV_TASK_SIZE && rip < KV_TASK_SIZE + KV_BLOCK; }

/* wait.c */
int64_t kv_now(void);
int64_t kv_wait(struct kv_engine *e, int poll_fd, int64_t timeout_ns);
void kv_publish(struct kv_engine *e, struct kv_vcpu *v, struct kv_thread *t);
void kv_unqueue(struct kv_engine *e, struct kv_thread *t);

/* thread.c: called from Python */
struct kv_thread *kv_thread_new(struct kv_engine *e, struct kv_process *p, struct kv_thread *parent, int *err);
void kv_thread_drop(struct kv_thread *t);
void kv_thread_release(struct kv_engine *e, struct kv_thread *t);
void kv_thread_complete(struct kv_engine *e, struct kv_thread *t, int64_t result);
void kv_thread_resume(struct kv_engine *e, struct kv_thread *t);
void kv_thread_interrupt(struct kv_engine *e, struct kv_thread *t);
void kv_thread_regs_set(struct kv_thread *t);
int64_t kv_thread_handle(struct kv_thread *t);
int64_t kv_thread_get_fpu(struct kv_engine *e, struct kv_thread *t, void *buf, uint64_t len);
int64_t kv_thread_set_fpu(struct kv_engine *e, struct kv_thread *t, const void *buf, uint64_t len);
uint64_t kv_thread_cpu_ns(struct kv_thread *t);

/* process.c: called from Python */
struct kv_process *kv_process_new(struct kv_engine *e, int *err);
struct kv_process *kv_process_fork(struct kv_engine *e, struct kv_process *p, int *err);
void kv_process_drop(struct kv_process *p);
void kv_process_release(struct kv_engine *e, struct kv_process *p);
int kv_process_reset(struct kv_engine *e, struct kv_process *p);
int kv_process_map(struct kv_process *p, uint64_t va, uint64_t len, int prot, int flags, int fd, uint64_t offset);
int kv_process_unmap(struct kv_process *p, uint64_t va, uint64_t len);
int kv_process_protect(struct kv_process *p, uint64_t va, uint64_t len, int prot);
int kv_process_move(struct kv_process *p, uint64_t old, uint64_t old_len, uint64_t va, uint64_t len, int keep);
int kv_process_advise(struct kv_process *p, uint64_t va, uint64_t len, int advice);
int kv_process_sync(struct kv_process *p, uint64_t va, uint64_t len, int flags);
int kv_process_residency(struct kv_process *p, uint64_t va, uint64_t len, void *vec);
int64_t kv_process_read(struct kv_process *p, uint64_t va, void *buf, uint64_t len);
int64_t kv_process_write(struct kv_process *p, uint64_t va, const void *buf, uint64_t len);
int64_t kv_process_poke(struct kv_process *p, uint64_t va, const void *buf, uint64_t len);
int64_t kv_process_cmpxchg(struct kv_process *p, uint64_t va, uint32_t expected, uint32_t desired,
                           uint32_t *found);
uint64_t kv_process_resident(struct kv_process *p);

#endif
