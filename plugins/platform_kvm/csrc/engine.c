/* Making a virtual machine, and taking it down. */
#define _GNU_SOURCE
#include "engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define IDENTITY_MAP 0xfffbc000ULL
#define TSS_ADDRESS 0xfffbd000ULL

static const struct {
    int number;
    const char *name;
} needed[] = {
    {KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
    {KVM_CAP_SYNC_REGS, "KVM_CAP_SYNC_REGS"},
    {KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
    {KVM_CAP_XSAVE, "KVM_CAP_XSAVE"},
    {KVM_CAP_XCRS, "KVM_CAP_XCRS"},
    {KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS"},
    {KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID"},
};

/* KVM's interface version, or -errno. */
int kv_api_version(int kvm_fd) {
    int version = ioctl(kvm_fd, KVM_GET_API_VERSION, 0);

    return version < 0 ? -errno : version;
}

/* The name of a capability that is needed and isn't there, or NULL. */
const char *kv_missing(int kvm_fd) {
    for (unsigned i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        int answer = ioctl(kvm_fd, KVM_CHECK_EXTENSION, needed[i].number);

        if (answer <= 0)
            return needed[i].name;
        if (needed[i].number == KVM_CAP_SYNC_REGS &&
            (answer & (KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS)) != (KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS))
            return "KVM_CAP_SYNC_REGS (REGS, SREGS)";
    }
    return NULL;
}

static int make_clean_fpu(struct kv_engine *e) {
    struct {
        char head[28];
        uint32_t mxcsr_mask;
        char rest[480];
    } __attribute__((aligned(16))) ours;
    uint16_t fcw = 0x37f;
    uint32_t mxcsr = 0x1f80, mask;

    if ((e->clean_fpu = calloc(1, e->xsave_buffer)) == NULL)
        return -ENOMEM;
    memset(&ours, 0, sizeof ours);
    __asm__ volatile("fxsave %0" : "=m"(ours));
    mask = ours.mxcsr_mask ? ours.mxcsr_mask : 0xffbf;
    memcpy(e->clean_fpu, &fcw, sizeof fcw);
    memcpy(e->clean_fpu + 24, &mxcsr, sizeof mxcsr);
    memcpy(e->clean_fpu + 28, &mask, sizeof mask);
    memcpy(e->clean_fpu + 464, &e->xcr0, 8);
    return 0;
}

static int open_all(struct kv_engine *e) {
    uint64_t identity = IDENTITY_MAP;
    int slots, rc;

    if ((e->vm_fd = ioctl(e->kvm_fd, KVM_CREATE_VM, 0)) < 0)
        return -errno;
    /* For Intel processors that cannot run in real mode; others don't know them. */
    ioctl(e->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);
    ioctl(e->vm_fd, KVM_SET_TSS_ADDR, TSS_ADDRESS);
    if ((e->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
        return -errno;
    if ((rc = kv_cpuid_open(e)) < 0)
        return rc;
    slots = ioctl(e->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS);
    if ((rc = kv_mm_open(&e->mm, e->vm_fd, kv_address_bits(e), slots > 0 ? slots : 32)) < 0 ||
        (rc = make_clean_fpu(e)) < 0 || (rc = kv_system_open(e)) < 0)
        return rc;
    return kv_vcpus_open(e);
}

/* A virtual machine without guests. Takes kvm_fd over, whatever the outcome. */
struct kv_engine *kv_open(int kvm_fd, int *err) {
    struct kv_engine *e = calloc(1, sizeof *e);
    int rc;

    if (e == NULL) {
        close(kvm_fd);
        *err = -ENOMEM;
        return NULL;
    }
    e->kvm_fd = kvm_fd;
    e->vm_fd = e->event_fd = -1;
    e->owner = getpid();
    e->cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
    e->task_size = KV_TASK_SIZE;
    e->min_address = KV_MIN_ADDRESS;
    pthread_mutex_init(&e->queue_lock, NULL);
    pthread_cond_init(&e->parked, NULL);
    rc = kv_guard_open();
    e->guarded = rc == 0;
    if (rc < 0 || (rc = open_all(e)) < 0) {
        *err = rc;
        kv_free(e);
        return NULL;
    }
    return e;
}

/* Choose how system calls reach us, before any guest runs. */
int kv_set_way(struct kv_engine *e, int way) {
    e->way = way;
    return kv_system_way(e);
}

void kv_close(struct kv_engine *e) {
    if (e->closed)
        return;
    if (e->owner == getpid())
        while (e->processes != NULL)
            kv_process_release(e, e->processes);
    e->closed = 1;
    kv_vcpus_close(e);
    if (e->event_fd >= 0)
        close(e->event_fd);
    if (e->vm_fd >= 0)
        close(e->vm_fd);
    close(e->kvm_fd);
    if (e->guarded)
        kv_guard_close();
    kv_mm_close(&e->mm);
    free(e->cpuid);
    free(e->clean_fpu);
    e->cpuid = NULL;
    e->clean_fpu = NULL;
}

void kv_free(struct kv_engine *e) {
    kv_close(e);
    free(e);
}
