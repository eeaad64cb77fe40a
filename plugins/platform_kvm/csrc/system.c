/* Building the pages that every address space has (system.h). */
#define _GNU_SOURCE
#include "engine.h"

#include <errno.h>
#include <string.h>

#define SHARED_PAGES 4
#define OUT 0xe6
#define INT3 0xcc

struct gate {
    uint16_t low, selector;
    uint8_t ist, type;
    uint16_t middle;
    uint32_t high, reserved;
};

static const uint64_t gdt[] = {
    0,
    0,
    0x00af9b000000ffff, /* 0x10 supervisor code, 64 bit */
    0x00cf93000000ffff, /* 0x18 supervisor data */
    0,                  /* 0x20 no 32-bit code */
    0x00cff3000000ffff, /* 0x28 user data */
    0x00affb000000ffff, /* 0x30 user code, 64 bit */
};

static uint64_t *system_entry(struct kv_engine *e, unsigned page) {
    return (uint64_t *)kv_at(&e->mm, e->mm.system_table) + page;
}

static void put_out(char *at) {
    at[0] = (char)OUT;
    at[1] = (char)SYS_PORT;
}

int kv_system_open(struct kv_engine *e) {
    struct kv_mm *mm = &e->mm;
    uint64_t pages[SHARED_PAGES];
    struct gate *idt;
    char *entries;

    mm->system_table = kv_table_new(mm);
    if (mm->system_table == 0)
        return -ENOMEM;
    for (int i = 0; i < SHARED_PAGES; i++) {
        if ((pages[i] = kv_table_new(mm)) == 0)
            return -ENOMEM;
        *system_entry(e, (unsigned)i) =
            pages[i] | PTE_P | PTE_A | PTE_D | (i == 0 ? PTE_U : 0) | (i < 2 ? 0 : PTE_NX);
    }
    memset(kv_at(mm, pages[0]), INT3, KV_PAGE);
    put_out(kv_at(mm, pages[0]));
    entries = kv_at(mm, pages[1]);
    idt = (struct gate *)kv_at(mm, pages[2]);
    memset(entries, INT3, KV_PAGE);
    for (int v = 0; v < VECTORS; v++) {
        uint64_t at = SYS_ENTRIES + (uint64_t)v * ENTRY_SIZE;
        int user = v == 3 || v == 4; /* int3, into */

        put_out(entries + v * ENTRY_SIZE);
        idt[v] = (struct gate){
            .low = (uint16_t)at,
            .selector = KERNEL_CS,
            .ist = 1,
            .type = (uint8_t)(0x8e | (user ? 0x60 : 0)),
            .middle = (uint16_t)(at >> 16),
            .high = (uint32_t)(at >> 32),
        };
    }
    memcpy(kv_at(mm, pages[3]), gdt, sizeof gdt);
    return 0;
}

/* The page of a virtual CPU. */
void kv_system_cpu(struct kv_engine *e, struct kv_vcpu *v) {
    uint64_t page = (uint64_t)(v->page - e->mm.arena);
    uint64_t top;

    v->top = top = SYS_PAGE((uint64_t)(SYS_FIRST_CPU + v->id) + 1);
    *system_entry(e, (unsigned)(SYS_FIRST_CPU + v->id)) = page | PTE_P | PTE_W | PTE_A | PTE_D | PTE_NX;
    memcpy(v->page + 4, &top, 8);  /* rsp0 */
    memcpy(v->page + 36, &top, 8); /* ist1 */
    v->page[102] = TSS_IOMAP;
    memset(v->page + TSS_IOMAP, 0xff, 33);
    if (e->way == KV_WAY_USER)
        v->page[TSS_IOMAP + SYS_PORT / 8] &= (char)~(1 << SYS_PORT % 8);
}

/* Give the stub the rights of e->way, before any guest runs. */
int kv_system_way(struct kv_engine *e) {
    uint64_t *stub = system_entry(e, 0);

    *stub = (*stub & ~PTE_U) | (e->way == KV_WAY_USER ? PTE_U : 0);
    for (int i = 0; i < e->nvcpus; i++)
        kv_system_cpu(e, e->vcpus[i]);
    return kv_slot_flush(&e->mm);
}
