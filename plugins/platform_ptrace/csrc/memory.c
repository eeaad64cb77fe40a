/* Guest memory through process_vm_readv(2) and process_vm_writev(2), which respect its protections. */
#define _GNU_SOURCE
#include "engine.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

/* A thread whose memory is the space's: an ended leader has none any more. */
int pe_space_tid(struct pe_space *s) {
    struct pe_thread *t = s->last;

    if (s->released)
        return 0;
    if (t != NULL && t->state <= PE_ST_RUNNING)
        return t->tid;
    for (t = s->threads; t != NULL; t = t->sibling)
        if (t->state <= PE_ST_RUNNING)
            return t->tid;
    return 0;
}

static int64_t copy(struct pe_space *s, int write, uint64_t addr, void *buf, uint64_t len) {
    int tid = pe_space_tid(s);
    uint64_t done = 0;

    if (tid == 0)
        return PE_GONE;
    while (done < len) {
        struct iovec local = {(char *)buf + done, len - done};
        struct iovec remote = {(void *)(addr + done), len - done};
        ssize_t n = write ? process_vm_writev(tid, &local, 1, &remote, 1, 0)
                          : process_vm_readv(tid, &local, 1, &remote, 1, 0);
        if (n < 0 && errno == ESRCH)
            return PE_GONE;
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        done += (uint64_t)n;
    }
    return (int64_t)done;
}

static int64_t copy_checked(struct pe_engine *e, struct pe_space *s, int write, uint64_t addr,
                            void *buf, uint64_t len) {
    if (addr < e->min_address || addr >= e->task_size)
        return 0;
    if (len > e->task_size - addr)
        len = e->task_size - addr;
    return copy(s, write, addr, buf, len);
}

int64_t pe_space_read(struct pe_engine *e, struct pe_space *s, uint64_t addr, void *buf, uint64_t len) {
    return copy_checked(e, s, 0, addr, buf, len);
}

int64_t pe_space_write(struct pe_engine *e, struct pe_space *s, uint64_t addr, const void *buf,
                       uint64_t len) {
    return copy_checked(e, s, 1, addr, (void *)(uintptr_t)buf, len);
}

/* mincore(2) needs memory of the caller: the scratch page, which exists only meanwhile. Another
 * thread of the same guest could write there, and deceive nobody but itself. */
int64_t pe_space_mincore(struct pe_engine *e, struct pe_space *s, uint64_t addr, uint64_t len, void *vec) {
    uint64_t pages = len / PE_PAGE, done = 0;
    int64_t rc = pe_space_call(e, s, SYS_mmap, e->scratch, PE_PAGE, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, (uint64_t)-1, 0);

    if (rc < 0)
        return rc;
    while (done < pages && rc >= 0) {
        uint64_t n = pages - done < PE_PAGE ? pages - done : PE_PAGE;

        rc = pe_space_call(e, s, SYS_mincore, addr + done * PE_PAGE, n * PE_PAGE, e->scratch, 0, 0, 0);
        if (rc == 0 && copy(s, 0, e->scratch, (char *)vec + done, n) != (int64_t)n)
            rc = PE_GONE;
        done += n;
    }
    if (rc != PE_GONE)
        pe_space_call(e, s, SYS_munmap, e->scratch, PE_PAGE, 0, 0, 0, 0);
    return rc < 0 ? rc : 0;
}
