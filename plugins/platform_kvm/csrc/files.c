/* Files: a mapping of a donated descriptor is a mapping of ours somewhere in the arena. */
#define _GNU_SOURCE
#include "mm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

int kv_files_open(struct kv_mm *mm) {
    mm->holes = malloc(64 * sizeof *mm->holes);
    if (mm->holes == NULL)
        return -ENOMEM;
    mm->holes_room = 64;
    mm->holes[0] = (struct kv_hole){mm->files_at, mm->files_end - mm->files_at};
    mm->nholes = 1;
    return 0;
}

/* A piece of the arena, 0 if there is none: the first hole that is large enough. */
static uint64_t take(struct kv_mm *mm, uint64_t len) {
    for (uint32_t i = 0; i < mm->nholes; i++) {
        struct kv_hole *h = &mm->holes[i];
        uint64_t at = h->at;

        if (h->len < len)
            continue;
        h->at += len;
        h->len -= len;
        if (h->len == 0) {
            mm->nholes--;
            memmove(h, h + 1, (mm->nholes - i) * sizeof *h);
        }
        return at;
    }
    return 0;
}

static void give(struct kv_mm *mm, uint64_t at, uint64_t len) {
    uint32_t low = 0, high = mm->nholes;

    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (mm->holes[middle].at < at)
            low = middle + 1;
        else
            high = middle;
    }
    if (low > 0 && mm->holes[low - 1].at + mm->holes[low - 1].len == at) {
        mm->holes[low - 1].len += len;
        if (low < mm->nholes && mm->holes[low].at == at + len) {
            mm->holes[low - 1].len += mm->holes[low].len;
            mm->nholes--;
            memmove(&mm->holes[low], &mm->holes[low + 1], (mm->nholes - low) * sizeof *mm->holes);
        }
        return;
    }
    if (low < mm->nholes && mm->holes[low].at == at + len) {
        mm->holes[low].at = at;
        mm->holes[low].len += len;
        return;
    }
    if (mm->nholes == mm->holes_room) {
        struct kv_hole *more = realloc(mm->holes, 2 * mm->holes_room * sizeof *more);
        if (more == NULL)
            return; /* a piece of address space is lost, nothing else */
        mm->holes = more;
        mm->holes_room *= 2;
    }
    memmove(&mm->holes[low + 1], &mm->holes[low], (mm->nholes - low) * sizeof *mm->holes);
    mm->holes[low] = (struct kv_hole){at, len};
    mm->nholes++;
}

static struct kv_file *make(struct kv_mm *mm, uint64_t len, int *err) {
    struct kv_file *f = calloc(1, sizeof *f);

    *err = ENOMEM;
    if (f == NULL)
        return NULL;
    f->at = take(mm, len);
    if (f->at == 0) {
        free(f);
        return NULL;
    }
    f->len = len;
    f->refs = 1;
    return f;
}

static void *reserve(struct kv_mm *mm, uint64_t at, uint64_t len) {
    kv_note_flush(mm, at, at + len);
    return mmap(kv_at(mm, at), len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

/* Map a file for guests. A private mapping is never written to: the guest's changes go to frames. */
struct kv_file *kv_file_map(struct kv_mm *mm, int fd, uint64_t offset, uint64_t len, int shared, int prot,
                            int *err) {
    struct kv_file *f = make(mm, len, err);
    struct stat st;
    void *p;

    /* What is larger than the arena is mapped as far as there is a file. */
    if (f == NULL && fstat(fd, &st) == 0 && st.st_size >= 0 && (uint64_t)st.st_size < len) {
        len = (uint64_t)st.st_size > offset ? ((uint64_t)st.st_size - offset + KV_MASK) & ~KV_MASK : KV_PAGE;
        f = make(mm, len, err);
    }
    if (f == NULL)
        return NULL;
    f->shared = shared;
    if (shared) {
        p = mmap(kv_at(mm, f->at), len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, (off_t)offset);
        f->writable = p != MAP_FAILED;
        if (p == MAP_FAILED && (errno == EACCES || errno == EPERM) && !(prot & PROT_WRITE))
            p = mmap(kv_at(mm, f->at), len, PROT_READ, MAP_SHARED | MAP_FIXED, fd, (off_t)offset);
    } else {
        /* Shared for us, so that it can be duplicated (kv_file_longer); sealed files refuse that. */
        p = mmap(kv_at(mm, f->at), len, PROT_READ, MAP_SHARED | MAP_FIXED, fd, (off_t)offset);
        if (p == MAP_FAILED && (errno == EPERM || errno == EACCES))
            p = mmap(kv_at(mm, f->at), len, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, (off_t)offset);
    }
    if (p == MAP_FAILED) {
        *err = errno;
        give(mm, f->at, len);
        free(f);
        return NULL;
    }
    madvise(kv_at(mm, f->at), len, MADV_DONTFORK);
    return f;
}

/* A file object for len bytes from off of f on, where f may end before. */
struct kv_file *kv_file_longer(struct kv_mm *mm, struct kv_file *f, uint64_t off, uint64_t len, int *err) {
    struct kv_file *n = make(mm, len, err);
    void *p;

    if (n == NULL)
        return NULL;
    n->shared = f->shared;
    n->writable = f->writable;
    p = mremap(kv_at(mm, f->at + off), 0, len, MREMAP_MAYMOVE | MREMAP_FIXED, kv_at(mm, n->at));
    if (p == MAP_FAILED) {
        *err = errno;
        reserve(mm, n->at, len);
        give(mm, n->at, len);
        free(n);
        return NULL;
    }
    madvise(p, len, MADV_DONTFORK);
    return n;
}

/* One reference less; the last one unmaps it, which KVM is told by the host. */
void kv_file_put(struct kv_mm *mm, struct kv_file *f) {
    if (f == NULL || --f->refs > 0)
        return;
    if (reserve(mm, f->at, f->len) != MAP_FAILED)
        give(mm, f->at, f->len);
    free(f);
}
