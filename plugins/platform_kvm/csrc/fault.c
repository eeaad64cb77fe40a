/* Faults: filling in page-table entries on demand. */
#define _GNU_SOURCE
#include "mm.h"

#include <string.h>

/* An exit costs as much as some fifteen entries that KVM finds made: so many are made at a time. */
#define AROUND_ANON 16
#define AROUND_FILE 64
#define AROUND_MOST 512

/* The entry of a page held by region r: its rights are the region's, less what copy-on-write takes. */
uint64_t kv_entry(struct kv_mm *mm, const struct kv_region *r, uint64_t gpa, uint64_t held) {
    uint64_t e = gpa | held;

    if (r->prot == 0)
        return e;
    e |= PTE_P | PTE_U | PTE_A | PTE_D;
    if (!(r->prot & KV_EXEC))
        e |= PTE_NX;
    if (r->prot & KV_WRITE) {
        if (held == PTE_FRAME ? kv_frame_refs(mm, gpa) == 1 : r->shared && r->file->writable)
            e |= PTE_W;
    }
    return e;
}

static void set(struct kv_space *s, uint64_t *pte, uint64_t e) {
    if (*pte == 0)
        s->resident++;
    __atomic_store_n(pte, e, __ATOMIC_RELEASE);
}

/* What an entry led to is no longer what it leads to. The thread that faulted notices by itself. */
static void changed(struct kv_space *s, uint64_t e, int guest) {
    struct kv_flush flush = {.mm = s->mm};

    if (!(e & PTE_P) || (guest && s->threads <= 1))
        return;
    kv_flush_add(&flush, e & PTE_ADDR);
    kv_flush_end(&flush);
}

/* A page of a file, as it is. */
static int share_page(struct kv_space *s, struct kv_region *r, uint64_t va, uint64_t *pte) {
    uint64_t gpa = kv_file_page(r, va);

    if (gpa == 0 || !kv_guard_touch(kv_at(s->mm, gpa)))
        return KV_BUS; /* behind the end of the file, or it can't be read */
    if (kv_slot_cover(s->mm, gpa, KV_PAGE) < 0)
        return KV_NOMEM;
    set(s, pte, kv_entry(s->mm, r, gpa, PTE_FILE));
    return KV_FIXED;
}

/* A page of a private mapping that is to be written: a frame that is nobody else's. */
static int own_page(struct kv_space *s, struct kv_region *r, uint64_t va, uint64_t *pte, int guest) {
    struct kv_mm *mm = s->mm;
    uint64_t e = *pte, old = e & PTE_ADDR, gpa;
    uint32_t got;

    if ((e & PTE_FRAME) && kv_frame_refs(mm, old) == 1) {
        set(s, pte, kv_entry(mm, r, old, PTE_FRAME));
        return KV_FIXED;
    }
    if (!(e & PTE_FRAME) && r->file != NULL && (old = kv_file_page(r, va)) == 0)
        return KV_BUS;
    gpa = kv_frames_take(mm, 1, &got, e == 0 && r->file == NULL);
    if (gpa == 0)
        return KV_NOMEM;
    if (e & PTE_FRAME) {
        memcpy(kv_at(mm, gpa), kv_at(mm, old), KV_PAGE);
    } else if (r->file != NULL && kv_guard_copy(kv_at(mm, gpa), kv_at(mm, old), KV_PAGE) != 0) {
        kv_frame_put(mm, gpa);
        return KV_BUS;
    }
    set(s, pte, kv_entry(mm, r, gpa, PTE_FRAME));
    changed(s, e, guest);
    if (e & PTE_FRAME)
        kv_frame_put(mm, old);
    return KV_FIXED;
}

/* Frames for the empty entries among n; the one at index must get one. */
static int fill(struct kv_space *s, struct kv_region *r, uint64_t *pte, uint32_t n, uint32_t index) {
    struct kv_mm *mm = s->mm;

    for (uint32_t i = 0; i < n;) {
        uint32_t run = 0, got;
        uint64_t gpa;

        while (i + run < n && pte[i + run] == 0)
            run++;
        if (run == 0) {
            i++;
            continue;
        }
        gpa = kv_frames_take(mm, run, &got, 1);
        if (gpa == 0)
            return pte[index] != 0 ? KV_FIXED : KV_NOMEM;
        for (uint32_t k = 0; k < got; k++)
            set(s, &pte[i + k], kv_entry(mm, r, gpa + k * KV_PAGE, PTE_FRAME));
        i += got;
    }
    return KV_FIXED;
}

/* The part of [low, high) that is in the region and in the page table of va. */
static void clip(const struct kv_region *r, uint64_t va, uint64_t *low, uint64_t *high) {
    uint64_t block = va & ~(KV_BLOCK - 1);

    if (*low < r->start)
        *low = r->start;
    if (*low < block)
        *low = block;
    if (*high > r->end)
        *high = r->end;
    if (*high > block + KV_BLOCK)
        *high = block + KV_BLOCK;
}

static int around_anon(struct kv_space *s, struct kv_region *r, uint64_t va, uint64_t *pte) {
    uint32_t window = AROUND_ANON;
    uint64_t low = va & ~(AROUND_ANON * KV_PAGE - 1), high;

    if (va == r->next_fault && r->window > 0) { /* it goes through it in order */
        window = r->window * 2 > AROUND_MOST ? AROUND_MOST : r->window * 2;
        low = va;
    }
    high = low + window * KV_PAGE;
    clip(r, va, &low, &high);
    r->window = window;
    r->next_fault = high;
    return fill(s, r, pte - (va - low) / KV_PAGE, (uint32_t)((high - low) / KV_PAGE),
                (uint32_t)((va - low) / KV_PAGE));
}

static void around_file(struct kv_space *s, struct kv_region *r, uint64_t va, uint64_t *pte) {
    uint64_t low = va & ~(AROUND_FILE * KV_PAGE - 1), high = low + AROUND_FILE * KV_PAGE;

    clip(r, va, &low, &high);
    for (uint64_t at = low; at < high; at += KV_PAGE) {
        uint64_t *p = pte - (va - low) / KV_PAGE + (at - low) / KV_PAGE;

        if (*p == 0 && share_page(s, r, at, p) != KV_FIXED)
            break;
    }
}

/* Pages that became ours alone again may be written without asking. */
static void around_owned(struct kv_space *s, struct kv_region *r, uint64_t va, uint64_t *pte) {
    uint64_t low = va & ~(AROUND_ANON * KV_PAGE - 1), high = low + AROUND_ANON * KV_PAGE;

    clip(r, va, &low, &high);
    for (uint64_t at = low; at < high; at += KV_PAGE) {
        uint64_t *p = pte - (va - low) / KV_PAGE + (at - low) / KV_PAGE;

        if ((*p & (PTE_P | PTE_W | PTE_FRAME)) == (PTE_P | PTE_FRAME))
            *p = kv_entry(s->mm, r, *p & PTE_ADDR, PTE_FRAME);
    }
}

static int allowed(const struct kv_region *r, int access) {
    if (access & KV_FORCE)
        return r->shared ? (r->prot & KV_WRITE) != 0 : 1;
    if (access & KV_WRITE)
        return (r->prot & KV_WRITE) != 0;
    if (access & KV_EXEC)
        return (r->prot & KV_EXEC) != 0;
    return r->prot != 0; /* x86 can't do "written or executed, not read" */
}

/* Make the page at va accessible in this way. guest: a virtual CPU faulted there (else we want it, and
 * nothing but it). The lock is held. */
int kv_fault(struct kv_space *s, uint64_t va, int access, int guest) {
    struct kv_region *r = kv_region_find(s, va);
    uint64_t *pte, e;
    int rc;

    va &= ~KV_MASK;
    s->mm->faults++;
    if (r == NULL)
        return KV_MAPERR;
    if (!allowed(r, access))
        return KV_ACCERR;
    if ((pte = kv_pte(s, va, 1)) == NULL)
        return KV_NOMEM;
    e = *pte;
    if (access & KV_WRITE && !r->shared) {
        if (e == 0 && r->file == NULL && guest)
            return around_anon(s, r, va, pte);
        if ((e & PTE_W) || ((rc = own_page(s, r, va, pte, guest)) == KV_FIXED && !guest))
            return KV_FIXED;
        if (rc == KV_FIXED)
            around_owned(s, r, va, pte);
        return rc;
    }
    if (e != 0) {
        /* Another thread was faster; or the file has become shorter, which only a look can tell. */
        return e & PTE_FILE && !kv_guard_touch(kv_at(s->mm, e & PTE_ADDR)) ? KV_BUS : KV_FIXED;
    }
    if (r->file == NULL)
        return guest ? around_anon(s, r, va, pte) : fill(s, r, pte, 1, 0);
    rc = share_page(s, r, va, pte);
    if (rc == KV_FIXED && guest)
        around_file(s, r, va, pte);
    return rc;
}

/* KVM could not reach a page and does not say which: clear the entries of pages that files have no more.
 * How many. The lock is held. */
int kv_recheck_files(struct kv_space *s) {
    int found = 0;

    for (uint32_t i = 0; i < s->nregions; i++) {
        struct kv_region *r = &s->regions[i];
        uint64_t va = r->start;
        struct kv_run run;

        if (r->file == NULL)
            continue;
        while (kv_walk(s, &va, r->end, &run)) {
            for (uint32_t k = 0; k < run.n; k++) {
                if ((run.pte[k] & (PTE_FILE | PTE_P)) != (PTE_FILE | PTE_P) ||
                    kv_guard_touch(kv_at(s->mm, run.pte[k] & PTE_ADDR)))
                    continue;
                run.pte[k] = 0; /* the host has dropped its translations */
                s->resident--;
                found++;
            }
        }
    }
    return found;
}
