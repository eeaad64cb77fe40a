"""Builds ``runsc_platform_systrap._engine`` (cffi, API mode)."""

from __future__ import annotations

import os
import shutil
import tempfile

from cffi import FFI

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCES = (
    "command.c",
    "copies.c",
    "filter.c",
    "frame.c",
    "memory.c",
    "notify.c",
    "patch.c",
    "python.c",
    "signals.c",
    "slots.c",
    "stub.c",
    "template.c",
    "threads.c",
    "wait.c",
)


def path(name: str) -> str:
    """A C source, as setuptools wants it (relative) or, for building in place, absolute."""
    full = os.path.join(HERE, "csrc", name)
    return full if __name__ == "__main__" else os.path.relpath(full)


ffi = FFI()
ffi.cdef(
    """
    #define SY_GONE ...
    #define SY_FIRST_SLOTS ...

    struct sy_space;
    struct sy_thread;
    struct sy_engine { uint64_t gate, region, slot_size, task_size, min_address, thunks_at; ...; };

    struct sy_engine *sy_open(int patch, int *err);
    void sy_close(struct sy_engine *e);
    void sy_free(struct sy_engine *e);
    struct sy_thread *sy_template(struct sy_engine *e, int *err);
    int sy_python_install(void);
    void sy_ahead(struct sy_engine *e, int nr, uint32_t plan);

    void sy_space_drop(struct sy_engine *e, struct sy_space *s);
    void sy_space_release(struct sy_engine *e, struct sy_space *s);
    int64_t sy_space_call(struct sy_engine *e, struct sy_space *s, long nr, uint64_t a0, uint64_t a1,
                          uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5);
    int64_t sy_space_cmpxchg(struct sy_engine *e, struct sy_space *s, uint64_t addr, uint32_t expected,
                             uint32_t desired, uint32_t *found);
    int64_t sy_space_mincore(struct sy_engine *e, struct sy_space *s, uint64_t addr, uint64_t len, void *vec);
    int sy_space_tid(struct sy_space *s);
    int sy_space_settle(struct sy_engine *e, struct sy_space *s);

    struct sy_thread *sy_clone(struct sy_engine *e, struct sy_thread *parent, int as_thread, int *err);
    struct sy_space *sy_thread_space(struct sy_thread *t);
    int sy_thread_tid(struct sy_thread *t);
    void sy_thread_drop(struct sy_engine *e, struct sy_thread *t);
    void sy_thread_release(struct sy_engine *e, struct sy_thread *t);
    void sy_thread_interrupt(struct sy_engine *e, struct sy_thread *t);
    int sy_unpatched(struct sy_engine *e, struct sy_thread *t);
    void sy_patch_undo(struct sy_engine *e, struct sy_space *s, uint64_t start, uint64_t end, int restore);
    void sy_thread_answer(struct sy_engine *e, struct sy_thread *t, int nr, uint32_t value);
    void sy_thread_forget(struct sy_engine *e, struct sy_thread *t);
    void sy_answers(struct sy_engine *e, int on);
    void sy_thread_regs_set(struct sy_engine *e, struct sy_thread *t);
    int64_t sy_thread_get_fpu(struct sy_engine *e, struct sy_thread *t, void *buf, uint64_t len);
    int64_t sy_thread_set_fpu(struct sy_engine *e, struct sy_thread *t, const void *buf, uint64_t len);
    """
)
ffi.set_source(
    "runsc_platform_systrap._engine",
    '#include "engine.h"',
    sources=[path(name) for name in SOURCES],
    include_dirs=[os.path.join(HERE, "csrc")],
    depends=[path("engine.h"), path("stub.h")],
    define_macros=[("Py_LIMITED_API", "0x030b0000")],
    extra_compile_args=["-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror"],
)


def build_in_place() -> None:
    """Compile for development: the module lands next to the package's sources."""
    with tempfile.TemporaryDirectory() as tmp:
        built = ffi.compile(tmpdir=tmp)
        # The name an installation gives it, so that none hides the other.
        shutil.copy(built, os.path.join(HERE, "runsc_platform_systrap", "_engine.abi3.so"))


if __name__ == "__main__":
    build_in_place()
