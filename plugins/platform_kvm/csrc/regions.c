/* The regions of an address space: a sorted array. */
#define _GNU_SOURCE
#include "mm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The index of the first region that ends behind va. */
uint32_t kv_region_index(struct kv_space *s, uint64_t va) {
    uint32_t low = 0, high = s->nregions;

    if (s->last < high && s->regions[s->last].start <= va && va < s->regions[s->last].end)
        return s->last;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (s->regions[middle].end <= va)
            low = middle + 1;
        else
            high = middle;
    }
    s->last = low;
    return low;
}

struct kv_region *kv_region_find(struct kv_space *s, uint64_t va) {
    uint32_t i = kv_region_index(s, va);

    return i < s->nregions && s->regions[i].start <= va ? &s->regions[i] : NULL;
}

static int room_for(struct kv_space *s, uint32_t more) {
    uint32_t room = s->regions_room ? s->regions_room * 2 : 16;
    struct kv_region *p;

    if (s->nregions + more <= s->regions_room)
        return 0;
    if ((p = realloc(s->regions, room * sizeof *p)) == NULL)
        return -ENOMEM;
    s->regions = p;
    s->regions_room = room;
    return 0;
}

static int insert_at(struct kv_space *s, uint32_t i, const struct kv_region *r) {
    if (room_for(s, 1) < 0)
        return -ENOMEM;
    memmove(&s->regions[i + 1], &s->regions[i], (s->nregions - i) * sizeof *r);
    s->regions[i] = *r;
    s->nregions++;
    return 0;
}

static void remove_at(struct kv_space *s, uint32_t i) {
    s->nregions--;
    memmove(&s->regions[i], &s->regions[i + 1], (s->nregions - i) * sizeof *s->regions);
}

/* Add a region where nothing is; takes over the caller's reference to the file. 0 or -ENOMEM. */
int kv_region_insert(struct kv_space *s, const struct kv_region *r) {
    return insert_at(s, kv_region_index(s, r->start), r);
}

/* Make va a border, if it lies within a region. 0 or -ENOMEM. */
int kv_region_split(struct kv_space *s, uint64_t va) {
    struct kv_region *r = kv_region_find(s, va), upper;
    uint32_t i;

    if (r == NULL || r->start == va)
        return 0;
    i = (uint32_t)(r - s->regions);
    upper = *r;
    upper.off += va - r->start;
    upper.start = va;
    if (insert_at(s, i + 1, &upper) < 0)
        return -ENOMEM;
    s->regions[i].end = va;
    if (upper.file != NULL)
        upper.file->refs++;
    return 0;
}

/* Remove what lies in [start, end) from the list; the pages are dropped elsewhere. 0 or -ENOMEM (nothing done). */
int kv_region_cut(struct kv_space *s, uint64_t start, uint64_t end) {
    uint32_t i;

    if (kv_region_split(s, start) < 0 || kv_region_split(s, end) < 0)
        return -ENOMEM;
    i = kv_region_index(s, start);
    while (i < s->nregions && s->regions[i].start < end) {
        kv_file_put(s->mm, s->regions[i].file);
        remove_at(s, i);
    }
    return 0;
}

static int joins(const struct kv_region *a, const struct kv_region *b) {
    return a->end == b->start && a->prot == b->prot && a->shared == b->shared && a->file == b->file &&
           (a->file == NULL || a->off + (a->end - a->start) == b->off);
}

/* Merge neighbours in and around [start, end) that continue each other. */
void kv_region_merge(struct kv_space *s, uint64_t start, uint64_t end) {
    uint32_t i = kv_region_index(s, start > 0 ? start - 1 : 0);

    while (i + 1 < s->nregions && s->regions[i].start <= end) {
        struct kv_region *r = &s->regions[i];

        if (!joins(r, r + 1)) {
            i++;
            continue;
        }
        r->end = r[1].end;
        r->next_fault = 0;
        kv_file_put(s->mm, r[1].file); /* not the last reference: r has one */
        remove_at(s, i + 1);
    }
}

/* Is every page of [start, end) in a region? */
int kv_region_covered(struct kv_space *s, uint64_t start, uint64_t end) {
    for (uint32_t i = kv_region_index(s, start); start < end; i++) {
        if (i >= s->nregions || s->regions[i].start > start)
            return 0;
        start = s->regions[i].end;
    }
    return 1;
}
