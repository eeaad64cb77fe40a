/* Page tables of four levels (Intel SDM volume 3, 4.5), in pages of the arena.
 *
 * A table, once it is linked, stays where it is until its space ends: KVM may remember the link.  Its page is
 * used again only after KVM was made to forget everything (kv_slot_flush).
 */
#define _GNU_SOURCE
#include "mm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define OLD_LIMIT 2048 /* so many pages wait for a flush before one is made */
#define MORE 256       /* pages got ready at a time */

static unsigned index_of(uint64_t va, int level) { return va >> (12 + 9 * level) & 511; }

static uint64_t *table(struct kv_mm *mm, uint64_t entry) { return (uint64_t *)kv_at(mm, entry & PTE_ADDR); }

static int more_tables(struct kv_mm *mm) {
    uint64_t at = mm->tables_next, len = MORE * KV_PAGE;
    uint32_t total = (uint32_t)((at - mm->tables_at) / KV_PAGE) + MORE;
    int rc;

    if (at + len > mm->tables_end)
        return -ENOMEM;
    if (total > mm->tables_room) {
        uint32_t room = total * 2;
        uint32_t *p = realloc(mm->tables_free, room * sizeof *p), *q;

        if (p == NULL)
            return -ENOMEM;
        mm->tables_free = p;
        if ((q = realloc(mm->tables_old, room * sizeof *q)) == NULL)
            return -ENOMEM;
        mm->tables_old = q;
        mm->tables_room = room;
    }
    if (mprotect(kv_at(mm, at), len, PROT_READ | PROT_WRITE) < 0)
        return -errno;
    if ((rc = kv_slot_cover(mm, at, len)) < 0)
        return rc;
    for (uint32_t i = MORE; i > 0; i--)
        mm->tables_free[mm->ntables_free++] = (uint32_t)(at / KV_PAGE) + i - 1;
    mm->tables_next = at + len;
    return 0;
}

static void recycle(struct kv_mm *mm) {
    if (kv_slot_flush(mm) < 0)
        return;
    while (mm->ntables_old > 0) {
        uint32_t page = mm->tables_old[--mm->ntables_old];

        memset(kv_at(mm, page * KV_PAGE), 0, KV_PAGE);
        mm->tables_free[mm->ntables_free++] = page;
    }
}

/* An empty table's physical address, or 0. */
uint64_t kv_table_new(struct kv_mm *mm) {
    if (mm->ntables_free == 0 && mm->ntables_old >= OLD_LIMIT)
        recycle(mm);
    if (mm->ntables_free == 0 && more_tables(mm) < 0) {
        recycle(mm);
        if (mm->ntables_free == 0)
            return 0;
    }
    return mm->tables_free[--mm->ntables_free] * KV_PAGE;
}

/* A table of a space that no virtual CPU will use any more. */
void kv_table_old(struct kv_mm *mm, uint64_t gpa) { mm->tables_old[mm->ntables_old++] = (uint32_t)(gpa / KV_PAGE); }

/* A root that maps nothing but our own pages. 0 or -ENOMEM. */
int kv_root_new(struct kv_space *s) {
    struct kv_mm *mm = s->mm;
    uint64_t pages[3];

    for (int i = 0; i < 3; i++) {
        pages[i] = kv_table_new(mm);
        if (pages[i] == 0) {
            while (i-- > 0) /* never linked, never used */
                mm->tables_free[mm->ntables_free++] = (uint32_t)(pages[i] / KV_PAGE);
            return -ENOMEM;
        }
    }
    table(mm, pages[0])[index_of(KV_TASK_SIZE, 3)] = pages[1] | PTE_TABLE;
    table(mm, pages[1])[index_of(KV_TASK_SIZE, 2)] = pages[2] | PTE_TABLE;
    if (mm->system_table != 0)
        table(mm, pages[2])[index_of(KV_TASK_SIZE, 1)] = mm->system_table | PTE_TABLE;
    s->root = pages[0];
    return 0;
}

/* Give up all tables; what their entries held was dropped before. */
void kv_root_drop(struct kv_space *s) {
    struct kv_mm *mm = s->mm;
    uint64_t *l4 = table(mm, s->root);

    for (int i = 0; i < 256; i++) {
        uint64_t *l3;

        if (l4[i] == 0)
            continue;
        l3 = table(mm, l4[i]);
        for (int j = 0; j < 512; j++) {
            uint64_t *l2;

            if (l3[j] == 0)
                continue;
            l2 = table(mm, l3[j]);
            for (int k = 0; k < 512; k++)
                if (l2[k] != 0 && (l2[k] & PTE_ADDR) != mm->system_table)
                    kv_table_old(mm, l2[k] & PTE_ADDR);
            kv_table_old(mm, l3[j] & PTE_ADDR);
        }
        kv_table_old(mm, l4[i] & PTE_ADDR);
    }
    kv_table_old(mm, s->root);
    s->root = 0;
}

/* The entry of a page; NULL if there is no table for it (or, with make, no memory for one). */
uint64_t *kv_pte(struct kv_space *s, uint64_t va, int make) {
    struct kv_mm *mm = s->mm;
    uint64_t *t = table(mm, s->root);

    for (int level = 3; level > 0; level--) {
        uint64_t *entry = &t[index_of(va, level)];

        if (*entry == 0) {
            uint64_t page;

            if (!make || (page = kv_table_new(mm)) == 0)
                return NULL;
            __atomic_store_n(entry, page | PTE_TABLE, __ATOMIC_RELEASE);
        }
        t = table(mm, *entry);
    }
    return &t[index_of(va, 0)];
}

/* The next leaf table with entries in [*va, end): 1 and a run of entries, or 0. *va moves behind it. */
int kv_walk(struct kv_space *s, uint64_t *va, uint64_t end, struct kv_run *run) {
    struct kv_mm *mm = s->mm;

    while (*va < end) {
        uint64_t *t = table(mm, s->root);
        int level;

        for (level = 3; level > 0; level--) {
            uint64_t entry = t[index_of(*va, level)];

            if (entry == 0)
                break;
            t = table(mm, entry);
        }
        if (level > 0) {
            uint64_t span = 1ULL << (12 + 9 * level);

            *va = (*va | (span - 1)) + 1;
            continue;
        }
        run->va = *va;
        run->pte = &t[index_of(*va, 0)];
        run->n = 512 - index_of(*va, 0);
        if (run->n > (end - *va) / KV_PAGE)
            run->n = (uint32_t)((end - *va) / KV_PAGE);
        *va += run->n * KV_PAGE;
        return 1;
    }
    return 0;
}
