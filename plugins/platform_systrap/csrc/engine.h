/* The C part of the systrap platform: guest threads are host threads whose system calls a seccomp filter
 * turns into SIGSYS; the handler (stub.c) waits in memory shared with us for what to do next.
 *
 * It does no policy.  Everything is called from one thread, the loop's. What lies in a slot can be changed by
 * the guest at any time: it is copied once, checked, and used only against that guest.
 */
#ifndef RUNSC_SYSTRAP_ENGINE_H
#define RUNSC_SYSTRAP_ENGINE_H

#include "stub.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#define SY_PAGE 4096
#define SY_CODE 32          /* ranges where calls may be patched, for each process */
#define SY_SITES 4096       /* patched call sites, of all processes */
#define SY_THUNKS_SIZE (SY_SITES * (uint64_t)THUNK_SIZE)
#define SY_OURS 0x5359      /* an mprotect that isn't the kernel's: its fourth argument, which means nothing */
#define SY_TABLE 0x10000UL  /* their jump table, in every address space */
#define SY_WRITABLE 8       /* ranges remembered as writable, for each process */
#define SY_FIRST_SLOTS 16   /* slots of a new process */
#define SY_MORE_SLOTS 64    /* slots of each further chunk */
#define SY_CHUNKS 128
#define SY_MAX_SLOTS (SY_FIRST_SLOTS + (SY_CHUNKS - 1) * SY_MORE_SLOTS)

/* What a thread stopped for: the numbers of runsc.platform. */
enum { SY_NONE = 0, SY_SYSCALL = 1, SY_FAULT = 2, SY_INTERRUPTED = 3, SY_DEAD = 4 };

/* Result of calls that found the host process gone (outside the range of -errno). */
#define SY_GONE (-1000000)

enum sy_state {
    SY_ST_STOPPED, /* waits in its slot, and its event was delivered (or it was born stopped) */
    SY_ST_RUNNING, /* runs, or its event has not been delivered yet */
    SY_ST_EXITING, /* told to exit, or its process was killed */
    SY_ST_DEAD,
};

struct sy_space;

/* struct user_regs_struct's order; the slot's signal frame has it otherwise. */
struct sy_thread {
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
    struct sy_engine *engine;
    void *python; /* the object that stands for it, while events of it are wanted */
    int32_t shown; /* the event that object was last given */
    enum sy_state state;
    unsigned parked : 1;      /* waits in its slot: commands can be given, whatever `state` says */
    unsigned dirty : 1;       /* regs differ from the frame: write them before going on */
    unsigned queued : 1;      /* event set, not delivered */
    unsigned interrupted : 1; /* an INTERRUPTED is owed */
    unsigned released : 1;    /* the kernel wants no more events of it */
    unsigned patched : 1;     /* its call came through a thunk: there is no frame */
    unsigned woken : 1;       /* slept when it was last told something: where it runs now is unknown */
    int refs;                 /* one for Python, one for the engine until it ended */
    int slot_index;
    pid_t tid;
    uint8_t *slot;       /* in our mapping */
    uint64_t slot_at;    /* in the guest's */
    uint64_t sp;         /* the frame, in the guest's addresses */
    uint64_t fp;         /* its XSAVE area, offset in the slot; 0: none that makes sense */
    struct sy_space *space;
    struct sy_thread *sibling;             /* space->threads */
    struct sy_thread *next_queued;         /* engine->queue */
    struct sy_thread *run_next, *run_prev; /* engine->running */
    /* Copies that go with the answer (copies.c): queued ones, and where in the slot the next one goes. */
    uint32_t answers; /* valid ones (patch.c) */
    uint32_t room; /* what was put in S_ROOM */
    uint32_t out_end;
    int stale; /* what was copied ahead may not be what is in memory any more */
    int nout;
    struct sy_out {
        uint64_t addr;
        uint32_t len, offset;
    } out[OUT_MAX];
};

struct sy_range {
    uint64_t start, end;
};

struct sy_space {
    struct sy_engine *engine;
    pid_t tgid;
    int pidfd; /* the only way to signal it; -1: none */
    unsigned released : 1; /* killed: nothing may be done with it */
    unsigned dead : 1;     /* reaped */
    int refs;              /* one for Python, one for each thread structure, one until reaped */
    struct sy_thread *threads; /* those that have not ended; the leader stays among them until the end */
    struct sy_thread *leader;
    struct sy_thread *last;    /* the one that stopped last, or NULL */
    struct sy_space *next, *prev;
    int nchunks;
    uint8_t *chunks[SY_CHUNKS]; /* in our mapping */
    uint8_t *busy;              /* a byte a slot */
    int nbusy;
    int next_slot;
    struct sy_range code[SY_CODE]; /* private mappings of files, executable and read-only */
    uint16_t *sites;               /* patched ones, by their numbers */
    int nsites, room_sites;
    uint64_t site_low, site_high; /* they lie between */
    struct sy_range writable[SY_WRITABLE]; /* known to be; empty: start == end */
    unsigned next_writable;
};

/* One patched call site; its number is also that of its thunk and of its entry in the jump table. */
struct sy_site {
    uint64_t addr, back; /* where it begins, and where the call returns */
    uint32_t refs;       /* address spaces */
    uint8_t length, old[8], new[8];
};

/* Calls that were made at a place: how often, lately. */
struct sy_heat {
    uint64_t at;
    struct sy_space *space;
    uint32_t count;
};

#define SY_HEAT 1024

struct sy_control {
    volatile uint32_t sleeping, cpu, eventfd, parent;
    uint64_t one, spin, patience[2], mask, top;
    uint8_t unused[C_ANSWERS - C_TOP - 8];
    uint8_t answers[512];
    uint32_t ahead[AHEAD_CALLS];
};

struct sy_engine {
    pid_t owner; /* the process that made it */
    pid_t loop_tid;
    pid_t pgid;  /* process group of all stubs: keeps other children of ours apart */
    uint64_t gate;      /* the stub's code in every address space; the control page follows */
    uint64_t region;    /* slots, in every address space */
    uint64_t task_size; /* guest addresses end here */
    uint64_t min_address;
    uint64_t base_limit; /* FS and GS bases the host accepts are below */
    uint64_t slot_size;
    uint64_t stack_at;     /* offset in a slot: alternate stacks lie above */
    uint64_t stack_size;   /* of an alternate stack, which ends with the slot */
    int proc;              /* /proc */
    uint64_t cas_at;
    uint64_t xsave_size; /* of a frame's XSAVE area */
    uint64_t xfeatures;
    struct sy_control *control;
    int control_fd, eventfd, listener;
    uint64_t thunks_at; /* in every address space */
    uint8_t *thunks;    /* ours; NULL: nothing is patched */
    uint64_t *table;
    int thunks_fd, table_fd;
    struct sy_site *sites;
    struct sy_heat *heat;
    struct sy_thread *current; /* whose system call is being answered, if its copies are still good */
    uint64_t looked;           /* when poll_fd was last looked at, in TSC ticks */
    struct sy_space *spaces;
    struct sy_thread *running, *running_tail;
    int nrunning;
    struct sy_thread *queue, **queue_tail;
    unsigned spin_skip, spin_backoff;
    unsigned long chld_scanned;
    int closed;
};

/* What a stub was asked to do and must therefore be allowed to, once. */
struct sy_expected {
    int nr;
    uint64_t args[6];
    pid_t tid; /* of the caller; 0: a new child of ours, whose id is stored here */
    int done;
};

/* signals.c */
int sy_signals_open(struct sy_engine *e);
void sy_signals_close(struct sy_engine *e);
unsigned long sy_chld_count(void);
/* Sleep until SIGCHLD, one of fds (-1: none), another signal, or the end of ns (-1: never).
 * A bit mask of the readable ones; 0: time is up; -EINTR: a signal. */
int sy_sleep(const int *fds, int n, int64_t ns);

/* filter.c */
long sy_install_filter(uint64_t gate, int eventfd);

/* notify.c */
void sy_notifications(struct sy_engine *e, struct sy_expected *expected, int n);

/* slots.c */
int sy_chunk_new(struct sy_engine *e, uint64_t slots, uint8_t **at);
int sy_slot_take(struct sy_engine *e, struct sy_space *s);
uint8_t *sy_slot_ours(struct sy_engine *e, struct sy_space *s, int index);
uint64_t sy_slot_guests(struct sy_engine *e, int index);
void sy_chunks_free(struct sy_engine *e, struct sy_space *s);

/* threads.c */
struct sy_space *sy_space_new(struct sy_engine *e, pid_t tgid);
struct sy_thread *sy_thread_new(struct sy_engine *e, struct sy_space *s, pid_t tid, int slot);
void sy_enqueue(struct sy_engine *e, struct sy_thread *t);
void sy_unqueue(struct sy_engine *e, struct sy_thread *t);
void sy_mark_running(struct sy_engine *e, struct sy_thread *t);
void sy_leave_running(struct sy_engine *e, struct sy_thread *t, enum sy_state state);
void sy_thread_ended(struct sy_engine *e, struct sy_thread *t);
void sy_space_ended(struct sy_engine *e, struct sy_space *s);
void sy_kill_space(struct sy_space *s);
int sy_pidfd_found(struct sy_engine *e, int claimed);
void sy_space_unref(struct sy_engine *e, struct sy_space *s);

/* frame.c */
void sy_frame_read(struct sy_engine *e, struct sy_thread *t);
int sy_frame_place(struct sy_engine *e, struct sy_thread *t, uint64_t sp);
void sy_frame_copy(struct sy_engine *e, const struct sy_thread *from, struct sy_thread *to);
void sy_frame_write(struct sy_engine *e, struct sy_thread *t);
uint64_t sy_stack_size(struct sy_engine *e, uint64_t frame_bytes);
int sy_frame_measure(struct sy_engine *e, struct sy_thread *t);
int sy_frame_event(struct sy_engine *e, struct sy_thread *t);

/* command.c */
void sy_post(struct sy_engine *e, struct sy_thread *t, uint32_t state);
int sy_await(struct sy_engine *e, struct sy_thread *t, struct sy_expected *expected, int n);
int sy_await_event(struct sy_engine *e, struct sy_thread *t);
void sy_go(struct sy_engine *e, struct sy_thread *t);

/* copies.c */
int sy_room_more(struct sy_engine *e, struct sy_thread *t);
void sy_current(struct sy_engine *e, struct sy_thread *t);
const uint8_t *sy_copied(struct sy_engine *e, struct sy_space *s, uint64_t addr, uint64_t len);
int sy_copy_later(struct sy_engine *e, struct sy_space *s, uint64_t addr, const void *data, uint64_t len);
void sy_copies_post(struct sy_thread *t);
void sy_copies_flush(struct sy_engine *e);
void sy_copies_stale(struct sy_engine *e, struct sy_space *s);
void sy_writable_add(struct sy_space *s, uint64_t start, uint64_t end);
void sy_writable_cut(struct sy_space *s, uint64_t start, uint64_t end);
void sy_ahead(struct sy_engine *e, int nr, uint32_t plan);

/* patch.c */
int sy_patch_open(struct sy_engine *e);
void sy_patch_close(struct sy_engine *e);
int sy_patch_map(struct sy_engine *e);
void sy_patch_consider(struct sy_engine *e, struct sy_thread *t);
void sy_patch_undo(struct sy_engine *e, struct sy_space *s, uint64_t start, uint64_t end, int restore);
int sy_patch_copy(struct sy_engine *e, struct sy_space *from, struct sy_space *to);
void sy_patch_free(struct sy_engine *e, struct sy_space *s);
void sy_patch_hide(struct sy_engine *e, struct sy_space *s, uint64_t addr, uint8_t *data, uint64_t len);
uint64_t sy_patch_to_guest(struct sy_engine *e, uint64_t rip);
uint64_t sy_patch_to_host(struct sy_engine *e, struct sy_space *s, uint64_t rip);
void sy_patch_code(struct sy_engine *e, struct sy_space *s, long nr, uint64_t addr, uint64_t len, uint64_t prot,
                   uint64_t flags);
int sy_unpatched(struct sy_engine *e, struct sy_thread *t);
void sy_thread_answer(struct sy_engine *e, struct sy_thread *t, int nr, uint32_t value);
void sy_thread_forget(struct sy_engine *e, struct sy_thread *t);
void sy_answers(struct sy_engine *e, int on);

/* python.c */
int sy_python_install(void);

/* wait.c */
int64_t sy_now(void);
int sy_look(struct sy_engine *e, struct sy_thread *t);
void sy_reap(struct sy_engine *e);
void sy_seen_on_cpu(struct sy_engine *e);

static inline uint32_t sy_get32(const uint8_t *slot, unsigned at) {
    return __atomic_load_n((const uint32_t *)(slot + at), __ATOMIC_ACQUIRE);
}
static inline uint64_t sy_get64(const uint8_t *slot, unsigned at) {
    return __atomic_load_n((const uint64_t *)(slot + at), __ATOMIC_RELAXED);
}
static inline void sy_set32(uint8_t *slot, unsigned at, uint32_t value) {
    __atomic_store_n((uint32_t *)(slot + at), value, __ATOMIC_RELEASE);
}
static inline void sy_set64(uint8_t *slot, unsigned at, uint64_t value) {
    __atomic_store_n((uint64_t *)(slot + at), value, __ATOMIC_RELAXED);
}

/* How long sy_wait may take. */
enum sy_way { SY_QUICK, SY_PATIENT };
#define SY_POLL_READY ((struct sy_thread *)-1) /* poll_fd is readable */

/* Called from Python. */
struct sy_engine *sy_open(int patch, int *err);
void sy_close(struct sy_engine *e);
void sy_free(struct sy_engine *e);
struct sy_thread *sy_template(struct sy_engine *e, int *err);
struct sy_thread *sy_wait(struct sy_engine *e, int poll_fd, int64_t timeout_ns, int way);
void sy_space_drop(struct sy_engine *e, struct sy_space *s);
void sy_space_release(struct sy_engine *e, struct sy_space *s);
struct sy_space *sy_thread_space(struct sy_thread *t);
int64_t sy_space_call(struct sy_engine *e, struct sy_space *s, long nr, uint64_t a0, uint64_t a1,
                      uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5);
int64_t sy_space_cmpxchg(struct sy_engine *e, struct sy_space *s, uint64_t addr, uint32_t expected,
                         uint32_t desired, uint32_t *found);
int64_t sy_space_read(struct sy_engine *e, struct sy_space *s, uint64_t addr, void *buf, uint64_t len);
int64_t sy_space_write(struct sy_engine *e, struct sy_space *s, uint64_t addr, const void *buf,
                       uint64_t len);
int64_t sy_space_mincore(struct sy_engine *e, struct sy_space *s, uint64_t addr, uint64_t len, void *vec);
int sy_space_tid(struct sy_space *s);
int sy_space_settle(struct sy_engine *e, struct sy_space *s);
struct sy_thread *sy_clone(struct sy_engine *e, struct sy_thread *parent, int as_thread, int *err);
int sy_thread_tid(struct sy_thread *t);
void sy_thread_drop(struct sy_engine *e, struct sy_thread *t);
void sy_thread_release(struct sy_engine *e, struct sy_thread *t);
void sy_thread_complete(struct sy_engine *e, struct sy_thread *t, int64_t result);
void sy_thread_resume(struct sy_engine *e, struct sy_thread *t);
void sy_thread_interrupt(struct sy_engine *e, struct sy_thread *t);
void sy_thread_regs_set(struct sy_engine *e, struct sy_thread *t);
int64_t sy_thread_get_fpu(struct sy_engine *e, struct sy_thread *t, void *buf, uint64_t len);
int64_t sy_thread_set_fpu(struct sy_engine *e, struct sy_thread *t, const void *buf, uint64_t len);

#endif
