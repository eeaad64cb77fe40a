/* Frames: the pages of anonymous memory, counted, in blocks of 2 MiB that the host may back with huge pages. */
#define _GNU_SOURCE
#include "mm.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

enum { PARTLY = 0, FREE = 1, NONE = 2 };

/* So many free blocks keep their memory, for the next process; what is more is given back. */
#define KEEP_BLOCKS 16
/* So many blocks are got ready at a time: a slot's worth. */
#define CHUNK_BLOCKS (KV_CHUNK / KV_BLOCK)

int kv_frames_open(struct kv_mm *mm) {
    uint64_t blocks = (mm->frames_end - mm->frames_at) / KV_BLOCK + 1;
    void *p = mmap(NULL, blocks * sizeof *mm->blocks, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED)
        return -ENOMEM;
    mm->blocks = p;
    madvise(p, blocks * sizeof *mm->blocks, MADV_DONTFORK);
    mm->frames_next = mm->frames_at;
    return 0;
}

static uint64_t block_at(struct kv_mm *mm, uint32_t b) { return mm->frames_at + (uint64_t)(b - 1) * KV_BLOCK; }

static uint32_t block_of(struct kv_mm *mm, uint64_t gpa) {
    return (uint32_t)((gpa - mm->frames_at) / KV_BLOCK) + 1;
}

static void unlink_block(struct kv_mm *mm, uint32_t b) {
    struct kv_block *k = &mm->blocks[b];

    if (k->whichlist == NONE)
        return;
    if (k->prev != 0)
        mm->blocks[k->prev].next = k->next;
    else
        mm->lists[k->whichlist] = k->next;
    if (k->next != 0)
        mm->blocks[k->next].prev = k->prev;
    if (k->whichlist == FREE && k->used)
        mm->nfree_used--;
    k->whichlist = NONE;
}

static void link_block(struct kv_mm *mm, uint32_t b, int list) {
    struct kv_block *k = &mm->blocks[b];

    k->whichlist = (uint8_t)list;
    k->prev = 0;
    k->next = mm->lists[list];
    if (k->next != 0)
        mm->blocks[k->next].prev = b;
    mm->lists[list] = b;
    if (list == FREE && k->used)
        mm->nfree_used++;
}

static int more_blocks(struct kv_mm *mm) {
    uint64_t at = mm->frames_next, len = CHUNK_BLOCKS * KV_BLOCK;
    int rc;

    if (at % KV_CHUNK != 0) /* the first one: up to the end of its chunk */
        len = KV_CHUNK - at % KV_CHUNK;
    if (at + len > mm->frames_end)
        return -ENOMEM;
    if (mprotect(kv_at(mm, at), len, PROT_READ | PROT_WRITE) < 0)
        return -errno;
    madvise(kv_at(mm, at), len, MADV_HUGEPAGE);
    if ((rc = kv_slot_cover(mm, at, len)) < 0)
        return rc;
    /* from the last to the first, so that the first is taken first */
    for (uint64_t gpa = at + len; gpa > at; gpa -= KV_BLOCK) {
        uint32_t b = block_of(mm, gpa - KV_BLOCK);

        memset(mm->blocks[b].free, 0xff, sizeof mm->blocks[b].free);
        mm->blocks[b].nfree = 512;
        link_block(mm, b, FREE);
    }
    mm->frames_next = at + len;
    return 0;
}

/* The first free frame of a block, and how many free ones follow it, want at most. */
static uint32_t find_run(const struct kv_block *k, uint32_t want, uint32_t *got) {
    uint32_t best = 0, best_len = 0, i = 0;

    while (i < 512) {
        uint64_t word = k->free[i / 64] >> (i % 64);
        uint32_t n = 0;

        if (word == 0) {
            i = (i / 64 + 1) * 64;
            continue;
        }
        i += (uint32_t)__builtin_ctzll(word);
        while (i + n < 512 && n < want && (k->free[(i + n) / 64] >> ((i + n) % 64) & 1))
            n++;
        if (n > best_len) {
            best = i;
            best_len = n;
            if (n == want)
                break;
        }
        i += n;
    }
    *got = best_len;
    return best;
}

/* Take up to want (512 at most) frames that follow each other, each with one reference; zeroed, if asked.
 * The physical address of the first and how many, or 0 where there is no memory. */
uint64_t kv_frames_take(struct kv_mm *mm, uint32_t want, uint32_t *got, int zero) {
    struct kv_block *k;
    uint32_t b, first;
    uint64_t gpa;

    /* A whole block, or many frames, from a free one; few from what is left of others. */
    b = want >= 256 ? 0 : mm->lists[PARTLY];
    if (b == 0)
        b = mm->lists[FREE];
    if (b == 0 && more_blocks(mm) == 0)
        b = mm->lists[FREE];
    if (b == 0)
        b = mm->lists[PARTLY];
    if (b == 0)
        return 0;
    k = &mm->blocks[b];
    first = find_run(k, want, got);
    gpa = block_at(mm, b) + first * KV_PAGE;
    unlink_block(mm, b);
    k->used = 1;
    for (uint32_t i = first; i < first + *got; i++) {
        uint64_t bit = 1ULL << (i % 64);

        k->free[i / 64] &= ~bit;
        k->refs[i] = 1;
        if (zero && (k->dirty[i / 64] & bit))
            memset(kv_at(mm, block_at(mm, b) + i * KV_PAGE), 0, KV_PAGE);
        k->dirty[i / 64] &= ~bit;
    }
    k->nfree = (uint16_t)(k->nfree - *got);
    if (k->nfree > 0)
        link_block(mm, b, PARTLY);
    mm->frames_held += *got;
    return gpa;
}

static uint32_t *refs_of(struct kv_mm *mm, uint64_t gpa) {
    return &mm->blocks[block_of(mm, gpa)].refs[(gpa - mm->frames_at) / KV_PAGE % 512];
}

void kv_frame_get(struct kv_mm *mm, uint64_t gpa) { ++*refs_of(mm, gpa); }

uint32_t kv_frame_refs(struct kv_mm *mm, uint64_t gpa) { return *refs_of(mm, gpa); }

static void give_back(struct kv_mm *mm, uint32_t b) {
    struct kv_block *k = &mm->blocks[b];

    madvise(kv_at(mm, block_at(mm, b)), KV_BLOCK, MADV_DONTNEED);
    memset(k->dirty, 0, sizeof k->dirty);
    k->used = 0;
}

/* One reference less. A frame that is free must not be reachable for any guest (kv_flush_end). */
void kv_frame_put(struct kv_mm *mm, uint64_t gpa) {
    uint32_t b = block_of(mm, gpa), i = (uint32_t)((gpa - mm->frames_at) / KV_PAGE % 512);
    struct kv_block *k = &mm->blocks[b];

    if (--k->refs[i] > 0)
        return;
    mm->frames_held--;
    k->free[i / 64] |= 1ULL << (i % 64);
    k->dirty[i / 64] |= 1ULL << (i % 64);
    if (++k->nfree == 512) {
        unlink_block(mm, b);
        if (mm->nfree_used >= KEEP_BLOCKS)
            give_back(mm, b);
        link_block(mm, b, FREE);
    } else if (k->whichlist == NONE) {
        link_block(mm, b, PARTLY);
    }
}
