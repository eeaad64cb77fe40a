/* Copies made by the stub: what it took of guest memory before it published a system call, and what it is to put
 * there before the guest goes on.
 *
 * What it took is good while the call is being answered: until the thread goes on or the loop waits for the next
 * event. What lies in the slot may be changed by the guest at any time, as its memory may: callers copy it once.
 * What is to be put there is only memory that is known to be writable, so that nobody has to wait for the
 * result; all else goes through process_vm_writev(2).
 */
#define _GNU_SOURCE
#include "engine.h"

#include <string.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* ---- what is known to be writable ---- */

void sy_writable_add(struct sy_space *s, uint64_t start, uint64_t end) {
    struct sy_range *free = NULL;

    for (int i = 0; i < SY_WRITABLE; i++) {
        struct sy_range *r = &s->writable[i];
        if (r->start == r->end) {
            free = r;
        } else if (start <= r->end && end >= r->start) { /* touching: one range */
            if (start >= r->start && end <= r->end)
                return;
            start = start < r->start ? start : r->start;
            end = end > r->end ? end : r->end;
            r->start = r->end = 0;
            free = r;
        }
    }
    if (free == NULL)
        free = &s->writable[s->next_writable++ % SY_WRITABLE];
    free->start = start;
    free->end = end;
}

void sy_writable_cut(struct sy_space *s, uint64_t start, uint64_t end) {
    for (int i = 0; i < SY_WRITABLE; i++) {
        struct sy_range *r = &s->writable[i];
        if (start >= r->end || end <= r->start)
            continue;
        if (start <= r->start && end >= r->end)
            r->start = r->end = 0;
        else if (start > r->start && (end >= r->end || start - r->start >= r->end - end))
            r->end = start; /* of a range cut in two, the larger part */
        else
            r->start = end;
    }
}

static int writable(struct sy_space *s, uint64_t addr, uint64_t len) {
    for (int i = 0; i < SY_WRITABLE; i++)
        if (addr >= s->writable[i].start && addr < s->writable[i].end && len <= s->writable[i].end - addr)
            return 1;
    return 0;
}

/* ---- taken ahead ---- */

void sy_ahead(struct sy_engine *e, int nr, uint32_t plan) {
    if (nr >= 0 && nr < AHEAD_CALLS)
        e->control->ahead[nr] = plan;
}

/* Let copies use all of the slot's room from now on. 0, or there is no memory. */
int sy_room_more(struct sy_engine *e, struct sy_thread *t) {
    (void)e;
    if (t->room == S_ALL_ROOM)
        return 0;
    if (madvise(t->slot + S_FIRST_ROOM, S_ALL_ROOM - S_FIRST_ROOM, MADV_POPULATE_WRITE) < 0)
        return -1;
    t->room = S_ALL_ROOM;
    sy_set32(t->slot, S_ROOM, S_ALL_ROOM);
    return 0;
}

/* How long a range is by the call's arguments; -1: never copied. */
static int64_t range_length(const struct sy_thread *t, uint32_t range) {
    uint64_t count;

    switch (range >> 3 & 3) {
    case AHEAD_FIXED:
        return range >> 5 & 0x7ff;
    case AHEAD_STRING:
        count = SY_PAGE - (t->args[range & 7] & (SY_PAGE - 1));
        return count < AHEAD_STRING_MAX ? (int64_t)count : AHEAD_STRING_MAX;
    default:
        count = t->args[range >> 5 & 7];
        return count > AHEAD_COUNT_MAX ? -1 : (int64_t)(count * (range >> 8 & 0xff));
    }
}

/* Walk over what was copied ahead for the current call. Where [addr, addr + len) lies in the slot, or NULL; *end:
 * where free room begins. */
static const uint8_t *walk(struct sy_engine *e, struct sy_thread *t, uint64_t addr, uint64_t len, uint32_t *end) {
    uint32_t plan = t->nr >= 0 && t->nr < AHEAD_CALLS ? e->control->ahead[t->nr] : 0, at = S_BUFFER;
    const uint8_t *found = NULL;

    if (plan == 0 || sy_get32(t->slot, S_PLAN) != plan)
        plan = 0;
    for (int i = 0; plan != 0; plan >>= 16, i++) {
        uint32_t range = plan & 0xffff;
        int64_t length = range_length(t, range);
        uint64_t start = t->args[range & 7];

        if (length > 0 && length + at > t->room && length + at <= S_ALL_ROOM)
            sy_room_more(e, t); /* next time */
        else if (length > 0 && length + at <= t->room && start <= e->task_size - (uint64_t)length &&
                 sy_get32(t->slot, S_COPIED + 4 * (unsigned)i) == (uint32_t)length) {
            if (len != 0 && addr >= start && addr - start <= (uint64_t)length &&
                len <= (uint64_t)length - (addr - start))
                found = t->slot + at + (addr - start);
            at = (at + (uint32_t)length + 15) & ~15U;
        }
    }
    *end = at;
    return found;
}

/* The current call is one of `t`'s. */
void sy_current(struct sy_engine *e, struct sy_thread *t) {
    e->current = t;
    t->nout = 0;
    t->out_end = 0;
    t->stale = 0;
}

/* The memory of `s` is about to change, or has. */
void sy_copies_stale(struct sy_engine *e, struct sy_space *s) {
    sy_copies_flush(e);
    if (e->current != NULL && e->current->space == s)
        e->current->stale = 1;
}

static int is_current(struct sy_engine *e, struct sy_space *s) {
    return e->current != NULL && e->current->space == s && e->current->parked;
}

const uint8_t *sy_copied(struct sy_engine *e, struct sy_space *s, uint64_t addr, uint64_t len) {
    struct sy_thread *t = e->current;
    uint32_t end;

    if (!is_current(e, s))
        return NULL;
    for (int i = 0; i < t->nout; i++)
        if (addr < t->out[i].addr + t->out[i].len && t->out[i].addr < addr + len) {
            /* It is to be changed first, and the copy isn't what lies there any more. */
            sy_copies_stale(e, s);
            return NULL;
        }
    return t->stale ? NULL : walk(e, t, addr, len, &end);
}

/* ---- put there later ---- */

/* 1: done; 0: it can't be. */
int sy_copy_later(struct sy_engine *e, struct sy_space *s, uint64_t addr, const void *data, uint64_t len) {
    struct sy_thread *t = e->current;
    struct sy_out *out;
    uint32_t end;

    if (!is_current(e, s) || len > S_ALL_ROOM || !writable(s, addr, len)) {
        sy_copies_stale(e, s); /* flushed: in the order in which they were asked for */
        return 0;
    }
    if (t->out_end == 0) {
        walk(e, t, 0, 0, &end);
        t->out_end = end;
    }
    if (t->out_end + len > t->room)
        sy_room_more(e, t);
    if (t->nout == OUT_MAX || t->out_end + len > t->room) {
        sy_copies_stale(e, s);
        return 0;
    }
    memcpy(t->slot + t->out_end, data, len);
    out = &t->out[t->nout++];
    out->addr = addr;
    out->len = (uint32_t)len;
    out->offset = t->out_end;
    t->out_end = (t->out_end + (uint32_t)len + 15) & ~15U;
    return 1;
}

/* They go with the answer. */
void sy_copies_post(struct sy_thread *t) {
    memcpy(t->slot + S_OUT, t->out, sizeof *t->out * (unsigned)t->nout);
    sy_set32(t->slot, S_NOUT, (uint32_t)t->nout);
    t->nout = 0;
}

/* Make the queued copies now, by ourselves. */
void sy_copies_flush(struct sy_engine *e) {
    struct sy_thread *t = e->current;
    int n;

    if (t == NULL || t->nout == 0)
        return;
    n = t->nout;
    t->nout = 0;
    t->stale = 1;
    for (int i = 0; i < n; i++)
        sy_space_write(e, t->space, t->out[i].addr, t->slot + t->out[i].offset, t->out[i].len);
}
