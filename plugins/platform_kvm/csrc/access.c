/* Guest memory, read and written by us: with the guest's rights, and only within its addresses. */
#define _GNU_SOURCE
#include "mm.h"

#include <errno.h>
#include <string.h>

static uint64_t entry_of(struct kv_space *s, uint64_t va) {
    uint64_t *pte = kv_pte(s, va, 0);

    return pte != NULL ? *pte : 0;
}

/* Where the guest would read this page: an address of ours; *zero where it would read zeros; else NULL. */
static char *readable(struct kv_space *s, uint64_t va, int *zero) {
    uint64_t e = entry_of(s, va);
    struct kv_region *r;

    *zero = 0;
    if (!(e & PTE_P)) {
        r = kv_region_find(s, va);
        if (r == NULL || r->prot == 0)
            return NULL;
        if (e == 0 && r->file == NULL) {
            *zero = 1;
            return NULL;
        }
        if (e == 0 && (e = kv_file_page(r, va & ~KV_MASK)) == 0)
            return NULL;
    }
    return kv_at(s->mm, (e & PTE_ADDR) + (va & KV_MASK));
}

static char *writable(struct kv_space *s, uint64_t va, int access) {
    uint64_t e = entry_of(s, va);

    if ((e & (PTE_P | PTE_W)) != (PTE_P | PTE_W)) {
        if (kv_fault(s, va, access, 0) != KV_FIXED)
            return NULL;
        e = entry_of(s, va);
    }
    return kv_at(s->mm, (e & PTE_ADDR) + (va & KV_MASK));
}

static uint64_t clamp(uint64_t va, uint64_t len) {
    if (va < KV_MIN_ADDRESS || va >= KV_TASK_SIZE)
        return 0;
    return len < KV_TASK_SIZE - va ? len : KV_TASK_SIZE - va;
}

/* How many of len bytes could be read. */
int64_t kv_space_read(struct kv_space *s, uint64_t va, void *buf, uint64_t len) {
    uint64_t done = 0, left = 0;

    len = clamp(va, len);
    pthread_mutex_lock(&s->mm->lock);
    while (done < len && left == 0) {
        uint64_t n = KV_PAGE - ((va + done) & KV_MASK);
        int zero;
        char *from = readable(s, va + done, &zero);

        if (n > len - done)
            n = len - done;
        if (zero)
            memset((char *)buf + done, 0, n);
        else if (from == NULL)
            break;
        else
            left = kv_guard_copy((char *)buf + done, from, n);
        done += n - left;
    }
    pthread_mutex_unlock(&s->mm->lock);
    return (int64_t)done;
}

static int64_t put(struct kv_space *s, uint64_t va, const void *buf, uint64_t len, int access) {
    uint64_t done = 0, left = 0;

    len = clamp(va, len);
    pthread_mutex_lock(&s->mm->lock);
    while (done < len && left == 0) {
        uint64_t n = KV_PAGE - ((va + done) & KV_MASK);
        char *to = writable(s, va + done, access);

        if (to == NULL)
            break;
        if (n > len - done)
            n = len - done;
        left = kv_guard_copy(to, (const char *)buf + done, n);
        done += n - left;
    }
    pthread_mutex_unlock(&s->mm->lock);
    return (int64_t)done;
}

/* How many of len bytes could be written. */
int64_t kv_space_write(struct kv_space *s, uint64_t va, const void *buf, uint64_t len) {
    return put(s, va, buf, len, KV_WRITE);
}

/* As a debugger writes: also to private pages that the guest may not write. */
int64_t kv_space_poke(struct kv_space *s, uint64_t va, const void *buf, uint64_t len) {
    return put(s, va, buf, len, KV_WRITE | KV_FORCE);
}

/* Compare and exchange a word. 0 and what was found, or -EFAULT. */
int kv_space_cmpxchg(struct kv_space *s, uint64_t va, uint32_t expected, uint32_t desired, uint32_t *found) {
    int rc = -EFAULT;
    char *at;

    if (va & 3 || clamp(va, 4) < 4)
        return -EFAULT;
    pthread_mutex_lock(&s->mm->lock);
    at = writable(s, va, KV_WRITE);
    if (at != NULL && kv_guard_cmpxchg(at, expected, desired, found) == 0)
        rc = 0;
    pthread_mutex_unlock(&s->mm->lock);
    return rc;
}
