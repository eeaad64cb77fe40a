"""Builds ``runsc_net_netstack._netio`` (cffi, API mode)."""

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
    int ns_receive(int fd, unsigned char *arena, size_t slot, unsigned count, uint32_t *lengths);
    int ns_send(int fd, const unsigned char *data, const uint32_t *lengths, unsigned count);
    int ns_disconnect(int fd);
    int ns_shutdown(int fd);
    uint32_t ns_sum(const unsigned char *data, size_t length, uint32_t initial);
    """
)
ffi.set_source(
    "runsc_net_netstack._netio",
    '#include "netio.h"',
    sources=[path("netio.c")],
    include_dirs=[os.path.join(HERE, "csrc")],
    depends=[path("netio.h")],
    extra_compile_args=["-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror"],
)


def build_in_place() -> None:
    """Compile for development: the module lands next to the package's sources."""
    with tempfile.TemporaryDirectory() as tmp:
        built = ffi.compile(tmpdir=tmp)
        shutil.copy(built, os.path.join(HERE, "runsc_net_netstack"))


if __name__ == "__main__":
    build_in_place()
