"""Builds ``runsc._native`` (cffi, API mode)."""

from __future__ import annotations

import os
import shutil
import tempfile

from cffi import FFI

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCES = ("native.c", "exchange.c", "hostfiles.c", "namespaces.c", "refused.c")


def path(name: str) -> str:
    """A C source, as setuptools wants it (relative) or, for building in place, absolute."""
    full = os.path.join(HERE, "csrc", name)
    return full if __name__ == "__main__" else os.path.relpath(full)


ffi = FFI()
ffi.cdef(
    """
    int rn_no_new_privs(void);
    int64_t rn_capabilities(void);
    int rn_set_capabilities(uint64_t set);
    int rn_clear_ambient(void);
    int rn_drop_bounding(uint64_t keep);
    int rn_seccomp(const void *program, unsigned instructions);

    int rn_landlock_abi(void);
    int rn_landlock_ruleset(uint64_t files, uint64_t net, uint64_t scopes, unsigned size);
    int rn_landlock_allow(int ruleset, uint64_t access, int fd);
    int rn_landlock_restrict(int ruleset);

    int rn_report_refused(int fd);

    int rn_unshare(int flags);
    int rn_setns(int fd, int flags);

    int64_t rn_file_system_type(int fd);
    int rn_openat2(int dir, const char *name, uint64_t flags, uint64_t mode, uint64_t resolve);
    int rn_renameat2(int from, const char *name, int to, const char *new_name, unsigned flags);
    int rn_link_open(int fd, int dir, const char *name);
    int rn_fallocate(int fd, int mode, int64_t offset, int64_t length);
    int64_t rn_getxattrat(int dir, const char *name, const char *attribute, void *value, uint32_t size);
    int64_t rn_listxattrat(int dir, const char *name, void *list, uint64_t size);
    int rn_setxattrat(int dir, const char *name, const char *attribute, const void *value, uint32_t size,
                      uint32_t flags);
    int rn_removexattrat(int dir, const char *name, const char *attribute);
    int rn_stat(int dir, const char *name, int64_t *out);
    int rn_fchmodat(int dir, const char *name, unsigned mode);
    int rn_syncfs(int fd);
    int rn_inotify(void);
    int rn_watch(int inotify, const char *path, uint32_t mask);
    int rn_unwatch(int inotify, int number);

    int rn_socketpair(int *pair, int seconds);
    int rn_send(int fd, const void *data, size_t size, const int *passed, int count);
    int64_t rn_exchange(int fd, const void *request, size_t size, void *reply, size_t room, int count,
                        int *passed); int rn_detached(int fd); int rn_leave_tree(void); """
)
ffi.set_source(
    "runsc._native",
    '#include "native.h"',
    sources=[path(name) for name in SOURCES],
    include_dirs=[os.path.join(HERE, "csrc")],
    depends=[path("native.h")],
    extra_compile_args=["-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror"],
)


def build_in_place() -> None:
    """Compile for development: the module lands next to the package's sources."""
    with tempfile.TemporaryDirectory() as tmp:
        built = ffi.compile(tmpdir=tmp)
        shutil.copy(built, os.path.join(HERE, "runsc"))


if __name__ == "__main__":
    build_in_place()
