/* Address spaces: mapping, protecting, moving, copying. */
#define _GNU_SOURCE
#include "mm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MFD_CLOEXEC
#define MFD_CLOEXEC 1U
#endif

static void lock(struct kv_space *s) { pthread_mutex_lock(&s->mm->lock); }
static void unlock(struct kv_space *s) { pthread_mutex_unlock(&s->mm->lock); }

/* Forget what the entries of [start, end) hold of the kinds in which. */
static void release_pages(struct kv_space *s, uint64_t start, uint64_t end, uint64_t which) {
    struct kv_run run;

    while (kv_walk(s, &start, end, &run)) {
        for (uint32_t i = 0; i < run.n; i++) {
            uint64_t e = run.pte[i];

            if (!(e & which))
                continue;
            run.pte[i] = 0;
            s->resident--;
            if (e & PTE_FRAME)
                kv_frame_put(s->mm, e & PTE_ADDR);
        }
    }
}

/* Take the entries of [start, end) out of the guest's reach; they keep what they hold. */
static void hide_pages(struct kv_space *s, uint64_t start, uint64_t end, uint64_t which) {
    struct kv_flush flush = {.mm = s->mm};
    struct kv_run run;

    while (kv_walk(s, &start, end, &run)) {
        for (uint32_t i = 0; i < run.n; i++) {
            uint64_t e = run.pte[i];

            if (!(e & which) || !(e & PTE_P))
                continue;
            __atomic_store_n(&run.pte[i], e & ~PTE_P, __ATOMIC_RELEASE);
            kv_flush_add(&flush, e & PTE_ADDR);
        }
    }
    kv_flush_end(&flush);
}

/* Drop the pages of [start, end) of the kinds in which. A frame is free only when no guest reaches it. */
void kv_drop_pages(struct kv_space *s, uint64_t start, uint64_t end, uint64_t which) {
    if (s->resident == 0)
        return;
    hide_pages(s, start, end, which);
    release_pages(s, start, end, which);
}

/* Give the entries of [start, end) the rights of their regions. */
static void refresh(struct kv_space *s, uint64_t start, uint64_t end) {
    struct kv_flush flush = {.mm = s->mm};

    for (uint32_t i = kv_region_index(s, start); i < s->nregions && s->regions[i].start < end; i++) {
        struct kv_region *r = &s->regions[i];
        uint64_t va = r->start > start ? r->start : start, stop = r->end < end ? r->end : end;
        struct kv_run run;

        while (kv_walk(s, &va, stop, &run)) {
            for (uint32_t k = 0; k < run.n; k++) {
                uint64_t e = run.pte[k], n;

                if (e == 0)
                    continue;
                n = kv_entry(s->mm, r, e & PTE_ADDR, e & PTE_HELD);
                if (n == e)
                    continue;
                __atomic_store_n(&run.pte[k], n, __ATOMIC_RELEASE);
                if ((e & PTE_P) && (!(n & PTE_P) || (e & PTE_W & ~n) || (n & PTE_NX & ~e)))
                    kv_flush_add(&flush, e & PTE_ADDR);
            }
        }
    }
    kv_flush_end(&flush);
}

/* An empty one, or NULL where there is no memory. */
struct kv_space *kv_space_new(struct kv_mm *mm) {
    struct kv_space *s = calloc(1, sizeof *s);

    if (s == NULL)
        return NULL;
    s->mm = mm;
    lock(s);
    if (kv_root_new(s) < 0) {
        unlock(s);
        free(s);
        return NULL;
    }
    unlock(s);
    return s;
}

/* Drop everything, at once: no virtual CPU is in this space, and none will see its tables again. */
static void drop_all(struct kv_space *s) {
    release_pages(s, KV_MIN_ADDRESS, KV_TASK_SIZE, PTE_HELD);
    for (uint32_t i = 0; i < s->nregions; i++)
        kv_file_put(s->mm, s->regions[i].file);
    s->nregions = 0;
    kv_root_drop(s);
}

/* The end of a space. No virtual CPU is in it, and none will enter it. */
void kv_space_empty(struct kv_space *s) {
    lock(s);
    if (s->root != 0)
        drop_all(s);
    unlock(s);
}

void kv_space_free(struct kv_space *s) {
    free(s->regions);
    free(s);
}

/* Unmap all; no thread of it is running. */
int kv_space_reset(struct kv_space *s) {
    struct kv_space old;
    int rc;

    lock(s);
    old = *s;
    rc = kv_root_new(s);
    if (rc == 0) {
        uint64_t root = s->root;

        s->root = old.root;
        drop_all(s);
        s->root = root;
    }
    unlock(s);
    return rc;
}

/* A copy whose private pages are shared until one side writes; NULL where there is no memory. */
struct kv_space *kv_space_fork(struct kv_space *s) {
    struct kv_space *n = kv_space_new(s->mm);
    struct kv_flush flush = {.mm = s->mm};
    uint64_t va = KV_MIN_ADDRESS;
    struct kv_run run;

    if (n == NULL)
        return NULL;
    lock(s);
    n->regions = malloc((s->nregions + 1) * sizeof *n->regions);
    if (n->regions == NULL)
        goto fail;
    n->regions_room = s->nregions + 1;
    n->nregions = s->nregions;
    for (uint32_t i = 0; i < s->nregions; i++) {
        n->regions[i] = s->regions[i];
        if (n->regions[i].file != NULL)
            n->regions[i].file->refs++;
    }
    while (kv_walk(s, &va, KV_TASK_SIZE, &run)) {
        uint64_t *to = NULL;

        for (uint32_t i = 0; i < run.n; i++) {
            uint64_t e = run.pte[i];

            if (e == 0)
                continue;
            if (to == NULL && (to = kv_pte(n, run.va, 1)) == NULL)
                goto fail;
            if (e & PTE_FRAME) {
                kv_frame_get(s->mm, e & PTE_ADDR);
                if (e & PTE_W) {
                    e &= ~PTE_W;
                    __atomic_store_n(&run.pte[i], e, __ATOMIC_RELEASE);
                    kv_flush_add(&flush, e & PTE_ADDR);
                }
            }
            to[i] = e;
            n->resident++;
        }
    }
    kv_flush_end(&flush);
    unlock(s);
    return n;

fail:
    kv_flush_end(&flush);
    drop_all(n);
    unlock(s);
    kv_space_free(n);
    return NULL;
}

static int unmap_locked(struct kv_space *s, uint64_t start, uint64_t end) {
    if (kv_region_split(s, start) < 0 || kv_region_split(s, end) < 0)
        return -ENOMEM;
    kv_drop_pages(s, start, end, PTE_HELD);
    return kv_region_cut(s, start, end);
}

static int valid(uint64_t va, uint64_t len) {
    return !((va | len) & KV_MASK) && len > 0 && va >= KV_MIN_ADDRESS && va < KV_TASK_SIZE &&
           len <= KV_TASK_SIZE - va;
}

static void populate(struct kv_space *s, uint64_t start, uint64_t end, int access) {
    for (uint64_t va = start; va < end; va += KV_PAGE)
        if (kv_fault(s, va, access, 0) != KV_FIXED)
            return;
}

int kv_space_map(struct kv_space *s, uint64_t va, uint64_t len, int prot, int flags, int fd, uint64_t offset) {
    struct kv_region r = {.start = va, .end = va + len, .prot = (uint8_t)(prot & 7)};
    int type = flags & (MAP_SHARED | MAP_PRIVATE), own_fd = -1, err = 0, rc;

    if (!valid(va, len) || offset & KV_MASK || (type != MAP_SHARED && type != MAP_PRIVATE))
        return -EINVAL;
    if (fd < 0 && type == MAP_SHARED) {
        own_fd = memfd_create("shared", MFD_CLOEXEC);
        if (own_fd < 0 || ftruncate(own_fd, (off_t)len) < 0) {
            err = errno;
            if (own_fd >= 0)
                close(own_fd);
            return -err;
        }
        fd = own_fd;
        offset = 0;
    }
    r.shared = type == MAP_SHARED;
    lock(s);
    if (fd >= 0) {
        r.file = kv_file_map(s->mm, fd, offset, len, r.shared, prot, &err);
        if (r.file == NULL) {
            rc = -err;
            goto out;
        }
    }
    rc = unmap_locked(s, va, va + len);
    if (rc == 0)
        rc = kv_region_insert(s, &r);
    if (rc < 0) {
        kv_file_put(s->mm, r.file);
        goto out;
    }
    kv_region_merge(s, va, va + len);
    if (flags & MAP_POPULATE && prot != 0)
        populate(s, va, va + len, prot & PROT_WRITE && !r.shared ? KV_WRITE : KV_READ);
out:
    unlock(s);
    if (own_fd >= 0)
        close(own_fd);
    return rc;
}

int kv_space_unmap(struct kv_space *s, uint64_t va, uint64_t len) {
    int rc;

    if (!valid(va, len))
        return -EINVAL;
    lock(s);
    rc = unmap_locked(s, va, va + len);
    unlock(s);
    return rc;
}

int kv_space_protect(struct kv_space *s, uint64_t va, uint64_t len, int prot) {
    uint64_t end = va + len;
    int rc = 0;

    if (!valid(va, len))
        return -EINVAL;
    lock(s);
    if (!kv_region_covered(s, va, end)) {
        rc = -ENOMEM;
        goto out;
    }
    for (uint32_t i = kv_region_index(s, va); i < s->nregions && s->regions[i].start < end; i++) {
        struct kv_region *r = &s->regions[i];

        if (prot & PROT_WRITE && r->shared && !r->file->writable) {
            rc = -EACCES;
            goto out;
        }
    }
    if ((rc = kv_region_split(s, va)) < 0 || (rc = kv_region_split(s, end)) < 0)
        goto out;
    for (uint32_t i = kv_region_index(s, va); i < s->nregions && s->regions[i].start < end; i++)
        s->regions[i].prot = (uint8_t)(prot & 7);
    if (s->resident > 0)
        refresh(s, va, end);
    kv_region_merge(s, va, end);
out:
    unlock(s);
    return rc;
}

/* Make the region that ends at end longer. Its file may have been mapped for less: then it is mapped anew. */
static int grow(struct kv_space *s, uint64_t end, uint64_t more) {
    struct kv_region *r = kv_region_find(s, end - 1);
    uint64_t len = r->end - r->start;
    struct kv_file *f;
    int err;

    if (r->file != NULL && r->off + len + more > r->file->len) {
        f = kv_file_longer(s->mm, r->file, r->off, len + more, &err);
        if (f == NULL)
            return -err;
        kv_drop_pages(s, r->start, r->end, PTE_FILE);
        kv_file_put(s->mm, r->file);
        r->file = f;
        r->off = 0;
    }
    r->end += more;
    return 0;
}

/* Copies of the regions of [old, old + len), moved to va. 0 or -errno. */
static int copy_regions(struct kv_space *s, uint64_t old, uint64_t len, uint64_t va, struct kv_region **copies,
                        uint32_t *n) {
    uint32_t first = kv_region_index(s, old), last = first;

    while (last < s->nregions && s->regions[last].start < old + len)
        last++;
    *n = last - first;
    *copies = malloc(*n * sizeof **copies);
    if (*copies == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < *n; i++) {
        struct kv_region *r = &(*copies)[i];

        *r = s->regions[first + i];
        r->start = r->start - old + va;
        r->end = r->end - old + va;
        r->next_fault = 0;
        if (r->file != NULL)
            r->file->refs++;
    }
    return 0;
}

static void move_entries(struct kv_space *s, uint64_t old, uint64_t len, uint64_t va) {
    uint64_t at = old;
    struct kv_run run;

    while (kv_walk(s, &at, old + len, &run)) {
        for (uint32_t i = 0; i < run.n; i++) {
            if (run.pte[i] == 0)
                continue;
            *kv_pte(s, run.va + i * KV_PAGE - old + va, 0) = run.pte[i];
            run.pte[i] = 0;
        }
    }
}

static int move_locked(struct kv_space *s, uint64_t old, uint64_t old_len, uint64_t va, uint64_t len, int keep) {
    struct kv_region *copies;
    uint32_t n;
    int rc;

    if (!kv_region_covered(s, old, old + old_len))
        return -EFAULT;
    if (len < old_len) {
        if ((rc = unmap_locked(s, old + len, old + old_len)) < 0)
            return rc;
        old_len = len;
    }
    if (old == va) {
        uint32_t next = kv_region_index(s, old + old_len);

        if (len == old_len)
            return 0;
        if (next < s->nregions && s->regions[next].start < old + len)
            return -ENOMEM;
        if ((rc = grow(s, old + old_len, len - old_len)) == 0)
            kv_region_merge(s, old, old + len);
        return rc;
    }
    if (va < old + old_len && old < va + len)
        return -EINVAL;
    if ((rc = unmap_locked(s, va, va + len)) < 0 || (rc = kv_region_split(s, old)) < 0 ||
        (rc = kv_region_split(s, old + old_len)) < 0)
        return rc;
    /* All that can fail comes first: tables, the list's room. */
    for (uint64_t at = va & ~(KV_BLOCK - 1); at < va + old_len; at += KV_BLOCK)
        if (kv_pte(s, at, 1) == NULL)
            return -ENOMEM;
    if ((rc = copy_regions(s, old, old_len, va, &copies, &n)) < 0)
        return rc;
    hide_pages(s, old, old + old_len, PTE_HELD);
    if (!keep)
        kv_region_cut(s, old, old + old_len);
    for (uint32_t i = 0; i < n; i++) {
        if (rc == 0)
            rc = kv_region_insert(s, &copies[i]);
        if (rc != 0)
            kv_file_put(s->mm, copies[i].file);
    }
    free(copies);
    if (rc != 0) { /* no memory for the list: the pages are lost, as far as they have no region */
        release_pages(s, old, old + old_len, PTE_HELD);
        return rc;
    }
    move_entries(s, old, old_len, va);
    if (len > old_len)
        rc = grow(s, va + old_len, len - old_len);
    refresh(s, va, va + old_len);
    kv_region_merge(s, va, va + len);
    return rc;
}

int kv_space_move(struct kv_space *s, uint64_t old, uint64_t old_len, uint64_t va, uint64_t len, int keep) {
    int rc;

    if (!valid(old, old_len) || !valid(va, len))
        return -EINVAL;
    lock(s);
    rc = move_locked(s, old, old_len, va, len, keep);
    unlock(s);
    return rc;
}
