/* The arena: a reserved range of our address space that is the guest's physical memory. */
#define _GNU_SOURCE
#include "mm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Below 4 GiB lie an Intel processor's identity map and the APIC's page: nothing of ours goes there. */
#define LOW_END (4ULL << 30)
#define SMALLEST (64ULL << 30)
#define LARGEST_BITS 44

int kv_mm_open(struct kv_mm *mm, int vm_fd, int address_bits, int max_slots) {
    uint64_t size = 1ULL << (address_bits > LARGEST_BITS ? LARGEST_BITS : address_bits);
    int err;

    memset(mm, 0, sizeof *mm);
    pthread_mutex_init(&mm->lock, NULL);
    mm->vm_fd = vm_fd;
    mm->max_slots = max_slots;
    for (;; size /= 4) {
        mm->arena = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (mm->arena != MAP_FAILED)
            break;
        if (size / 4 < SMALLEST) {
            mm->arena = NULL;
            return -errno;
        }
    }
    mm->arena_size = size;
    /* A forked process has no use for it, and must not make copies of every page of it. */
    madvise(mm->arena, size, MADV_DONTFORK);
    mm->tables_at = mm->tables_next = LOW_END;
    mm->tables_end = mm->frames_at = LOW_END + size / 64;
    mm->frames_end = mm->files_at = size / 2;
    mm->files_end = size;
    mm->covered = mmap(NULL, size / KV_CHUNK, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mm->covered == MAP_FAILED) {
        mm->covered = NULL;
        err = -ENOMEM;
    } else if ((err = kv_frames_open(mm)) == 0) {
        err = kv_files_open(mm);
    }
    if (err != 0)
        kv_mm_close(mm);
    return err;
}

void kv_mm_close(struct kv_mm *mm) {
    uint64_t blocks = (mm->frames_end - mm->frames_at) / KV_BLOCK + 1;

    if (mm->arena != NULL)
        munmap(mm->arena, mm->arena_size);
    if (mm->covered != NULL)
        munmap(mm->covered, mm->arena_size / KV_CHUNK);
    if (mm->blocks != NULL)
        munmap(mm->blocks, blocks * sizeof *mm->blocks);
    free(mm->tables_free);
    free(mm->tables_old);
    free(mm->holes);
    mm->arena = NULL;
    mm->covered = NULL;
    mm->blocks = NULL;
    mm->tables_free = mm->tables_old = NULL;
    mm->holes = NULL;
}
