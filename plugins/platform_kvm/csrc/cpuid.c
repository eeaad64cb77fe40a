/* What the guest is told of its processor, and which registers that implies. */
#define _GNU_SOURCE
#include "engine.h"

#include <cpuid.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define LEAVES 256

/* x87, SSE, AVX, AVX-512 */
#define XCR0_WANTED 0xe7ULL

/* Leaf 1, ecx: DTES64 MONITOR DS-CPL VMX SMX EST TM2 xTPR PDCM PCID DCA x2APIC TSC-deadline OSXSAVE */
#define HIDE_1_ECX (1U << 2 | 1U << 3 | 1U << 4 | 1U << 5 | 1U << 6 | 1U << 7 | 1U << 8 | 1U << 14 | 1U << 15 | \
                    1U << 17 | 1U << 18 | 1U << 21 | 1U << 24)
#define HIDE_7_EBX (1U << 1 | 1U << 2 | 1U << 4 | 1U << 10 | 1U << 11 | 1U << 14) /* TSC_ADJUST SGX HLE INVPCID RTM MPX */
#define HIDE_7_ECX (1U << 3 | 1U << 4 | 1U << 16 | 1U << 30)              /* PKU OSPKE LA57 SGX_LC */
#define HIDE_7_EDX (1U << 22 | 1U << 24 | 1U << 25)                        /* AMX */
#define HIDE_EXT_ECX (1U << 2 | 1U << 10 | 1U << 15)                       /* SVM IBS LWP */

static struct kvm_cpuid_entry2 *leaf(struct kv_engine *e, uint32_t function, uint32_t index) {
    for (uint32_t i = 0; i < e->cpuid->nent; i++)
        if (e->cpuid->entries[i].function == function && e->cpuid->entries[i].index == index)
            return &e->cpuid->entries[i];
    return NULL;
}

int kv_address_bits(struct kv_engine *e) {
    struct kvm_cpuid_entry2 *sizes = leaf(e, 0x80000008, 0);

    return sizes != NULL && (sizes->eax & 0xff) >= 36 ? (int)(sizes->eax & 0xff) : 36;
}

int kv_cpuid_open(struct kv_engine *e) {
    struct kvm_cpuid_entry2 *l;
    int size;

    e->cpuid = calloc(1, sizeof *e->cpuid + LEAVES * sizeof e->cpuid->entries[0]);
    if (e->cpuid == NULL)
        return -ENOMEM;
    e->cpuid->nent = LEAVES;
    if (ioctl(e->kvm_fd, KVM_GET_SUPPORTED_CPUID, e->cpuid) < 0)
        return -errno;
    for (uint32_t i = 0; i < e->cpuid->nent; i++) {
        l = &e->cpuid->entries[i];
        if (l->function == 1) {
            l->ecx &= ~HIDE_1_ECX;
            l->ecx |= 1U << 27 | 1U << 31; /* OSXSAVE, hypervisor */
        } else if (l->function == 7 && l->index == 0) {
            l->ebx &= ~HIDE_7_EBX;
            l->ecx &= ~HIDE_7_ECX;
            l->edx &= ~HIDE_7_EDX;
        } else if (l->function == 0x80000001) {
            l->ecx &= ~HIDE_EXT_ECX;
        } else if (l->function == 0x40000001) {
            l->eax = l->edx = 0; /* no paravirtual devices */
        }
    }
    l = leaf(e, 0xd, 0);
    e->xcr0 = l != NULL ? (l->eax & XCR0_WANTED) : 3;
    if ((e->xcr0 & 0xe0) != 0xe0)
        e->xcr0 &= ~0xe0ULL;
    e->xsave_size = 576;
    for (uint32_t i = 2; i < 8; i++) {
        unsigned a, b, c, d;

        if (!(e->xcr0 >> i & 1))
            continue;
        __cpuid_count(0xd, i, a, b, c, d);
        if (b + a > e->xsave_size)
            e->xsave_size = b + a;
    }
    size = ioctl(e->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
    e->xsave_buffer = size > (int)sizeof(struct kvm_xsave) ? (uint32_t)size : sizeof(struct kvm_xsave);
    return 0;
}
