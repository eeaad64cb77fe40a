/* Drives the memory part of the KVM engine without KVM, from a list of operations on stdin.
 *
 * The guest's processor is played here: it walks the page tables as KVM does, and like KVM (and like a TLB) it
 * remembers what it found, links of upper tables and entries, until it is told to forget.  So a change that
 * lacks its flush shows as an access that should have failed, or that reaches the wrong page.
 *
 * An operation is eight 64-bit words: what, space, then its arguments.  Its answer is two words: result, value.
 */
#define _GNU_SOURCE
#include "mm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SPACES 6
#define FILES 3
#define REMEMBERED (1 << 16)

enum {
    MAP = 1, UNMAP, PROTECT, MOVE, FORK, RELEASE, RESET, ADVISE, RESIDENCY, /* */
    READ, WRITE, POKE, CMPXCHG, TRUNCATE, /* */
    LOAD, STORE, FETCH, THREADS,
};

struct memo {
    uint64_t key, value; /* key 0: free */
};

static struct kv_mm mm;
static struct kv_space *spaces[SPACES];
static int files[FILES], read_only[FILES];
static struct memo links[REMEMBERED], entries[REMEMBERED];

static struct memo *find(struct memo *memos, uint64_t key) {
    uint64_t i = key * 0x9e3779b97f4a7c15ULL >> 48;

    while (memos[i].key != 0 && memos[i].key != key)
        i = (i + 1) % REMEMBERED;
    return &memos[i];
}

static void on_flush(void *context, uint64_t start, uint64_t end) {
    (void)context;
    if (start == 0) {
        memset(links, 0, sizeof links);
        memset(entries, 0, sizeof entries);
        return;
    }
    for (int i = 0; i < REMEMBERED; i++)
        if (entries[i].key != 0 && (entries[i].value & PTE_ADDR) >= start && (entries[i].value & PTE_ADDR) < end)
            entries[i].value = 0; /* the place stays: others may lie behind it */
}

/* The entry of va as the processor sees it; *slot: where it is remembered. NULL: there is no table. */
static uint64_t *walk(struct kv_space *s, uint64_t va, struct memo **slot) {
    struct memo *link = find(links, (s->root | 1) + (va >> 21 << 48) + (va >> 21));
    uint64_t *pte, table;

    if (link->key == 0) {
        if ((pte = kv_pte(s, va, 0)) == NULL)
            return NULL;
        link->key = (s->root | 1) + (va >> 21 << 48) + (va >> 21);
        link->value = (uint64_t)((char *)pte - mm.arena) & ~KV_MASK;
    }
    table = link->value;
    pte = (uint64_t *)kv_at(&mm, table) + (va >> 12 & 511);
    *slot = find(entries, (uint64_t)((char *)pte - mm.arena));
    if ((*slot)->key == 0) {
        (*slot)->key = (uint64_t)((char *)pte - mm.arena);
        (*slot)->value = 0;
    }
    return pte;
}

static int suffices(uint64_t e, int access) {
    return (e & PTE_P) && (e & PTE_U) && (!(access & KV_WRITE) || (e & PTE_W)) &&
           (!(access & KV_EXEC) || !(e & PTE_NX));
}

/* An access by the guest: KV_FIXED, or why it failed. */
static int guest(struct kv_space *s, uint64_t va, int access, uint64_t *value) {
    for (int tries = 0; tries < 10; tries++) {
        struct memo *slot;
        uint64_t *pte = walk(s, va, &slot);
        char *at;
        int rc;

        if (pte != NULL && !suffices(slot->value, access)) /* the fault makes it look again */
            slot->value = suffices(*pte, access) ? *pte : 0;
        if (pte == NULL || !suffices(slot->value, access)) {
            rc = kv_fault(s, va, access, 1);
            if (rc != KV_FIXED)
                return rc;
            continue;
        }
        at = kv_at(&mm, (slot->value & PTE_ADDR) + (va & KV_MASK));
        if (access & KV_WRITE ? kv_guard_copy(at, value, 8) == 0 : kv_guard_copy(value, at, 8) == 0)
            return KV_FIXED;
        /* The host has no page there: it dropped its translations, and KVM reports no address. */
        slot->value = 0;
        if (kv_recheck_files(s) == 0)
            return 90;
    }
    return 91;
}

static int64_t run(const uint64_t *op, uint64_t *value) {
    struct kv_space *s = op[1] < SPACES ? spaces[op[1]] : NULL;
    unsigned char vec[512];
    uint32_t found;
    int64_t rc;

    if (op[0] == TRUNCATE)
        return ftruncate(files[op[1]], (off_t)op[2]) < 0 ? -errno : 0;
    if (s == NULL)
        return -99;
    switch (op[0]) {
    case MAP:
        return kv_space_map(s, op[2], op[3], (int)op[4], (int)op[5],
                            op[6] == 0 ? -1 : op[6] <= FILES ? files[op[6] - 1] : read_only[op[6] - FILES - 1], op[7]);
    case UNMAP:
        return kv_space_unmap(s, op[2], op[3]);
    case PROTECT:
        return kv_space_protect(s, op[2], op[3], (int)op[4]);
    case MOVE:
        return kv_space_move(s, op[2], op[3], op[4], op[5], (int)op[6]);
    case FORK:
        if (spaces[op[2]] != NULL)
            return -98;
        spaces[op[2]] = kv_space_fork(s);
        return spaces[op[2]] != NULL ? 0 : -ENOMEM;
    case RELEASE:
        kv_space_empty(s);
        kv_space_free(s);
        spaces[op[1]] = NULL;
        return 0;
    case RESET:
        return kv_space_reset(s);
    case ADVISE:
        return kv_space_advise(s, op[2], op[3], (int)op[4]);
    case RESIDENCY:
        rc = kv_space_residency(s, op[2], op[3], vec);
        for (uint64_t i = 0; rc == 0 && i < op[3] / KV_PAGE && i < 64; i++)
            *value |= (uint64_t)(vec[i] & 1) << i;
        return rc;
    case READ:
        return kv_space_read(s, op[2], value, 8);
    case WRITE:
        return kv_space_write(s, op[2], &op[3], 8);
    case POKE:
        return kv_space_poke(s, op[2], &op[3], 8);
    case CMPXCHG:
        rc = kv_space_cmpxchg(s, op[2], (uint32_t)op[3], (uint32_t)op[4], &found);
        *value = rc == 0 ? found : 0;
        return rc;
    case LOAD:
        return guest(s, op[2], KV_READ, value);
    case STORE:
        *value = op[3];
        return guest(s, op[2], KV_WRITE, value);
    case FETCH:
        return guest(s, op[2], KV_EXEC, value);
    case THREADS:
        s->threads = (int)op[2];
        return 0;
    default:
        return -97;
    }
}

static void answer(int64_t result, uint64_t value) {
    fwrite(&result, sizeof result, 1, stdout);
    fwrite(&value, sizeof value, 1, stdout);
}

/* What every space holds must be what its tables show, and its frames are counted once for each. */
static int check(void) {
    for (int i = 0; i < SPACES; i++) {
        uint64_t va = KV_MIN_ADDRESS, held = 0;
        struct kv_run r;

        if (spaces[i] == NULL)
            continue;
        while (kv_walk(spaces[i], &va, KV_TASK_SIZE, &r)) {
            for (uint32_t k = 0; k < r.n; k++) {
                uint64_t e = r.pte[k];
                struct kv_region *region = kv_region_find(spaces[i], r.va + k * KV_PAGE);

                if (e == 0)
                    continue;
                held++;
                if (region == NULL || !(e & PTE_HELD) || (e & PTE_W && !(region->prot & KV_WRITE)))
                    return 1;
                if ((e & PTE_FRAME) && (e & PTE_W) && kv_frame_refs(&mm, e & PTE_ADDR) != 1)
                    return 2;
            }
        }
        if (held != spaces[i]->resident)
            return 3;
        for (uint32_t k = 1; k < spaces[i]->nregions; k++)
            if (spaces[i]->regions[k - 1].end > spaces[i]->regions[k].start)
                return 4;
    }
    return 0;
}

int main(void) {
    uint64_t op[8];

    if (kv_guard_open() < 0 || kv_mm_open(&mm, -1, 40, 1000) < 0)
        return 2;
    mm.on_flush = on_flush;
    for (int i = 0; i < FILES; i++) {
        char path[64];

        files[i] = memfd_create("file", 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", files[i]);
        read_only[i] = open(path, O_RDONLY);
        if (files[i] < 0 || read_only[i] < 0)
            return 2;
    }
    spaces[0] = kv_space_new(&mm);
    while (fread(op, sizeof op, 1, stdin) == 1) {
        uint64_t value = 0;
        int64_t result = run(op, &value);

        answer(result, value);
        answer(check(), 0);
    }
    for (int i = 0; i < SPACES; i++) {
        if (spaces[i] != NULL) {
            kv_space_empty(spaces[i]);
            kv_space_free(spaces[i]);
        }
    }
    answer((int64_t)mm.frames_held, mm.nholes);
    answer(mm.nholes == 1 ? (int64_t)(mm.files_end - mm.files_at - mm.holes[0].len) : -1,
           (mm.tables_next - mm.tables_at) / KV_PAGE - mm.ntables_free - mm.ntables_old);
    kv_mm_close(&mm);
    kv_guard_close();
    return 0;
}
