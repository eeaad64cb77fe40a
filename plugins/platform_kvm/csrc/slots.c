/* Memory slots: which parts of the arena KVM knows. */
#define _GNU_SOURCE
#include "mm.h"

#include <errno.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

/* Slot 0 comes and goes: taking a slot away makes KVM forget all it has made of the page tables. */
#define DUMMY_SLOT 0
#define DUMMY_AT 0x1000ULL

static int set_slot(struct kv_mm *mm, int slot, uint64_t gpa, uint64_t len, void *host) {
    struct kvm_userspace_memory_region region = {
        .slot = (uint32_t)slot,
        .guest_phys_addr = gpa,
        .memory_size = len,
        .userspace_addr = (uint64_t)(uintptr_t)host,
    };

    return ioctl(mm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0 ? -errno : 0;
}

/* Make sure that [gpa, gpa + len) lies in slots. 0 or -errno. */
int kv_slot_cover(struct kv_mm *mm, uint64_t gpa, uint64_t len) {
    uint64_t chunk = gpa / KV_CHUNK, last = (gpa + len - 1) / KV_CHUNK;

    for (; chunk <= last; chunk++) {
        int rc = 0;

        if (mm->covered[chunk])
            continue;
        if (mm->nslots + 2 > mm->max_slots)
            return -ENOMEM;
        if (mm->vm_fd >= 0)
            rc = set_slot(mm, mm->nslots + 1, chunk * KV_CHUNK, KV_CHUNK, kv_at(mm, chunk * KV_CHUNK));
        if (rc < 0)
            return rc;
        mm->nslots++;
        mm->covered[chunk] = 1;
    }
    return 0;
}

/* Make KVM forget everything it derived from our page tables, on all virtual CPUs. 0 or -errno. */
int kv_slot_flush(struct kv_mm *mm) {
    int rc;

    mm->full_flushes++;
    kv_note_flush(mm, 0, ~0ULL);
    if (mm->vm_fd < 0)
        return 0;
    /* Its memory is never looked at: no page table leads there. */
    rc = set_slot(mm, DUMMY_SLOT, DUMMY_AT, KV_PAGE, kv_at(mm, mm->tables_at));
    return rc < 0 ? rc : set_slot(mm, DUMMY_SLOT, DUMMY_AT, 0, kv_at(mm, mm->tables_at));
}
