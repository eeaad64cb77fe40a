"""Builds ``runsc_net_hostpassthrough._hostsock`` (cffi, API mode)."""

from __future__ import annotations

import os
import shutil
import tempfile

from cffi import FFI

HERE = os.path.dirname(os.path.abspath(__file__))


def path(name: str) -> str:
    """A C source, as setuptools wants it (relative) or, for building in place, absolute."""
    full = os.path.join(HERE, "csrc", name)
    return full if __name__ == "__main__" else os.path.relpath(full)


ffi = FFI()
ffi.cdef(
    """
    struct nh_received {
        uint32_t address_len; uint32_t control_len; uint32_t flags;
        unsigned char address[128]; unsigned char control[4096]; ...;
    };

    int nh_socket(int family, int type, int protocol);
    int nh_bind(int fd, const char *address, unsigned len);
    int nh_connect(int fd, const char *address, unsigned len);
    int nh_listen(int fd, int backlog);
    int nh_accept(int fd, struct nh_received *r);
    int nh_shutdown(int fd, int how);
    int nh_getsockname(int fd, struct nh_received *r);
    int nh_getpeername(int fd, struct nh_received *r);
    int nh_getsockopt(int fd, int level, int name, void *value, unsigned len);
    int nh_setsockopt(int fd, int level, int name, const char *value, unsigned len);
    int nh_ioctl(int fd, unsigned long request, void *arg);
    int nh_ifconf(int fd, void *buffer, int len);
    int nh_poll(int fd);
    int64_t nh_recv(int fd, void *buffer, uint64_t len, int flags);
    int64_t nh_send(int fd, const char *data, uint64_t len, int flags);
    int64_t nh_recvmsg(int fd, void *buffer, uint64_t len, int flags, struct nh_received *r);
    int64_t nh_sendmsg(int fd, const char *data, uint64_t len, int flags, const char *address,
                       unsigned address_len, const char *control, unsigned control_len);
    """
)
ffi.set_source(
    "runsc_net_hostpassthrough._hostsock",
    '#include "hostsock.h"',
    sources=[path("hostsock.c")],
    include_dirs=[os.path.join(HERE, "csrc")],
    depends=[path("hostsock.h")],
    extra_compile_args=["-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror"],
)


def build_in_place() -> None:
    """Compile for development: the module lands next to the package's sources."""
    with tempfile.TemporaryDirectory() as tmp:
        built = ffi.compile(tmpdir=tmp)
        shutil.copy(built, os.path.join(HERE, "runsc_net_hostpassthrough"))


if __name__ == "__main__":
    build_in_place()
