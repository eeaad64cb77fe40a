"""Builds ``runsc_platform_ptrace._engine`` (cffi, API mode)."""

from __future__ import annotations

import os
import shutil
import tempfile

from cffi import FFI

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCES = ("filter.c", "inject.c", "memory.c", "signals.c", "stop.c", "template.c", "thread.c", "wait.c")



def path(name: str) -> str:
    """A C source, as setuptools wants it (relative) or, for building in place, absolute."""
    full = os.path.join(HERE, "csrc", name)
    return full if __name__ == "__main__" else os.path.relpath(full)


ffi = FFI()
ffi.cdef(
    """
    #define PE_GONE ...

    struct pe_space;
    struct pe_thread;
    struct pe_engine { uint64_t stub, scratch, task_size, min_address; ...; };

    int pe_kills_by_ptrace(void);
    struct pe_engine *pe_open(int *err);
    void pe_close(struct pe_engine *e);
    void pe_free(struct pe_engine *e);
    struct pe_thread *pe_template(struct pe_engine *e, int *err);
    int64_t pe_wait(struct pe_engine *e, int poll_fd, int64_t timeout_ns);

    void pe_space_drop(struct pe_space *s);
    void pe_space_release(struct pe_engine *e, struct pe_space *s);
    int64_t pe_space_call(struct pe_engine *e, struct pe_space *s, long nr, uint64_t a0, uint64_t a1,
                          uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5);
    int64_t pe_space_cmpxchg(struct pe_engine *e, struct pe_space *s, uint64_t addr, uint32_t expected,
                             uint32_t desired, uint32_t *found);
    int64_t pe_space_read(struct pe_engine *e, struct pe_space *s, uint64_t addr, void *buf, uint64_t len);
    int64_t pe_space_write(struct pe_engine *e, struct pe_space *s, uint64_t addr, const void *buf,
                           uint64_t len);
    int64_t pe_space_poke(struct pe_engine *e, struct pe_space *s, uint64_t addr, const void *buf,
                          uint64_t len);
    int64_t pe_space_mincore(struct pe_engine *e, struct pe_space *s, uint64_t addr, uint64_t len, void *vec);
    int pe_space_tid(struct pe_space *s);

    struct pe_thread *pe_clone(struct pe_engine *e, struct pe_thread *parent, int as_thread, int *err);
    struct pe_space *pe_thread_space(struct pe_thread *t);
    int64_t pe_thread_handle(struct pe_thread *t);
    int pe_thread_tid(struct pe_thread *t);
    int pe_thread_stopped(struct pe_thread *t);
    void pe_thread_drop(struct pe_thread *t);
    void pe_thread_release(struct pe_engine *e, struct pe_thread *t);
    void pe_thread_complete(struct pe_engine *e, struct pe_thread *t, int64_t result);
    void pe_thread_resume(struct pe_engine *e, struct pe_thread *t);
    void pe_thread_interrupt(struct pe_engine *e, struct pe_thread *t);
    void pe_thread_regs_set(struct pe_engine *e, struct pe_thread *t);
    int64_t pe_thread_get_fpu(struct pe_thread *t, void *buf, uint64_t len);
    int64_t pe_thread_set_fpu(struct pe_thread *t, const void *buf, uint64_t len);
    """
)
ffi.set_source(
    "runsc_platform_ptrace._engine",
    '#include "engine.h"',
    sources=[path(name) for name in SOURCES],
    include_dirs=[os.path.join(HERE, "csrc")],
    depends=[path("engine.h")],
    extra_compile_args=["-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror"],
)


def build_in_place() -> None:
    """Compile for development: the module lands next to the package's sources."""
    with tempfile.TemporaryDirectory() as tmp:
        built = ffi.compile(tmpdir=tmp)
        shutil.copy(built, os.path.join(HERE, "runsc_platform_ptrace"))


if __name__ == "__main__":
    build_in_place()
