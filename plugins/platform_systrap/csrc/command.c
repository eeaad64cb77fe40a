/* Commands: what a waiting handler does for us before its thread goes on. */
#define _GNU_SOURCE
#include "engine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SPIN_NS 50000
/* A guest process that does not do what it is told is killed: when the thread sleeps instead (a sibling may have
 * changed the command under its eyes) for so many looks, or anyway after a time. */
#define LOOK_NS 100000000LL
#define IDLE_LOOKS 5
#define LIMIT_NS 10000000000LL
#define BIRTH_LIMIT_NS 5000000000LL

#define THREAD_FLAGS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | \
                      CLONE_CHILD_CLEARTID)
#define PROCESS_FLAGS (CLONE_FILES | CLONE_PARENT | CLONE_PIDFD | SIGCHLD)

void sy_post(struct sy_engine *e, struct sy_thread *t, uint32_t state) {
    (void)e;
    __atomic_exchange_n((uint32_t *)(t->slot + S_STATE), state, __ATOMIC_SEQ_CST);
    t->woken = sy_get32(t->slot, S_SLEEPING) != 0;
    if (t->woken)
        syscall(SYS_futex, t->slot + S_STATE, FUTEX_WAKE, 1, NULL, NULL, 0);
}

void sy_go(struct sy_engine *e, struct sy_thread *t) {
    if (e->current != NULL && e->current->nout != 0) {
        if (e->current == t)
            sy_copies_post(t);
        else
            sy_copies_flush(e); /* this one may look at the same memory */
    }
    if (e->current == t)
        e->current = NULL;
    if (t->patched) {
        sy_set64(t->slot, S_RESULT, t->regs.rax);
        t->patched = 0;
    } else if (t->dirty)
        sy_frame_write(e, t);
    else
        /* the only register that an answer changes: G_RAX, at sp + 8 + 40 + 13 * 8 */
        sy_set64(t->slot + (t->sp - t->slot_at), 152, t->regs.rax);
    t->parked = 0;
    sy_post(e, t, ST_GO);
}

/* The thread sleeps and can be interrupted: it waits for something that is not the host's (proc(5)). */
static int is_asleep(struct sy_engine *e, struct sy_thread *t) {
    char path[64], line[128], *state;
    ssize_t n;
    int fd;

    snprintf(path, sizeof path, "%d/task/%d/stat", t->space->tgid, t->tid);
    fd = openat(e->proc, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return 0;
    n = read(fd, line, sizeof line - 1);
    close(fd);
    if (n <= 0)
        return 0;
    line[n] = 0;
    state = strrchr(line, ')');
    return state != NULL && state[1] == ' ' && state[2] == 'S';
}

static int all_done(const struct sy_expected *expected, int n) {
    return n == 0 || expected[n - 1].done;
}

/* Wait until the slot holds `state`, confirming what was asked for. 0, SY_GONE, or -EAGAIN: the
 * command is done but not all of what was expected came. */
static int await(struct sy_engine *e, struct sy_thread *t, uint32_t state, struct sy_expected *expected, int n) {
    struct sy_space *s = t->space;
    int64_t start = sy_now(), now = start, limit = start + LIMIT_NS, look = start + LOOK_NS;
    int killed = 0, idle = 0;

    sy_seen_on_cpu(e);
    for (;;) {
        int fds[2] = {e->eventfd, e->listener}, reached, r;

        if (n > 0 && !all_done(expected, n))
            sy_notifications(e, expected, n);
        reached = sy_get32(t->slot, S_STATE) == state;
        if (reached && (all_done(expected, n) || (int64_t)sy_get64(t->slot, S_RESULT) < 0))
            return 0;
        if (s->dead || s->released)
            return SY_GONE;
        if (now < start + SPIN_NS && (n > 0 || t->woken || sy_get32(t->slot, S_CPU) != e->control->cpu)) {
            for (int i = 0; i < 16 && sy_get32(t->slot, S_STATE) != state; i++)
                __builtin_ia32_pause();
            if (t->woken)
                sched_yield(); /* it may wait for this very processor */
            now = sy_now();
            continue;
        }
        __atomic_exchange_n(&e->control->sleeping, 1, __ATOMIC_SEQ_CST);
        r = 0;
        if (reached || sy_get32(t->slot, S_STATE) != state)
            r = sy_sleep(fds, 2, 100000000);
        e->control->sleeping = 0;
        if (r > 0 && (r & 1)) {
            uint64_t count;
            if (read(e->eventfd, &count, sizeof count) < 0 && errno != EAGAIN)
                return SY_GONE;
        }
        if (r > 0 && (r & 2))
            sy_notifications(e, expected, n);
        if (e->chld_scanned != sy_chld_count())
            sy_reap(e);
        now = sy_now();
        if (reached && now > start + BIRTH_LIMIT_NS)
            return -EAGAIN;
        if (now > look && !s->dead) {
            idle = is_asleep(e, t) ? idle + 1 : 0;
            look = now + LOOK_NS;
        }
        if (now > limit || idle > IDLE_LOOKS) {
            if (killed)
                return SY_GONE;
            sy_kill_space(s);
            killed = 1;
            idle = 0;
            limit = now + 1000000000LL;
        }
    }
}

/* Until it stops. 0 or SY_GONE. */
int sy_await_event(struct sy_engine *e, struct sy_thread *t) { return await(e, t, ST_EVENT, NULL, 0); }

int sy_await(struct sy_engine *e, struct sy_thread *t, struct sy_expected *expected, int n) {
    return await(e, t, ST_DONE, expected, n);
}

/* ---- which thread of an address space ---- */

struct picked {
    struct sy_thread *t;
    int resume;
};

static struct picked pick(struct sy_engine *e, struct sy_space *s) {
    struct picked p = {NULL, 0};
    struct sy_thread *t = s->last;

    if (s->released || s->dead)
        return p;
    if (t != NULL && t->parked) {
        p.t = t;
        return p;
    }
    for (t = s->threads; t != NULL; t = t->sibling)
        if (t->parked) {
            p.t = t;
            return p;
        }
    /* Stop one for our own purposes: the kernel does not notice. */
    t = s->leader;
    if (t == NULL)
        return p;
    if (sy_get32(t->slot, S_STATE) != ST_EVENT)
        syscall(SYS_tgkill, s->tgid, t->tid, STUB_INTERRUPT);
    t->refs++;
    if (await(e, t, ST_EVENT, NULL, 0) == 0) {
        p.resume = sy_look(e, t);
        if (t->parked)
            p.t = t;
    }
    sy_thread_drop(e, t);
    return p;
}

static void unpick(struct sy_engine *e, struct picked p) {
    if (p.resume && p.t->parked)
        sy_go(e, p.t);
}

static void put_call(uint8_t *slot, long nr, const uint64_t *args) {
    sy_set64(slot, S_CALL, (uint64_t)nr);
    for (int i = 0; i < 6; i++)
        sy_set64(slot, S_CALL + 8 + 8 * (unsigned)i, args[i]);
}

/* The filter wants these confirmed. */
static int needs_confirmation(long nr, const uint64_t *args) {
    const uint64_t plain = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE | MAP_POPULATE;

    if (nr == SYS_mmap)
        return ((uint32_t)args[3] & ~plain) != 0 || !(args[3] & MAP_ANONYMOUS);
    return nr == SYS_madvise && (uint32_t)args[2] == MADV_REMOVE;
}

static int64_t call(struct sy_engine *e, struct sy_thread *t, long nr, const uint64_t *args) {
    struct sy_expected expected = {.nr = (int)nr, .tid = t->tid};
    int confirm = needs_confirmation(nr, args), rc;

    memcpy(expected.args, args, sizeof expected.args);
    put_call(t->slot, nr, args);
    sy_set64(t->slot, S_RESULT, 0);
    sy_post(e, t, ST_CALL);
    rc = sy_await(e, t, &expected, confirm);
    if (rc < 0)
        return SY_GONE;
    return (int64_t)sy_get64(t->slot, S_RESULT);
}

int64_t sy_space_call(struct sy_engine *e, struct sy_space *s, long nr, uint64_t a0, uint64_t a1,
                      uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5) {
    const uint64_t args[6] = {a0, a1, a2, a3, a4, a5};
    struct picked p = pick(e, s);
    int64_t rc;

    if (p.t == NULL)
        return SY_GONE;
    sy_copies_stale(e, s);
    p.t->refs++;
    if (nr == SYS_mmap || nr == SYS_munmap || nr == SYS_mprotect)
        sy_writable_cut(s, a0, a0 + a1);
    else if (nr == SYS_mremap) {
        sy_writable_cut(s, a0, a0 + a1);
        sy_writable_cut(s, a4, a4 + a2);
    }
    if (nr == SYS_mremap || (nr == SYS_mprotect && a3 != SY_OURS))
        sy_patch_undo(e, s, a0, a0 + a1, 1);
    if (p.t->patched && needs_confirmation(nr, args) && sy_unpatched(e, p.t) < 0)
        rc = SY_GONE;
    else
        rc = call(e, p.t, nr, args);
    if (nr == SYS_mremap && a4 != 0 && a4 != a0)
        sy_patch_undo(e, s, a4, a4 + a2, 0);
    if ((nr == SYS_munmap && rc == 0) || (nr == SYS_mmap && rc == (int64_t)a0)) {
        sy_patch_undo(e, s, a0, a0 + a1, 0);
        sy_patch_code(e, s, nr, a0, a1, a2, a3);
    }
    if (rc == (nr == SYS_mmap ? (int64_t)a0 : 0) && (nr == SYS_mmap || nr == SYS_mprotect) &&
        (a2 & PROT_WRITE) && (nr == SYS_mprotect || (a3 & MAP_ANONYMOUS)))
        sy_writable_add(s, a0, a0 + a1);
    /* Only a small error is one: the slot is the guest's, too. */
    if (rc < 0 && rc != SY_GONE && rc < -4095)
        rc = -EFAULT;
    unpick(e, p);
    sy_thread_drop(e, p.t);
    return rc;
}

int64_t sy_space_cmpxchg(struct sy_engine *e, struct sy_space *s, uint64_t addr, uint32_t expected,
                         uint32_t desired, uint32_t *found) {
    const uint64_t args[6] = {addr, expected, desired, 0, 0, 0};
    struct picked p;
    int64_t rc;

    if (addr < e->min_address || addr > e->task_size - 4)
        return -EFAULT;
    p = pick(e, s);
    if (p.t == NULL)
        return SY_GONE;
    sy_copies_stale(e, s);
    p.t->refs++;
    put_call(p.t->slot, 0, args);
    sy_post(e, p.t, ST_CAS);
    rc = sy_await(e, p.t, NULL, 0);
    if (rc == 0) {
        *found = (uint32_t)sy_get64(p.t->slot, S_RESULT);
        if (sy_get64(p.t->slot, S_FAILED) != 0)
            rc = -EFAULT;
    }
    unpick(e, p);
    sy_thread_drop(e, p.t);
    return rc;
}

/* ---- new threads and processes ---- */

static int known_tid(struct sy_space *s, pid_t tid) {
    for (struct sy_thread *t = s->threads; t != NULL; t = t->sibling)
        if (t->tid == tid)
            return 1;
    return 0;
}

static struct sy_thread *spawn(struct sy_engine *e, struct sy_thread *parent, int *err) {
    struct sy_space *s = parent->space;
    struct sy_expected expected = {.nr = SYS_clone, .tid = parent->tid};
    struct sy_thread *t;
    int64_t tid;
    int slot = sy_slot_take(e, s);

    if (slot < 0) {
        *err = slot;
        return NULL;
    }
    t = sy_thread_new(e, s, 0, slot);
    if (t == NULL) {
        s->busy[slot] = 0;
        *err = -ENOMEM;
        return NULL;
    }
    t->released = 1; /* nobody is told of its end until it is born */
    sy_frame_copy(e, parent, t);
    sy_set32(t->slot, S_STATE, ST_DONE);
    sy_set32(t->slot, S_TID, 1);
    expected.args[0] = THREAD_FLAGS;
    expected.args[1] = t->sp + 8;
    expected.args[3] = t->slot_at + S_TID;
    put_call(parent->slot, SYS_clone, expected.args);
    sy_set64(parent->slot, S_RESULT, 0);
    sy_post(e, parent, ST_THREAD);
    *err = sy_await(e, parent, &expected, 1);
    tid = *err < 0 ? *err : (int64_t)sy_get64(parent->slot, S_RESULT);
    if (*err == 0 && tid > 0 &&
        (tid > INT32_MAX || known_tid(s, (pid_t)tid) || syscall(SYS_tgkill, s->tgid, (pid_t)tid, 0) < 0)) {
        sy_kill_space(s); /* it lies */
        tid = SY_GONE;
    }
    if (tid > 0) {
        t->tid = (pid_t)tid;
        t->released = 0;
        return t;
    }
    *err = tid == SY_GONE || tid < -4095 ? SY_GONE : tid < 0 ? (int)tid : -EAGAIN;
    if (t->state != SY_ST_DEAD) {
        sy_set32(t->slot, S_TID, 0);
        sy_thread_ended(e, t);
    }
    sy_thread_drop(e, t);
    return NULL;
}

static struct sy_thread *fork_process(struct sy_engine *e, struct sy_thread *parent, int *err) {
    struct sy_expected expected[2] = {{.nr = SYS_clone, .tid = parent->tid}, {.nr = SYS_mmap}};
    uint64_t size = SY_FIRST_SLOTS * e->slot_size, rest;
    struct sy_space *s;
    struct sy_thread *t;
    struct sy_space *from = parent->space;
    uint8_t *chunk;
    int64_t rc;
    int fd;

    s = sy_space_new(e, 0);
    if (s == NULL) {
        *err = -ENOMEM;
        return NULL;
    }
    fd = sy_chunk_new(e, SY_FIRST_SLOTS, &chunk);
    if (fd < 0) {
        *err = fd;
        goto no_space;
    }
    s->chunks[s->nchunks++] = chunk;
    memcpy(s->writable, from->writable, sizeof s->writable);
    *err = sy_patch_copy(e, from, s);
    if (*err == 0)
        *err = sy_slot_take(e, s);
    if (*err < 0)
        goto no_slot;
    t = sy_thread_new(e, s, 0, *err);
    if (t == NULL) {
        *err = -ENOMEM;
        goto no_slot;
    }
    t->released = 1; /* nobody is told of its end until it is born */
    sy_frame_copy(e, parent, t);
    sy_set32(t->slot, S_STATE, ST_FORK);
    expected[0].args[0] = PROCESS_FLAGS;
    expected[0].args[2] = parent->slot_at + S_PIDFD;
    expected[1].args[0] = e->region;
    expected[1].args[1] = size;
    expected[1].args[2] = PROT_READ | PROT_WRITE;
    expected[1].args[3] = MAP_SHARED | MAP_FIXED;
    expected[1].args[4] = (uint64_t)fd;
    put_call(parent->slot, SYS_clone, expected[0].args);
    sy_set64(parent->slot, S_FORK, e->region);
    sy_set64(parent->slot, S_FORK + 8, size);
    sy_set64(parent->slot, S_FORK + 16, (uint64_t)fd);
    sy_set64(parent->slot, S_FORK + 24, t->sp + 8);
    sy_set64(parent->slot, S_RESULT, 0);
    sy_set32(parent->slot, S_PIDFD, (uint32_t)-1);
    sy_post(e, parent, ST_FORK);
    *err = sy_await(e, parent, expected, 2);
    if (expected[0].done)
        s->pidfd = sy_pidfd_found(e, (int)sy_get32(parent->slot, S_PIDFD));
    if (expected[1].done) {
        /* The notification's word, not the slot's. */
        s->tgid = t->tid = expected[1].tid;
        if (sy_await(e, t, NULL, 0) < 0) /* it has mapped its region */
            *err = SY_GONE;
    }
    close(fd);
    if (expected[1].done) {
        rest = sy_slot_guests(e, SY_FIRST_SLOTS);
        rc = 0;
        if (from->nchunks > 1)
            rc = sy_space_call(e, s, SYS_munmap, rest, sy_slot_guests(e, SY_MAX_SLOTS) - rest, 0, 0, 0, 0);
        if (rc == 0 && *err == 0 && !s->dead) {
            t->released = 0;
            return t;
        }
        sy_space_release(e, s);
        sy_space_drop(e, s);
        sy_thread_drop(e, t);
        *err = SY_GONE;
        return NULL;
    }
    if (*err == 0) {
        rc = (int64_t)sy_get64(parent->slot, S_RESULT);
        *err = rc < 0 && rc >= -4095 ? (int)rc : -EAGAIN;
    }
    sy_thread_drop(e, t);
    s->released = 1;
    sy_space_ended(e, s);
    sy_space_drop(e, s);
    return NULL;
no_slot:
    close(fd);
no_space:
    s->released = 1;
    sy_space_ended(e, s);
    sy_space_drop(e, s);
    return NULL;
}

struct sy_thread *sy_clone(struct sy_engine *e, struct sy_thread *parent, int as_thread, int *err) {
    struct sy_thread *t;

    if (parent->state != SY_ST_STOPPED || !parent->parked || parent->space->released) {
        *err = SY_GONE;
        return NULL;
    }
    sy_copies_flush(e);
    if (sy_unpatched(e, parent) < 0) {
        *err = SY_GONE;
        return NULL;
    }
    parent->refs++;
    t = as_thread ? spawn(e, parent, err) : fork_process(e, parent, err);
    sy_thread_drop(e, parent);
    return t;
}
