/* File calls that Python has no functions for: what file systems of the host's files are made of. */
#define _GNU_SOURCE
#include "native.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef SYS_setxattrat /* Linux 6.13 */
#define SYS_setxattrat 463
#define SYS_getxattrat 464
#define SYS_listxattrat 465
#define SYS_removexattrat 466
#endif
#ifndef SYS_fchmodat2 /* Linux 6.6 */
#define SYS_fchmodat2 452
#endif

struct xattr_arguments {
    uint64_t value;
    uint32_t size, flags;
};

static int64_t answer(int64_t result) { return result < 0 ? -errno : result; }

/* f_type. */
int64_t rn_file_system_type(int fd) {
    struct statfs st;

    return fstatfs(fd, &st) < 0 ? -errno : (int64_t)(uint32_t)st.f_type;
}

int rn_openat2(int dir, const char *name, uint64_t flags, uint64_t mode, uint64_t resolve) {
    struct open_how how = {flags, mode, resolve};

    return (int)answer(syscall(SYS_openat2, dir, name, &how, sizeof how));
}

int rn_renameat2(int from, const char *name, int to, const char *new_name, unsigned flags) {
    return (int)answer(syscall(SYS_renameat2, from, name, to, new_name, flags));
}

/* Give an open file without a name (O_TMPFILE) one. */
int rn_link_open(int fd, int dir, const char *name) { return (int)answer(linkat(fd, "", dir, name, AT_EMPTY_PATH)); }

int rn_fallocate(int fd, int mode, int64_t offset, int64_t length) {
    return (int)answer(fallocate(fd, mode, offset, length));
}

/* Extended attributes of a name that isn't followed if it is a symbolic link. ENOSYS before Linux 6.13. */
int64_t rn_getxattrat(int dir, const char *name, const char *attribute, void *value, uint32_t size) {
    struct xattr_arguments arguments = {(uintptr_t)value, size, 0};

    return answer(syscall(SYS_getxattrat, dir, name, AT_SYMLINK_NOFOLLOW, attribute, &arguments, sizeof arguments));
}

int64_t rn_listxattrat(int dir, const char *name, void *list, uint64_t size) {
    return answer(syscall(SYS_listxattrat, dir, name, AT_SYMLINK_NOFOLLOW, list, size));
}

int rn_setxattrat(int dir, const char *name, const char *attribute, const void *value, uint32_t size,
                  uint32_t flags) {
    struct xattr_arguments arguments = {(uintptr_t)value, size, flags};

    return (int)answer(
        syscall(SYS_setxattrat, dir, name, AT_SYMLINK_NOFOLLOW, attribute, &arguments, sizeof arguments));
}

int rn_removexattrat(int dir, const char *name, const char *attribute) {
    return (int)answer(syscall(SYS_removexattrat, dir, name, AT_SYMLINK_NOFOLLOW, attribute));
}

static void pack(const struct stat *st, int64_t *out) {
    out[0] = st->st_mode;
    out[1] = (int64_t)st->st_ino;
    out[2] = (int64_t)st->st_dev;
    out[3] = (int64_t)st->st_nlink;
    out[4] = st->st_uid;
    out[5] = st->st_gid;
    out[6] = (int64_t)st->st_rdev;
    out[7] = st->st_size;
    out[8] = st->st_blksize;
    out[9] = st->st_blocks;
    out[10] = st->st_atim.tv_sec * 1000000000LL + st->st_atim.tv_nsec;
    out[11] = st->st_mtim.tv_sec * 1000000000LL + st->st_mtim.tv_nsec;
    out[12] = st->st_ctim.tv_sec * 1000000000LL + st->st_ctim.tv_nsec;
}

/* Attributes as 13 numbers; of an open file if there is no name. A symbolic link is not followed. */
int rn_stat(int dir, const char *name, int64_t *out) {
    struct stat st;

    if ((name ? fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) : fstat(dir, &st)) < 0)
        return -errno;
    pack(&st, out);
    return 0;
}

/* An inotify watch; its number. */
int rn_watch(int inotify, const char *path, uint32_t mask) {
    return (int)answer(inotify_add_watch(inotify, path, mask));
}

/* Permission bits of a name that isn't followed if it is a symbolic link. ENOSYS before Linux 6.6. */
int rn_fchmodat(int dir, const char *name, unsigned mode) {
    return (int)answer(syscall(SYS_fchmodat2, dir, name, mode, AT_SYMLINK_NOFOLLOW));
}

int rn_syncfs(int fd) { return (int)answer(syncfs(fd)); }
int rn_inotify(void) { return (int)answer(inotify_init1(IN_NONBLOCK | IN_CLOEXEC)); }
int rn_unwatch(int inotify, int number) { return (int)answer(inotify_rm_watch(inotify, number)); }
