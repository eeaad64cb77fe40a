/* Making KVM notice what was taken away from a page table.
 *
 * Where KVM shadows page tables it sees no change that we make, and where the processor walks them itself it
 * may have cached an entry.  What reaches both is a change of our own mapping of the data page: the host then
 * drops every translation to it, on all virtual CPUs.  Frames lose and regain our right to write; pages of
 * files are dropped (their contents are the file's).  A guest that comes just between finds no page:
 * flush_seq tells the virtual CPU's thread to try again.
 *
 * What is added to an entry (presence, rights) needs nothing: the guest faults and the entry is read anew.
 */
#define _GNU_SOURCE
#include "mm.h"

#include <sys/mman.h>

/* Pages so far apart still go in one call: dropping too much costs little. */
#define GAP (32 * KV_PAGE)

static void emit(struct kv_flush *f) {
    struct kv_mm *mm = f->mm;
    char *at = kv_at(mm, f->start);
    uint64_t len = f->end - f->start;

    f->end = 0;
    mm->flushes++;
    kv_note_flush(mm, f->start, f->start + len);
    if (mm->vm_fd < 0)
        return;
    if (f->start >= mm->files_at) {
        madvise(at, len, MADV_DONTNEED);
        return;
    }
    __atomic_add_fetch(&mm->flush_seq, 1, __ATOMIC_SEQ_CST);
    mprotect(at, len, PROT_READ);
    mprotect(at, len, PROT_READ | PROT_WRITE);
    __atomic_add_fetch(&mm->flush_seq, 1, __ATOMIC_SEQ_CST);
}

/* The entry of this page lost something. */
void kv_flush_add(struct kv_flush *f, uint64_t gpa) {
    if (f->end != 0) {
        int files = gpa >= f->mm->files_at;
        /* Between pages of files lie other mappings, perhaps private ones of which dropping loses nothing;
         * but holes make madvise stop: only neighbours go together. */
        uint64_t gap = files ? 0 : GAP;

        if (files == (f->start >= f->mm->files_at) && gpa + KV_PAGE + gap >= f->start && gpa <= f->end + gap) {
            if (gpa < f->start)
                f->start = gpa;
            if (gpa + KV_PAGE > f->end)
                f->end = gpa + KV_PAGE;
            return;
        }
        emit(f);
    }
    f->start = gpa;
    f->end = gpa + KV_PAGE;
}

/* All that was added takes effect before this returns. */
void kv_flush_end(struct kv_flush *f) {
    if (f->end != 0)
        emit(f);
}
