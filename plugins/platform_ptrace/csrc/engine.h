/* The ptrace engine: guest threads are host threads stopped and started with ptrace(2).
 *
 * It does no policy.  Everything is called from one thread, the tracer: Linux lets no
 * other thread operate on its tracees.
 */
#ifndef RUNSC_PTRACE_ENGINE_H
#define RUNSC_PTRACE_ENGINE_H

#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#define PE_PAGE 4096
#define PE_BUCKETS 1024

/* What a thread stopped for: the numbers of runsc.platform. */
enum { PE_NONE = 0, PE_SYSCALL = 1, PE_FAULT = 2, PE_INTERRUPTED = 3, PE_DEAD = 4 };

/* Result of calls that found the host process gone (outside the range of -errno). */
#define PE_GONE (-1000000)

/* How a stub makes a thread and a process; the filter knows no other way. */
#define PE_CLONE_THREAD                                                                            \
    (CLONE_FILES | CLONE_PTRACE | CLONE_VM | CLONE_FS | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM)
#define PE_CLONE_PROCESS (CLONE_FILES | CLONE_PTRACE | CLONE_PARENT | SIGCHLD)

/* Offsets in the stub's code page. */
#define PE_STUB_SYSCALL 0x00
#define PE_STUB_CMPXCHG 0x10

enum pe_state {
    PE_ST_STOPPED, /* in a ptrace stop that was delivered (or born stopped) */
    PE_ST_RUNNING, /* resumed, or stopped without the stop having been delivered yet */
    PE_ST_EXITING, /* told to exit, or killed: only to be reaped */
    PE_ST_DEAD,    /* reaped */
};

struct pe_space;

struct pe_thread {
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
    int32_t tid;
    int64_t handle; /* never used twice, unlike tid */
    enum pe_state state;
    unsigned dirty : 1;       /* regs differ from the host's: write them before going on */
    unsigned queued : 1;      /* stopped; event set but not delivered */
    unsigned interrupted : 1; /* PTRACE_INTERRUPT sent since the last stop */
    unsigned released : 1;    /* the kernel wants no more events of it */
    unsigned keeper : 1;      /* released, but kept stopped because it is the space's last */
    int refs;                 /* one for Python, one until reaped */
    struct pe_space *space;
    struct pe_thread *sibling;              /* space->threads */
    struct pe_thread *same_bucket;          /* engine->table */
    struct pe_thread *next_queued;          /* engine->queue */
    struct pe_thread *run_next, *run_prev;  /* engine->running */
};

struct pe_space {
    pid_t tgid;
    int live;     /* threads not yet reaped */
    int usable;   /* threads neither released nor reaped */
    int released; /* killed: nothing may be done with it */
    int refs;     /* one for Python, one for each thread structure, one for the engine's list */
    struct pe_thread *threads; /* those not reaped */
    struct pe_thread *last;    /* the one that stopped last, or NULL */
    struct pe_space *next, *prev;
};

struct pe_engine {
    pid_t owner; /* the process that made it */
    pid_t loop_tid;
    pid_t pgid;          /* process group of all stubs: keeps other children of ours apart */
    uint64_t stub;       /* address of the code page in every address space */
    uint64_t scratch;    /* address of the page below it, normally not mapped */
    uint64_t task_size;  /* guest addresses end here */
    uint64_t min_address;
    uint64_t base_limit; /* FS and GS bases the host accepts are below */
    int64_t next_handle;
    struct pe_thread *table[PE_BUCKETS]; /* those not reaped, by tid */
    struct pe_space *spaces;
    struct pe_thread *running;
    int nrunning;
    struct pe_thread *queue, **queue_tail;
    pid_t early_pid; /* a clone's child that stopped before its parent */
    int early_status;
    unsigned turns;      /* deliveries, to look at poll_fd now and then */
    unsigned spin_skip, spin_backoff;
    unsigned long chld_scanned; /* value of the SIGCHLD counter at the last full scan */
    int closed;
};

/* signals.c */
int pe_signals_open(struct pe_engine *e);
void pe_signals_close(struct pe_engine *e);
unsigned long pe_chld_count(void);
void pe_drain(void); /* take a pending SIGCHLD and count it */
/* Sleep until SIGCHLD, poll_fd (or -1), another signal, or the end of ns (-1: never).
 * 1: poll_fd is readable; 0: time is up; -EINTR: a signal. */
int pe_sleep(int poll_fd, int64_t ns);

/* template.c */
struct pe_thread *pe_template(struct pe_engine *e, int *err);

/* stop.c */
struct pe_thread *pe_thread_new(struct pe_engine *e, struct pe_space *s, pid_t tid);
struct pe_space *pe_space_new(struct pe_engine *e, pid_t tgid);
void pe_take_status(struct pe_engine *e, pid_t pid, int status);
void pe_take_status_as(struct pe_engine *e, struct pe_thread *t, int status, int *resume);
void pe_go_on(struct pe_thread *t);
void pe_unqueue(struct pe_engine *e, struct pe_thread *t);
void pe_enqueue(struct pe_engine *e, struct pe_thread *t);
void pe_mark_stopped(struct pe_engine *e, struct pe_thread *t);
void pe_mark_running(struct pe_engine *e, struct pe_thread *t);
void pe_reaped(struct pe_engine *e, struct pe_thread *t);
void pe_kill_space(struct pe_space *s);

/* wait.c */
int64_t pe_now(void);
int pe_wait_stop(struct pe_engine *e, struct pe_thread *t, int *status);

/* inject.c */
int pe_kills_by_ptrace(void);
void pe_kill_child(pid_t pid);
int64_t pe_filter_stub(struct pe_engine *e, struct pe_thread *t);
int64_t pe_inject(struct pe_engine *e, struct pe_thread *t, long nr, uint64_t a0, uint64_t a1,
                  uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5);
void pe_inject_exit(struct pe_engine *e, struct pe_thread *t);

/* Called from Python. */
struct pe_engine *pe_open(int *err);
void pe_close(struct pe_engine *e);
void pe_free(struct pe_engine *e);
int64_t pe_thread_handle(struct pe_thread *t);
int64_t pe_wait(struct pe_engine *e, int poll_fd, int64_t timeout_ns);
void pe_space_drop(struct pe_space *s);
void pe_space_release(struct pe_engine *e, struct pe_space *s);
struct pe_space *pe_thread_space(struct pe_thread *t);
int64_t pe_space_call(struct pe_engine *e, struct pe_space *s, long nr, uint64_t a0, uint64_t a1,
                      uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5);
int64_t pe_space_cmpxchg(struct pe_engine *e, struct pe_space *s, uint64_t addr, uint32_t expected,
                         uint32_t desired, uint32_t *found);
int64_t pe_space_read(struct pe_engine *e, struct pe_space *s, uint64_t addr, void *buf, uint64_t len);
int64_t pe_space_write(struct pe_engine *e, struct pe_space *s, uint64_t addr, const void *buf,
                       uint64_t len);
int64_t pe_space_poke(struct pe_engine *e, struct pe_space *s, uint64_t addr, const void *buf,
                      uint64_t len);
int64_t pe_space_mincore(struct pe_engine *e, struct pe_space *s, uint64_t addr, uint64_t len, void *vec);
int pe_space_tid(struct pe_space *s);
struct pe_thread *pe_clone(struct pe_engine *e, struct pe_thread *parent, int as_thread, int *err);
int pe_thread_tid(struct pe_thread *t);
int pe_thread_stopped(struct pe_thread *t);
void pe_thread_drop(struct pe_thread *t);
void pe_thread_release(struct pe_engine *e, struct pe_thread *t);
void pe_thread_complete(struct pe_engine *e, struct pe_thread *t, int64_t result);
void pe_thread_resume(struct pe_engine *e, struct pe_thread *t);
void pe_thread_interrupt(struct pe_engine *e, struct pe_thread *t);
void pe_thread_regs_set(struct pe_engine *e, struct pe_thread *t);
int64_t pe_thread_get_fpu(struct pe_thread *t, void *buf, uint64_t len);
int64_t pe_thread_set_fpu(struct pe_thread *t, const void *buf, uint64_t len);

#endif
