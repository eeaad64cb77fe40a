/* Slots: a region of shared memory for each guest process, made in chunks. The descriptors are closed as soon
 * as both sides have mapped them. */
#define _GNU_SOURCE
#include "engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* A descriptor, and our mapping in *at; or -errno. */
int sy_chunk_new(struct sy_engine *e, uint64_t slots, uint8_t **at) {
    uint64_t size = slots * e->slot_size;
    int fd = memfd_create("runsc-slots", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int err;

    if (fd < 0)
        return -errno;
    if (ftruncate(fd, (off_t)size) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
        goto failed;
    *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (*at != MAP_FAILED)
        return fd;
failed:
    err = -errno;
    close(fd);
    return err;
}

static int chunk_of(int index) { return index < SY_FIRST_SLOTS ? 0 : 1 + (index - SY_FIRST_SLOTS) / SY_MORE_SLOTS; }

static int chunk_start(int chunk) { return chunk == 0 ? 0 : SY_FIRST_SLOTS + (chunk - 1) * SY_MORE_SLOTS; }

uint8_t *sy_slot_ours(struct sy_engine *e, struct sy_space *s, int index) {
    int chunk = chunk_of(index);
    return s->chunks[chunk] + (uint64_t)(index - chunk_start(chunk)) * e->slot_size;
}

uint64_t sy_slot_guests(struct sy_engine *e, int index) { return e->region + (uint64_t)index * e->slot_size; }

/* One more chunk, in the running process. */
static int grow(struct sy_engine *e, struct sy_space *s) {
    uint64_t size = SY_MORE_SLOTS * e->slot_size;
    uint8_t *at, *busy;
    int64_t rc;
    int fd;

    if (s->nchunks == SY_CHUNKS)
        return -EAGAIN;
    busy = realloc(s->busy, SY_FIRST_SLOTS + (size_t)s->nchunks * SY_MORE_SLOTS);
    if (busy == NULL)
        return -ENOMEM;
    s->busy = busy;
    memset(busy + chunk_start(s->nchunks), 0, SY_MORE_SLOTS);
    fd = sy_chunk_new(e, SY_MORE_SLOTS, &at);
    if (fd < 0)
        return fd;
    rc = sy_space_call(e, s, SYS_mmap, sy_slot_guests(e, chunk_start(s->nchunks)), size,
                       PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, (uint64_t)fd, 0);
    close(fd);
    if (rc < 0) {
        munmap(at, size);
        return (int)rc;
    }
    s->chunks[s->nchunks++] = at;
    return 0;
}

/* A free slot's number, its memory in place and its header zero; or an error. A slot is free again only when
 * the host has cleared the thread id in it, at the thread's very end. */
int sy_slot_take(struct sy_engine *e, struct sy_space *s) {
    int total, index = -1, rc;
    uint8_t *slot;

    total = s->nchunks == 1 ? SY_FIRST_SLOTS : chunk_start(s->nchunks);
    for (int tried = 0; tried < total && index < 0; tried++) {
        int i = (s->next_slot + tried) % total;
        if (s->busy[i] == 2 && sy_get32(sy_slot_ours(e, s, i), S_TID) == 0) {
            s->busy[i] = 0;
            s->nbusy--;
        }
        if (s->busy[i] == 0)
            index = i;
    }
    if (index < 0) {
        index = total;
        rc = grow(e, s);
        if (rc < 0)
            return rc;
    }
    slot = sy_slot_ours(e, s, index);
    /* Not later by a page fault of ours, which would be a signal where memory is short. */
    if (madvise(slot, S_FIRST_ROOM, MADV_POPULATE_WRITE) < 0 ||
        madvise(slot + e->stack_at, e->slot_size - e->stack_at, MADV_POPULATE_WRITE) < 0)
        return -ENOMEM;
    memset(slot, 0, S_BUFFER);
    sy_set32(slot, S_ROOM, S_FIRST_ROOM);
    sy_set64(slot, S_SELF, sy_slot_guests(e, index));
    s->busy[index] = 1;
    s->nbusy++;
    s->next_slot = index < 4 ? 0 : index; /* keep to the first pages while there are few */
    return index;
}

void sy_chunks_free(struct sy_engine *e, struct sy_space *s) {
    for (int i = 0; i < s->nchunks; i++)
        munmap(s->chunks[i], (i == 0 ? SY_FIRST_SLOTS : SY_MORE_SLOTS) * e->slot_size);
    s->nchunks = 0;
    free(s->busy);
    s->busy = NULL;
}
