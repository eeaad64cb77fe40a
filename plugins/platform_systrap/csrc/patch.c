/* Call sites that are made often jump into the stub instead of trapping.
 *
 * Two shapes of code are known: `mov $number, %eax; syscall`, and the C library's syscall(2), where a comparison
 * follows the instruction. Seven bytes of it become `jmp *address`, with an entry of a jump table at a low address;
 * the entry leads to the site's thunk, which tells the stub where to go on. Table and thunks are one for all
 * processes, and can't be written by any.
 *
 * Nobody notices:
 *  - a site is changed while no other thread of the process runs, none stands within it, and only in a private,
 *    read-only mapping of a file; before that becomes anything else, the old code is back;
 *  - what the kernel reads of such memory shows the old code (the guest's own loads see the new one);
 *  - an instruction pointer in a thunk is shown as the place in the old code, and one that is set to a place within the
 *    old code leads to the thunk: a call that is made again begins at the `syscall`;
 *  - who jumps to that `syscall` himself meets `add %eax, (%rax)`, with a call's number in rax: a fault, which we
 *    take for what it is.
 * Only the arithmetic flags don't survive a call, which no compiler relies on.
 */
#define _GNU_SOURCE
#include "engine.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HOT 6 /* so many calls, and a site is worth patching */
#define TABLE_SIZE (SY_SITES * 8UL)
#define THUNKS_SIZE SY_THUNKS_SIZE
#ifndef MFD_EXEC
#define MFD_EXEC 0x10U
#endif

extern const char stub_start[], stub_call[];

/* What needs a frame sooner or later. */
static int needs_frame(uint32_t nr) {
    switch (nr) {
    case SYS_rt_sigreturn:
    case SYS_clone:
    case SYS_clone3:
    case SYS_fork:
    case SYS_vfork:
    case SYS_execve:
    case SYS_execveat:
    case SYS_exit:
    case SYS_exit_group:
    case SYS_rt_sigsuspend:
    case SYS_pause:
    case SYS_restart_syscall:
        return 1;
    default:
        return nr >= AHEAD_CALLS;
    }
}

/* ---- the engine's part ---- */

static int shared(uint64_t size, unsigned flags, int *fd, void **ours) {
    *fd = memfd_create("runsc-patch", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);
    if (*fd < 0 && flags != 0)
        *fd = memfd_create("runsc-patch", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (*fd < 0 || ftruncate(*fd, (off_t)size) < 0)
        return -errno;
    *ours = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
    if (*ours == MAP_FAILED) {
        *ours = NULL;
        return -errno;
    }
    return fcntl(*fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW) < 0 ? -errno : 0;
}

/* Where it can't be done, calls trap as ever. */
int sy_patch_open(struct sy_engine *e) {
    void *thunks = NULL, *table = NULL;

    if (e->min_address != SY_TABLE)
        return 0;
    if (shared(THUNKS_SIZE, MFD_EXEC, &e->thunks_fd, &thunks) == 0 &&
        shared(TABLE_SIZE, 0, &e->table_fd, &table) == 0 && (e->sites = calloc(SY_SITES, sizeof *e->sites)) != NULL &&
        (e->heat = calloc(SY_HEAT, sizeof *e->heat)) != NULL) {
        e->thunks = thunks;
        e->table = table;
        e->min_address = SY_TABLE + 2 * TABLE_SIZE;
        return 0;
    }
    if (thunks != NULL)
        munmap(thunks, THUNKS_SIZE);
    if (table != NULL)
        munmap(table, TABLE_SIZE);
    return 0;
}

void sy_patch_close(struct sy_engine *e) {
    if (e->thunks != NULL) {
        munmap(e->thunks, THUNKS_SIZE);
        munmap(e->table, TABLE_SIZE);
    }
    e->thunks = NULL;
    e->table = NULL;
    if (e->thunks_fd >= 0)
        close(e->thunks_fd);
    if (e->table_fd >= 0)
        close(e->table_fd);
    e->thunks_fd = e->table_fd = -1;
    free(e->sites);
    free(e->heat);
    e->sites = NULL;
    e->heat = NULL;
}

/* In the first stub. -errno: the host doesn't allow it. */
int sy_patch_map(struct sy_engine *e) {
    if (e->thunks == NULL)
        return 0;
    if (mmap((void *)e->thunks_at, THUNKS_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, e->thunks_fd, 0) ==
            MAP_FAILED ||
        mmap((void *)SY_TABLE, TABLE_SIZE, PROT_READ, MAP_SHARED | MAP_FIXED, e->table_fd, 0) == MAP_FAILED)
        return -errno;
    return 0;
}

/* ---- places in code ---- */

static struct sy_site *thunk_of(struct sy_engine *e, uint64_t rip, int *index, uint64_t *offset) {
    uint64_t at = rip - e->thunks_at;

    if (e->thunks == NULL || at >= THUNKS_SIZE)
        return NULL;
    *index = (int)(at / THUNK_SIZE);
    *offset = at % THUNK_SIZE;
    return e->sites[*index].refs != 0 ? &e->sites[*index] : NULL;
}

static int loads_number(const struct sy_site *site) { return site->old[0] == 0xb8; }

/* The place in the old code that a place in a thunk stands for. */
uint64_t sy_patch_to_guest(struct sy_engine *e, uint64_t rip) {
    uint64_t offset;
    int index;
    const struct sy_site *site = thunk_of(e, rip, &index, &offset);

    if (site == NULL)
        return rip;
    if (offset >= THUNK_LEAVE)
        return site->back;
    if (offset >= THUNK_TAIL)
        return site->addr + (loads_number(site) ? 7 : 2);
    if (offset >= THUNK_RESTART)
        return site->addr + (loads_number(site) ? 5 : 0);
    return site->addr;
}

/* The other way round: where to go on instead of within the old code. */
uint64_t sy_patch_to_host(struct sy_engine *e, struct sy_space *s, uint64_t rip) {
    if (rip < s->site_low || rip >= s->site_high)
        return rip;
    for (int i = 0; i < s->nsites; i++) {
        const struct sy_site *site = &e->sites[s->sites[i]];
        uint64_t thunk = e->thunks_at + s->sites[i] * (uint64_t)THUNK_SIZE;
        if (rip <= site->addr || rip >= site->addr + site->length)
            continue;
        if (loads_number(site))
            return rip == site->addr + 5 ? thunk + THUNK_RESTART : rip;
        return rip == site->addr + 2 ? thunk + THUNK_TAIL : rip;
    }
    return rip;
}

/* ---- a process's part ---- */

static int within(const struct sy_space *s, uint64_t start, uint64_t end) {
    for (int i = 0; i < SY_CODE; i++)
        if (start >= s->code[i].start && end <= s->code[i].end)
            return 1;
    return 0;
}

static void bounds(struct sy_engine *e, struct sy_space *s) {
    s->site_low = UINT64_MAX;
    s->site_high = 0;
    for (int i = 0; i < s->nsites; i++) {
        const struct sy_site *site = &e->sites[s->sites[i]];
        if (site->addr < s->site_low)
            s->site_low = site->addr;
        if (site->addr + site->length > s->site_high)
            s->site_high = site->addr + site->length;
    }
}

/* A mapping was made or changed: is it code that can be patched? */
void sy_patch_code(struct sy_engine *e, struct sy_space *s, long nr, uint64_t addr, uint64_t len, uint64_t prot,
                   uint64_t flags) {
    if (e->thunks == NULL || nr != SYS_mmap || !(prot & PROT_EXEC) || (prot & PROT_WRITE) ||
        (flags & (MAP_ANONYMOUS | MAP_SHARED)))
        return;
    for (int i = 0; i < SY_CODE; i++)
        if (s->code[i].start == s->code[i].end) {
            s->code[i].start = addr;
            s->code[i].end = addr + len;
            return;
        }
}

static int write_code(struct sy_engine *e, struct sy_space *s, uint64_t addr, const uint8_t *code) {
    uint64_t page = addr & ~(uint64_t)(SY_PAGE - 1), len = ((addr + 7) & ~(uint64_t)(SY_PAGE - 1)) - page + SY_PAGE;
    int rc = -1;

    if (sy_space_call(e, s, SYS_mprotect, page, len, PROT_READ | PROT_WRITE | PROT_EXEC, SY_OURS, 0, 0) != 0)
        return -1;
    if (sy_space_write(e, s, addr, code, 8) == 8)
        rc = 0;
    sy_writable_cut(s, page, page + len);
    if (sy_space_call(e, s, SYS_mprotect, page, len, PROT_READ | PROT_EXEC, SY_OURS, 0, 0) != 0) {
        sy_kill_space(s); /* code that can be written was never the guest's wish */
        return -1;
    }
    return rc;
}

static void drop(struct sy_engine *e, int index) { e->sites[index].refs--; }

/* [start, end) stops being code that can be patched. `restore`: the memory stays. */
void sy_patch_undo(struct sy_engine *e, struct sy_space *s, uint64_t start, uint64_t end, int restore) {
    if (e->thunks == NULL)
        return;
    if (s->nsites != 0 && start < s->site_high && end > s->site_low) {
        int kept = 0;
        for (int i = 0; i < s->nsites; i++) {
            struct sy_site *site = &e->sites[s->sites[i]];
            if (site->addr >= end || site->addr + site->length <= start) {
                s->sites[kept++] = s->sites[i];
                continue;
            }
            if (restore)
                write_code(e, s, site->addr, site->old);
            drop(e, s->sites[i]);
        }
        s->nsites = kept;
        bounds(e, s);
    }
    for (int i = 0; i < SY_CODE; i++) {
        struct sy_range *r = &s->code[i];
        if (start >= r->end || end <= r->start)
            continue;
        if (start <= r->start && end >= r->end)
            r->start = r->end = 0;
        else if (start > r->start)
            r->end = start; /* what lies behind isn't patched any more, but works */
        else
            r->start = end;
    }
}

int sy_patch_copy(struct sy_engine *e, struct sy_space *from, struct sy_space *to) {
    memcpy(to->code, from->code, sizeof to->code);
    if (from->nsites == 0)
        return 0;
    to->sites = malloc(sizeof *to->sites * (unsigned)from->nsites);
    if (to->sites == NULL)
        return -ENOMEM;
    memcpy(to->sites, from->sites, sizeof *to->sites * (unsigned)from->nsites);
    to->nsites = to->room_sites = from->nsites;
    to->site_low = from->site_low;
    to->site_high = from->site_high;
    for (int i = 0; i < to->nsites; i++)
        e->sites[to->sites[i]].refs++;
    return 0;
}

void sy_patch_free(struct sy_engine *e, struct sy_space *s) {
    if (e->sites != NULL)
        for (int i = 0; i < s->nsites; i++)
            drop(e, s->sites[i]);
    free(s->sites);
    s->sites = NULL;
    s->nsites = s->room_sites = 0;
}

/* `data` was read at `addr`: show the old code. */
void sy_patch_hide(struct sy_engine *e, struct sy_space *s, uint64_t addr, uint8_t *data, uint64_t len) {
    if (s->nsites == 0 || addr >= s->site_high || addr + len <= s->site_low)
        return;
    for (int i = 0; i < s->nsites; i++) {
        const struct sy_site *site = &e->sites[s->sites[i]];
        for (unsigned j = 0; j < site->length; j++)
            if (site->addr + j >= addr && site->addr + j < addr + len)
                data[site->addr + j - addr] = site->old[j];
    }
}

/* ---- patching ---- */

static void put32(uint8_t *at, uint64_t value) {
    uint32_t low = (uint32_t)value;
    memcpy(at, &low, sizeof low);
}

/* The thunk. Nobody uses it yet. */
static void write_thunk(struct sy_engine *e, int index, const struct sy_site *site) {
    uint64_t at = e->thunks_at + (uint64_t)index * THUNK_SIZE;
    uint64_t call = e->gate + (uint64_t)(stub_call - stub_start);
    uint8_t code[THUNK_SIZE];

    memset(code, 0xcc, sizeof code);
    if (loads_number(site))
        memcpy(code, site->old, 5);
    else
        memcpy(code, "\x0f\x1f\x44\x00\x00", 5); /* nop */
    memcpy(code + THUNK_RESTART, "\x48\x8d\x0d", 3); /* lea tail(%rip), %rcx */
    put32(code + 8, THUNK_TAIL - 12);
    code[12] = 0xe9; /* jmp */
    put32(code + 13, call - (at + 17));
    memcpy(code + THUNK_TRAP, "\x0f\x05", 2);
    memcpy(code + THUNK_TAIL, loads_number(site) ? "\x66\x0f\x1f\x44\x00\x00" : "\x48\x3d\x01\xf0\xff\xff", 6);
    memcpy(code + THUNK_LEAVE, "\xff\x25\x00\x00\x00\x00", 6); /* jmp *0(%rip) */
    memcpy(code + THUNK_RETURN, &site->back, 8);
    memcpy(e->thunks + (uint64_t)index * THUNK_SIZE, code, sizeof code);
    __atomic_store_n(&e->table[index], at, __ATOMIC_RELEASE);
}

static int find_site(struct sy_engine *e, const struct sy_site *wanted) {
    int free = -1;

    for (int i = 0; i < SY_SITES; i++) {
        const struct sy_site *site = &e->sites[i];
        if (site->refs == 0) {
            if (free < 0)
                free = i;
        } else if (site->addr == wanted->addr && memcmp(site->old, wanted->old, 8) == 0) {
            return i;
        }
    }
    return free;
}

/* Does a thread of the process run, or stand within the site? */
static int in_use(struct sy_space *s, const struct sy_thread *caller, const struct sy_site *site) {
    for (const struct sy_thread *t = s->threads; t != NULL; t = t->sibling) {
        if (t == caller)
            continue;
        if (!t->parked)
            return 1;
        if (!t->patched && t->regs.rip > site->addr && t->regs.rip < site->addr + site->length)
            return 1;
    }
    return 0;
}

static int recognise(struct sy_engine *e, struct sy_thread *t, struct sy_site *site) {
    uint64_t rip = t->regs.rip; /* behind the instruction */
    uint8_t code[16];           /* from rip - 8 on */
    uint32_t number;

    if (rip < SY_PAGE || !within(t->space, rip - 8, rip + 8) || sy_space_read(e, t->space, rip - 8, code, 16) != 16)
        return 0;
    memcpy(&number, code + 2, 4);
    if (code[1] == 0xb8 && (code[0] & 0xf0) != 0x40 && number == (uint32_t)t->nr && !needs_frame(number)) {
        site->addr = rip - 7;
        site->length = 7;
        memcpy(site->old, code + 1, 8);
    } else if (memcmp(code + 8, "\x48\x3d\x01\xf0\xff\xff", 6) == 0) {
        site->addr = rip - 2;
        site->length = 8;
        memcpy(site->old, code + 6, 8);
    } else {
        return 0;
    }
    if ((loads_number(site) ? code[6] : site->old[0]) != 0x0f)
        return 0;
    site->back = site->addr + site->length;
    return (site->addr & (SY_PAGE - 1)) <= SY_PAGE - 8; /* on one page */
}

static int patch(struct sy_engine *e, struct sy_thread *t) {
    struct sy_space *s = t->space;
    struct sy_site site = {0}, *known;
    int index;

    if (!recognise(e, t, &site) || in_use(s, t, &site))
        return 0;
    index = find_site(e, &site);
    if (index < 0)
        return 0;
    if (s->nsites == s->room_sites) {
        int room = s->room_sites * 2 + 16;
        uint16_t *more = realloc(s->sites, sizeof *more * (unsigned)room);
        if (more == NULL)
            return 0;
        s->sites = more;
        s->room_sites = room;
    }
    known = &e->sites[index];
    if (known->refs == 0) {
        uint64_t entry = SY_TABLE + (uint64_t)index * 8;
        memcpy(site.new, "\xff\x24\x25", 3); /* jmp *entry */
        put32(site.new + 3, entry);
        site.new[7] = site.length == 8 ? 0x90 : site.old[7];
        write_thunk(e, index, &site);
        *known = site;
    }
    if (write_code(e, s, known->addr, known->new) < 0)
        return 0;
    known->refs++;
    s->sites[s->nsites++] = (uint16_t)index;
    bounds(e, s);
    t->dirty = 1; /* it returns to the thunk's end, not to within the jump */
    return 1;
}

/* A trap has brought `t`, which is stopped: is it worth patching where it came from? */
void sy_patch_consider(struct sy_engine *e, struct sy_thread *t) {
    struct sy_heat *heat;
    uint64_t rip = t->regs.rip;

    if (e->thunks == NULL || t->patched || t->event != SY_SYSCALL || !t->parked || t->space->released || t->space->dead ||
        t->regs.gs_base != 0)
        return;
    heat = &e->heat[(rip ^ rip >> 12 ^ (uint64_t)t->space->tgid * 31) % SY_HEAT];
    if (heat->at != rip || heat->space != t->space) {
        heat->at = rip;
        heat->space = t->space;
        heat->count = 0;
    }
    heat->count++;
    if (heat->count < HOT || (heat->count & (heat->count - 1) && heat->count != HOT))
        return;
    t->refs++;
    patch(e, t);
    sy_thread_drop(e, t);
}

/* ---- calls that came through a thunk ---- */

/* Have the call made again, as a trap: then there is a frame. 0, or SY_GONE. */
int sy_unpatched(struct sy_engine *e, struct sy_thread *t) {
    uint64_t args[6];
    int32_t nr = t->nr, event = t->event;

    if (!t->patched)
        return 0;
    memcpy(args, t->args, sizeof args);
    sy_copies_flush(e);
    t->stale = 1;
    t->refs++;
    sy_post(e, t, ST_TRAP);
    if (sy_await_event(e, t) < 0 || sy_frame_event(e, t) != SY_SYSCALL) {
        sy_kill_space(t->space);
        sy_thread_drop(e, t);
        return SY_GONE;
    }
    /* What was delivered holds, whatever the slot says now. */
    t->event = event;
    t->nr = nr;
    memcpy(t->args, args, sizeof args);
    t->regs.orig_rax = (uint64_t)(int64_t)nr;
    t->patched = 0;
    sy_thread_drop(e, t);
    return 0;
}

/* ---- answers that need no kernel ---- */

static const uint16_t answered[] = {0, SYS_getpid, SYS_gettid, SYS_getppid, SYS_getuid, SYS_getgid, SYS_geteuid, SYS_getegid};

void sy_answers(struct sy_engine *e, int on) {
    for (unsigned i = 1; i < sizeof answered / sizeof *answered; i++)
        e->control->answers[answered[i]] = on ? (uint8_t)i : 0;
    e->control->answers[SYS_sched_yield] = on ? ANSWER_YIELD : 0;
}

/* Until sy_thread_forget, call `nr` of this thread has this result. */
void sy_thread_answer(struct sy_engine *e, struct sy_thread *t, int nr, uint32_t value) {
    (void)e;
    if (t->state == SY_ST_DEAD || t->released)
        return;
    for (unsigned i = 1; i < sizeof answered / sizeof *answered; i++)
        if (answered[i] == nr) {
            sy_set32(t->slot, S_ANSWER + 4 * i, value);
            t->answers |= 1U << i;
            sy_set32(t->slot, S_VALID, t->answers);
        }
}

void sy_thread_forget(struct sy_engine *e, struct sy_thread *t) {
    (void)e;
    t->answers = 0;
    if (t->state != SY_ST_DEAD && !t->released)
        sy_set32(t->slot, S_VALID, 0);
}
