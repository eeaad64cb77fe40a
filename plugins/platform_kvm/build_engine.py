"""Builds ``runsc_platform_kvm._engine`` (cffi, API mode)."""

from __future__ import annotations

import os
import shutil
import tempfile

from cffi import FFI

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCES = (
    "access.c",
    "advice.c",
    "cpuid.c",
    "engine.c",
    "exits.c",
    "fault.c",
    "files.c",
    "flush.c",
    "frames.c",
    "guard.c",
    "mm.c",
    "process.c",
    "regions.c",
    "run.c",
    "slots.c",
    "space.c",
    "system.c",
    "tables.c",
    "thread.c",
    "vcpu.c",
    "wait.c",
)


def path(name: str) -> str:
    """A C source, as setuptools wants it (relative) or, for building in place, absolute."""
    full = os.path.join(HERE, "csrc", name)
    return full if __name__ == "__main__" else os.path.relpath(full)


ffi = FFI()
ffi.cdef(
    """
    #define KV_GONE ...
    #define KV_WAY_USER ...
    #define KV_WAY_SUPERVISOR ...
    #define KV_KICK_SIGNAL ...

    struct kv_process;
    struct kv_thread;
    struct kv_engine { uint64_t task_size, min_address; int way, ring; ...; };

    int kv_api_version(int kvm_fd);
    const char *kv_missing(int kvm_fd);
    struct kv_engine *kv_open(int kvm_fd, int *err);
    int kv_set_way(struct kv_engine *e, int way);
    void kv_vcpus_rest(struct kv_engine *e);
    void kv_close(struct kv_engine *e);
    void kv_free(struct kv_engine *e);
    int64_t kv_wait(struct kv_engine *e, int poll_fd, int64_t timeout_ns);

    struct kv_process *kv_process_new(struct kv_engine *e, int *err);
    struct kv_process *kv_process_fork(struct kv_engine *e, struct kv_process *p, int *err);
    void kv_process_drop(struct kv_process *p);
    void kv_process_release(struct kv_engine *e, struct kv_process *p);
    int kv_process_reset(struct kv_engine *e, struct kv_process *p);
    int kv_process_map(struct kv_process *p, uint64_t va, uint64_t len, int prot, int flags, int fd,
                       uint64_t offset);
    int kv_process_unmap(struct kv_process *p, uint64_t va, uint64_t len);
    int kv_process_protect(struct kv_process *p, uint64_t va, uint64_t len, int prot);
    int kv_process_move(struct kv_process *p, uint64_t old, uint64_t old_len, uint64_t va, uint64_t len,
                        int keep);
    int kv_process_advise(struct kv_process *p, uint64_t va, uint64_t len, int advice);
    int kv_process_sync(struct kv_process *p, uint64_t va, uint64_t len, int flags);
    int kv_process_residency(struct kv_process *p, uint64_t va, uint64_t len, void *vec);
    int64_t kv_process_read(struct kv_process *p, uint64_t va, void *buf, uint64_t len);
    int64_t kv_process_write(struct kv_process *p, uint64_t va, const void *buf, uint64_t len);
    int64_t kv_process_poke(struct kv_process *p, uint64_t va, const void *buf, uint64_t len);
    int64_t kv_process_cmpxchg(struct kv_process *p, uint64_t va, uint32_t expected, uint32_t desired,
                               uint32_t *found);
    uint64_t kv_process_resident(struct kv_process *p);

    struct kv_thread *kv_thread_new(struct kv_engine *e, struct kv_process *p, struct kv_thread *parent,
                                    int *err);
    void kv_thread_drop(struct kv_thread *t);
    void kv_thread_release(struct kv_engine *e, struct kv_thread *t);
    void kv_thread_complete(struct kv_engine *e, struct kv_thread *t, int64_t result);
    void kv_thread_resume(struct kv_engine *e, struct kv_thread *t);
    void kv_thread_interrupt(struct kv_engine *e, struct kv_thread *t);
    void kv_thread_regs_set(struct kv_thread *t);
    int64_t kv_thread_handle(struct kv_thread *t);
    int64_t kv_thread_get_fpu(struct kv_engine *e, struct kv_thread *t, void *buf, uint64_t len);
    int64_t kv_thread_set_fpu(struct kv_engine *e, struct kv_thread *t, const void *buf, uint64_t len);
    uint64_t kv_thread_cpu_ns(struct kv_thread *t);
    """
)
ffi.set_source(
    "runsc_platform_kvm._engine",
    '#include "engine.h"',
    sources=[path(name) for name in SOURCES],
    include_dirs=[os.path.join(HERE, "csrc")],
    depends=[path("engine.h"), path("mm.h"), path("system.h")],
    extra_compile_args=["-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-pthread"],
    extra_link_args=["-pthread"],
)


def build_in_place() -> None:
    """Compile for development: the module lands next to the package's sources."""
    with tempfile.TemporaryDirectory() as tmp:
        built = ffi.compile(tmpdir=tmp)
        shutil.copy(built, os.path.join(HERE, "runsc_platform_kvm"))


if __name__ == "__main__":
    build_in_place()
