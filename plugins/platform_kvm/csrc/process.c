/* Address spaces, as Python sees them. */
#define _GNU_SOURCE
#include "engine.h"

#include <errno.h>
#include <stdlib.h>

static struct kv_process *add(struct kv_engine *e, struct kv_space *space) {
    struct kv_process *p = calloc(1, sizeof *p);

    if (p == NULL) {
        kv_space_empty(space);
        kv_space_free(space);
        return NULL;
    }
    p->space = space;
    p->refs = 2;
    p->next = e->processes;
    if (p->next != NULL)
        p->next->prev = p;
    e->processes = p;
    return p;
}

struct kv_process *kv_process_new(struct kv_engine *e, int *err) {
    struct kv_space *s;

    *err = KV_GONE;
    if (e->closed)
        return NULL;
    *err = -ENOMEM;
    return (s = kv_space_new(&e->mm)) != NULL ? add(e, s) : NULL;
}

struct kv_process *kv_process_fork(struct kv_engine *e, struct kv_process *p, int *err) {
    struct kv_space *s;

    *err = KV_GONE;
    if (e->closed || p->released)
        return NULL;
    *err = -ENOMEM;
    return (s = kv_space_fork(p->space)) != NULL ? add(e, s) : NULL;
}

void kv_process_drop(struct kv_process *p) {
    if (--p->refs == 0)
        free(p);
}

/* End it and all threads in it. */
void kv_process_release(struct kv_engine *e, struct kv_process *p) {
    if (p->released)
        return;
    for (struct kv_thread *t = e->threads, *next; t != NULL; t = next) {
        next = t->next;
        if (t->process == p)
            kv_thread_release(e, t);
    }
    p->released = 1;
    kv_space_empty(p->space);
    kv_space_free(p->space);
    p->space = NULL;
    if (p->prev != NULL)
        p->prev->next = p->next;
    else
        e->processes = p->next;
    if (p->next != NULL)
        p->next->prev = p->prev;
    kv_process_drop(p);
}

int kv_process_reset(struct kv_engine *e, struct kv_process *p) {
    if (p->released)
        return KV_GONE;
    for (struct kv_thread *t = e->threads; t != NULL; t = t->next)
        if (t->process == p && t->state != KV_ST_STOPPED)
            return -EBUSY;
    return kv_space_reset(p->space);
}

int kv_process_map(struct kv_process *p, uint64_t va, uint64_t len, int prot, int flags, int fd,
                   uint64_t offset) {
    return p->released ? KV_GONE : kv_space_map(p->space, va, len, prot, flags, fd, offset);
}

int kv_process_unmap(struct kv_process *p, uint64_t va, uint64_t len) {
    return p->released ? KV_GONE : kv_space_unmap(p->space, va, len);
}

int kv_process_protect(struct kv_process *p, uint64_t va, uint64_t len, int prot) {
    return p->released ? KV_GONE : kv_space_protect(p->space, va, len, prot);
}

int kv_process_move(struct kv_process *p, uint64_t old, uint64_t old_len, uint64_t va, uint64_t len, int keep) {
    return p->released ? KV_GONE : kv_space_move(p->space, old, old_len, va, len, keep);
}

int kv_process_advise(struct kv_process *p, uint64_t va, uint64_t len, int advice) {
    return p->released ? KV_GONE : kv_space_advise(p->space, va, len, advice);
}

int kv_process_sync(struct kv_process *p, uint64_t va, uint64_t len, int flags) {
    return p->released ? KV_GONE : kv_space_sync(p->space, va, len, flags);
}

int kv_process_residency(struct kv_process *p, uint64_t va, uint64_t len, void *vec) {
    return p->released ? KV_GONE : kv_space_residency(p->space, va, len, vec);
}

int64_t kv_process_read(struct kv_process *p, uint64_t va, void *buf, uint64_t len) {
    return p->released ? KV_GONE : kv_space_read(p->space, va, buf, len);
}

int64_t kv_process_write(struct kv_process *p, uint64_t va, const void *buf, uint64_t len) {
    return p->released ? KV_GONE : kv_space_write(p->space, va, buf, len);
}

int64_t kv_process_poke(struct kv_process *p, uint64_t va, const void *buf, uint64_t len) {
    return p->released ? KV_GONE : kv_space_poke(p->space, va, buf, len);
}

int64_t kv_process_cmpxchg(struct kv_process *p, uint64_t va, uint32_t expected, uint32_t desired,
                           uint32_t *found) {
    return p->released ? KV_GONE : kv_space_cmpxchg(p->space, va, expected, desired, found);
}

uint64_t kv_process_resident(struct kv_process *p) { return p->released ? 0 : p->space->resident * KV_PAGE; }
