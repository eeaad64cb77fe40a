/* Guest memory: frames, page tables, regions.  Nothing here knows of KVM except through two
 * notes: which part of guest-physical memory needs a slot (kv_slot_cover), and that everything KVM
 * remembers of the page tables is to be forgotten (kv_slot_flush).
 *
 * Guest-physical memory is one reserved range of our own address space, the arena: physical address p is
 * our byte arena + p.  What is changed in a page table isn't noticed by KVM where it shadows the tables; see
 * flush.c for what makes it forget.
 */
#ifndef RUNSC_KVM_MM_H
#define RUNSC_KVM_MM_H

#include <pthread.h>
#include <stdint.h>
#include <sys/types.h>

#define KV_PAGE 4096ULL
#define KV_MASK (KV_PAGE - 1)
#define KV_BLOCK (512 * KV_PAGE)       /* what a page table maps; frames are managed in blocks */
#define KV_CHUNK (64ULL << 20)         /* a memory slot */

/* The guest's addresses end here; the last 2 MiB of the lower half are ours (system.h). */
#define KV_TASK_SIZE 0x7fffffe00000ULL
#define KV_MIN_ADDRESS 0x10000ULL

/* Page-table entries.  Bits 9 and 10 are free for software; an entry that is not present keeps its frame when
 * one of them is set (PROT_NONE). */
#define PTE_P 1ULL
#define PTE_W 2ULL
#define PTE_U 4ULL
#define PTE_A 0x20ULL
#define PTE_D 0x40ULL
#define PTE_FRAME 0x200ULL /* a frame of ours, counted */
#define PTE_FILE 0x400ULL  /* a page of a file object */
#define PTE_NX (1ULL << 63)
#define PTE_ADDR 0x000ffffffffff000ULL
#define PTE_HELD (PTE_FRAME | PTE_FILE)
#define PTE_TABLE (PTE_P | PTE_W | PTE_U | PTE_A)

#define KV_READ 1 /* the numbers of PROT_* */
#define KV_WRITE 2
#define KV_EXEC 4
#define KV_FORCE 8 /* write to a private page whatever its protection */

/* What a fault came to. */
enum { KV_FIXED = 0, KV_MAPERR, KV_ACCERR, KV_BUS, KV_NOMEM };

/* Result of calls on something that is gone (outside the range of -errno). */
#define KV_GONE (-1000000)

/* Part of the arena that is in use for a mapping of a file. */
struct kv_file {
    int refs;
    uint64_t at, len; /* in the arena; a region may go on behind it, where the file has no page */
    int writable;     /* our mapping is */
    int shared;
};

struct kv_region {
    uint64_t start, end;
    uint64_t off;         /* of start, in the file object */
    struct kv_file *file; /* NULL: anonymous, private */
    uint64_t next_fault;  /* where a program that goes through the region in order will fault next */
    uint32_t window;      /* how many pages the last fault there mapped */
    uint8_t prot;
    uint8_t shared;
};

struct kv_block {
    uint64_t free[8];  /* a bit for each frame */
    uint64_t dirty[8]; /* to be zeroed when taken */
    uint32_t refs[512];
    uint32_t next, prev; /* lists; 0 ends */
    uint16_t nfree;
    uint8_t used;    /* has been handed out since its memory was given back */
    uint8_t whichlist;
};

struct kv_hole {
    uint64_t at, len;
};

struct kv_mm {
    pthread_mutex_t lock;
    char *arena;
    uint64_t arena_size;
    int vm_fd; /* -1: no KVM behind it */
    int max_slots, nslots;
    uint8_t *covered; /* one byte a chunk */

    /* page tables */
    uint64_t tables_at, tables_end, tables_next;
    uint32_t *tables_free, *tables_old; /* page numbers: ready; still remembered by KVM */
    uint32_t ntables_free, ntables_old, tables_room;
    uint64_t system_table; /* the leaf table of the last 2 MiB, shared by all spaces */

    /* frames */
    uint64_t frames_at, frames_end, frames_next; /* blocks below frames_next have been set up */
    struct kv_block *blocks;                     /* [0] isn't used */
    uint32_t lists[2];                           /* partly free, free */
    uint32_t nfree_used;                         /* free blocks whose memory has not been given back */
    uint64_t frames_held;

    /* files */
    uint64_t files_at, files_end;
    struct kv_hole *holes;
    uint32_t nholes, holes_room;

    /* Odd while a flush takes rights away from the arena for a moment: a guest that hits it tries again. */
    uint32_t flush_seq;
    uint64_t flushes, full_flushes, faults;

    /* For tests: told which part of the arena loses its translations ([0, ~0): all). */
    void (*on_flush)(void *context, uint64_t start, uint64_t end);
    void *context;
};

struct kv_space {
    struct kv_mm *mm;
    uint64_t root; /* physical address of the PML4 */
    struct kv_region *regions;
    uint32_t nregions, regions_room;
    uint32_t last; /* index of the region found last */
    uint64_t resident; /* pages held by entries */
    int threads;       /* that may be running in it */
};

/* mm.c */
int kv_mm_open(struct kv_mm *mm, int vm_fd, int address_bits, int max_slots);
void kv_mm_close(struct kv_mm *mm);
static inline char *kv_at(struct kv_mm *mm, uint64_t gpa) { return mm->arena + gpa; }

static inline void kv_note_flush(struct kv_mm *mm, uint64_t start, uint64_t end) {
    if (mm->on_flush != NULL)
        mm->on_flush(mm->context, start, end);
}

/* slots.c */
int kv_slot_cover(struct kv_mm *mm, uint64_t gpa, uint64_t len);
int kv_slot_flush(struct kv_mm *mm);

/* frames.c */
int kv_frames_open(struct kv_mm *mm);
uint64_t kv_frames_take(struct kv_mm *mm, uint32_t want, uint32_t *got, int zero);
void kv_frame_get(struct kv_mm *mm, uint64_t gpa);
void kv_frame_put(struct kv_mm *mm, uint64_t gpa);
uint32_t kv_frame_refs(struct kv_mm *mm, uint64_t gpa);

/* files.c */
int kv_files_open(struct kv_mm *mm);
struct kv_file *kv_file_map(struct kv_mm *mm, int fd, uint64_t offset, uint64_t len, int shared, int prot,
                            int *err);
struct kv_file *kv_file_longer(struct kv_mm *mm, struct kv_file *f, uint64_t off, uint64_t len, int *err);
void kv_file_put(struct kv_mm *mm, struct kv_file *f);

/* flush.c */
struct kv_flush {
    struct kv_mm *mm;
    uint64_t start, end;
};
void kv_flush_add(struct kv_flush *f, uint64_t gpa);
void kv_flush_end(struct kv_flush *f);

/* tables.c */
struct kv_run {
    uint64_t va;
    uint64_t *pte;
    uint32_t n;
};
uint64_t kv_table_new(struct kv_mm *mm);
void kv_table_old(struct kv_mm *mm, uint64_t gpa);
int kv_root_new(struct kv_space *s);
void kv_root_drop(struct kv_space *s);
uint64_t *kv_pte(struct kv_space *s, uint64_t va, int make);
int kv_walk(struct kv_space *s, uint64_t *va, uint64_t end, struct kv_run *run);

/* The physical address of a page of a region's file, or 0 behind its end. */
static inline uint64_t kv_file_page(const struct kv_region *r, uint64_t va) {
    uint64_t off = r->off + (va - r->start);

    return off < r->file->len ? r->file->at + off : 0;
}

/* regions.c */
struct kv_region *kv_region_find(struct kv_space *s, uint64_t va);
uint32_t kv_region_index(struct kv_space *s, uint64_t va);
int kv_region_insert(struct kv_space *s, const struct kv_region *r);
int kv_region_cut(struct kv_space *s, uint64_t start, uint64_t end);
int kv_region_split(struct kv_space *s, uint64_t va);
void kv_region_merge(struct kv_space *s, uint64_t start, uint64_t end);
int kv_region_covered(struct kv_space *s, uint64_t start, uint64_t end);

/* fault.c */
int kv_fault(struct kv_space *s, uint64_t va, int access, int guest);
uint64_t kv_entry(struct kv_mm *mm, const struct kv_region *r, uint64_t gpa, uint64_t held);
int kv_recheck_files(struct kv_space *s);

/* space.c: all take the lock */
struct kv_space *kv_space_new(struct kv_mm *mm);
struct kv_space *kv_space_fork(struct kv_space *s);
void kv_space_empty(struct kv_space *s);
void kv_space_free(struct kv_space *s);
int kv_space_reset(struct kv_space *s);
int kv_space_map(struct kv_space *s, uint64_t va, uint64_t len, int prot, int flags, int fd, uint64_t offset);
int kv_space_unmap(struct kv_space *s, uint64_t va, uint64_t len);
int kv_space_protect(struct kv_space *s, uint64_t va, uint64_t len, int prot);
int kv_space_move(struct kv_space *s, uint64_t old, uint64_t old_len, uint64_t va, uint64_t len, int keep);
void kv_drop_pages(struct kv_space *s, uint64_t start, uint64_t end, uint64_t which);

/* advice.c */
int kv_space_advise(struct kv_space *s, uint64_t va, uint64_t len, int advice);
int kv_space_sync(struct kv_space *s, uint64_t va, uint64_t len, int flags);
int kv_space_residency(struct kv_space *s, uint64_t va, uint64_t len, unsigned char *vec);

/* access.c */
int64_t kv_space_read(struct kv_space *s, uint64_t va, void *buf, uint64_t len);
int64_t kv_space_write(struct kv_space *s, uint64_t va, const void *buf, uint64_t len);
int64_t kv_space_poke(struct kv_space *s, uint64_t va, const void *buf, uint64_t len);
int kv_space_cmpxchg(struct kv_space *s, uint64_t va, uint32_t expected, uint32_t desired, uint32_t *found);

/* guard.c */
int kv_guard_open(void);
void kv_guard_close(void);
uint64_t kv_guard_copy(void *to, const void *from, uint64_t n);
int kv_guard_cmpxchg(void *at, uint32_t expected, uint32_t desired, uint32_t *found);
static inline int kv_guard_touch(const void *p) {
    char c;
    return kv_guard_copy(&c, p, 1) == 0;
}

#endif
