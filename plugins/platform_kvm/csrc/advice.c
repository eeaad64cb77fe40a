/* madvise(2), msync(2) and mincore(2) of guest memory. */
#define _GNU_SOURCE
#include "mm.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MADV_COLD
#define MADV_COLD 20
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

static int bad_range(uint64_t va, uint64_t len) {
    return (va | len) & KV_MASK || va < KV_MIN_ADDRESS || va >= KV_TASK_SIZE || len > KV_TASK_SIZE - va;
}

/* The end of what of [low, high) in a region its file has pages for. */
static uint64_t in_file(const struct kv_region *r, uint64_t low, uint64_t high) {
    uint64_t off = r->off + (low - r->start), most = off < r->file->len ? low + (r->file->len - off) : low;

    return high < most ? high : most;
}

/* Call f for the part of each shared file's region in the range, with the address of its pages in the arena. */
static int each_file(struct kv_space *s, uint64_t start, uint64_t end, int shared, int arg,
                     int (*f)(void *at, size_t len, int arg)) {
    for (uint32_t i = kv_region_index(s, start); i < s->nregions && s->regions[i].start < end; i++) {
        struct kv_region *r = &s->regions[i];
        uint64_t low = r->start > start ? r->start : start, high = r->end < end ? r->end : end;

        if (r->file == NULL || (shared && !r->shared))
            continue;
        high = in_file(r, low, high);
        if (high > low && f(kv_at(s->mm, kv_file_page(r, low)), high - low, arg) < 0)
            return -errno;
    }
    return 0;
}

static int populate(struct kv_space *s, uint64_t va, uint64_t end, int access) {
    for (; va < end; va += KV_PAGE) {
        switch (kv_fault(s, va, access, 0)) {
        case KV_FIXED:
            break;
        case KV_ACCERR:
            return -EINVAL;
        case KV_BUS:
            return -EFAULT;
        default:
            return -ENOMEM;
        }
    }
    return 0;
}

static int advise_locked(struct kv_space *s, uint64_t va, uint64_t end, int advice) {
    switch (advice) {
    case MADV_NORMAL:
    case MADV_RANDOM:
    case MADV_SEQUENTIAL:
    case MADV_HUGEPAGE:
    case MADV_NOHUGEPAGE:
    case MADV_MERGEABLE:
    case MADV_UNMERGEABLE:
    case MADV_COLD:
    case MADV_PAGEOUT:
    case MADV_DONTDUMP:
    case MADV_DODUMP:
        return kv_region_covered(s, va, end) ? 0 : -ENOMEM;
    case MADV_WILLNEED:
        each_file(s, va, end, 0, MADV_WILLNEED, madvise);
        break;
    case MADV_FREE: /* may be dropped at any time: now */
        for (uint32_t i = kv_region_index(s, va); i < s->nregions && s->regions[i].start < end; i++)
            if (s->regions[i].file != NULL)
                return -EINVAL;
        /* fall through */
    case MADV_DONTNEED:
    case MADV_DONTNEED_LOCKED:
        kv_drop_pages(s, va, end, PTE_HELD);
        break;
    case MADV_REMOVE:
        for (uint32_t i = kv_region_index(s, va); i < s->nregions && s->regions[i].start < end; i++) {
            if (!s->regions[i].shared)
                return -EINVAL;
            if (!s->regions[i].file->writable)
                return -EACCES;
        }
        return each_file(s, va, end, 1, MADV_REMOVE, madvise);
    case MADV_POPULATE_READ:
        return populate(s, va, end, KV_READ);
    case MADV_POPULATE_WRITE:
        return populate(s, va, end, KV_WRITE);
    default:
        return -EINVAL;
    }
    return kv_region_covered(s, va, end) ? 0 : -ENOMEM;
}

int kv_space_advise(struct kv_space *s, uint64_t va, uint64_t len, int advice) {
    int rc;

    if (bad_range(va, len))
        return -EINVAL;
    pthread_mutex_lock(&s->mm->lock);
    rc = advise_locked(s, va, va + len, advice);
    pthread_mutex_unlock(&s->mm->lock);
    return rc;
}

int kv_space_sync(struct kv_space *s, uint64_t va, uint64_t len, int flags) {
    int rc;

    if (bad_range(va, len))
        return -EINVAL;
    pthread_mutex_lock(&s->mm->lock);
    rc = kv_region_covered(s, va, va + len) ? each_file(s, va, va + len, 1, flags, msync) : -ENOMEM;
    pthread_mutex_unlock(&s->mm->lock);
    return rc;
}

/* One byte a page: is it in memory? */
int kv_space_residency(struct kv_space *s, uint64_t va, uint64_t len, unsigned char *vec) {
    uint64_t end = va + len;
    int rc = 0;

    if (bad_range(va, len))
        return -ENOMEM;
    pthread_mutex_lock(&s->mm->lock);
    if (!kv_region_covered(s, va, end))
        rc = -ENOMEM;
    memset(vec, 0, len / KV_PAGE);
    for (uint32_t i = kv_region_index(s, va); rc == 0 && i < s->nregions && s->regions[i].start < end; i++) {
        struct kv_region *r = &s->regions[i];
        uint64_t low = r->start > va ? r->start : va, high = r->end < end ? r->end : end, at = low;
        uint64_t end_of_file = r->file != NULL ? in_file(r, low, high) : low;
        struct kv_run run;

        if (end_of_file > low && mincore(kv_at(s->mm, kv_file_page(r, low)), end_of_file - low,
                                         vec + (low - va) / KV_PAGE) < 0)
            rc = -errno;
        while (kv_walk(s, &at, high, &run))
            for (uint32_t k = 0; k < run.n; k++)
                if (run.pte[k] & PTE_FRAME)
                    vec[(run.va - va) / KV_PAGE + k] = 1;
    }
    pthread_mutex_unlock(&s->mm->lock);
    return rc;
}
