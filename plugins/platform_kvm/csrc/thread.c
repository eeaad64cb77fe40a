/* Guest threads, as Python sees them. */
#define _GNU_SOURCE
#include "engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LOWER_HALF (1ULL << 47)

static void clean_regs(struct user_regs_struct *u) {
    u->cs = USER_CS;
    u->ss = USER_DS;
    u->ds = u->es = u->fs = u->gs = 0;
    u->eflags = (u->eflags & FLAGS_USER) | FLAG_IF | FLAGS_FIXED;
    if (u->fs_base >= LOWER_HALF)
        u->fs_base = 0;
    if (u->gs_base >= LOWER_HALF)
        u->gs_base = 0;
}

struct kv_thread *kv_thread_new(struct kv_engine *e, struct kv_process *p, struct kv_thread *parent, int *err) {
    struct kv_thread *t;

    *err = KV_GONE;
    if (e->closed || p->released || (parent != NULL && parent->released))
        return NULL;
    *err = -ENOMEM;
    if ((t = calloc(1, sizeof *t)) == NULL)
        return NULL;
    if ((t->fpu = malloc(e->xsave_buffer)) == NULL)
        goto fail;
    if (parent != NULL) {
        if ((*err = kv_fpu_fetch(e, parent)) < 0)
            goto fail;
        memcpy(t->fpu, parent->fpu, e->xsave_buffer);
        t->regs = parent->regs;
        t->event = parent->event;
        t->nr = parent->nr;
        memcpy(t->args, parent->args, sizeof t->args);
    } else {
        memcpy(t->fpu, e->clean_fpu, e->xsave_buffer);
        t->regs.orig_rax = ~0ULL;
        clean_regs(&t->regs);
    }
    t->fpu_dirty = 1;
    t->handle = ++e->next_handle;
    t->refs = 2;
    t->process = p;
    p->refs++;
    p->space->threads++;
    t->next = e->threads;
    if (t->next != NULL)
        t->next->prev = t;
    e->threads = t;
    return t;

fail:
    free(t->fpu);
    free(t);
    return NULL;
}

void kv_thread_drop(struct kv_thread *t) {
    if (--t->refs > 0)
        return;
    kv_process_drop(t->process);
    free(t->fpu);
    free(t);
}

void kv_thread_release(struct kv_engine *e, struct kv_thread *t) {
    if (t->released)
        return;
    kv_stop(e, t);
    kv_unqueue(e, t);
    t->released = 1;
    kv_unbind(e, t);
    if (t->prev != NULL)
        t->prev->next = t->next;
    else
        e->threads = t->next;
    if (t->next != NULL)
        t->next->prev = t->prev;
    if (!t->process->released)
        t->process->space->threads--;
    kv_thread_drop(t);
}

void kv_thread_resume(struct kv_engine *e, struct kv_thread *t) {
    if (t->released || e->closed || t->state != KV_ST_STOPPED)
        return;
    t->event = KV_NONE;
    t->kick = 0;
    if (t->vcpu == NULL && kv_bind(e, t) < 0) {
        pthread_mutex_lock(&e->queue_lock);
        t->event = KV_DEAD;
        t->state = KV_ST_QUEUED;
        t->queue_next = NULL;
        t->queue_prev = e->queue_last;
        if (e->queue_last != NULL)
            e->queue_last->queue_next = t;
        else
            e->queue = t;
        e->queue_last = t;
        pthread_mutex_unlock(&e->queue_lock);
        return;
    }
    kv_start(e, t);
}

void kv_thread_complete(struct kv_engine *e, struct kv_thread *t, int64_t result) {
    t->regs.rax = (uint64_t)result;
    kv_thread_resume(e, t);
}

void kv_thread_interrupt(struct kv_engine *e, struct kv_thread *t) {
    if (t->released || t->vcpu == NULL)
        return;
    pthread_mutex_lock(&e->queue_lock);
    if (t->vcpu->busy)
        kv_kick(t);
    pthread_mutex_unlock(&e->queue_lock);
}

/* The registers were replaced. */
void kv_thread_regs_set(struct kv_thread *t) { clean_regs(&t->regs); }

int64_t kv_thread_handle(struct kv_thread *t) { return t->handle; }

/* The size of the area, or -errno. */
int64_t kv_thread_get_fpu(struct kv_engine *e, struct kv_thread *t, void *buf, uint64_t len) {
    int rc;

    if (t->released)
        return KV_GONE;
    if (len < e->xsave_size)
        return -EINVAL;
    if ((rc = kv_fpu_fetch(e, t)) < 0)
        return rc;
    memcpy(buf, t->fpu, e->xsave_size);
    return e->xsave_size;
}

int64_t kv_thread_set_fpu(struct kv_engine *e, struct kv_thread *t, const void *buf, uint64_t len) {
    if (t->released)
        return KV_GONE;
    if (len > e->xsave_size)
        return -EINVAL;
    memset(t->fpu, 0, e->xsave_buffer);
    memcpy(t->fpu, buf, len);
    t->fpu_dirty = 1;
    return 0;
}

/* Processor time of the thread, in ns: guest and what served its exits. */
uint64_t kv_thread_cpu_ns(struct kv_thread *t) {
    return t->cpu_ns + (t->vcpu != NULL ? kv_cpu_clock(t->vcpu) - t->cpu_base : 0);
}
