"""Random steps on a small tree, for the tests that compare file systems (see ``differential``)."""

from __future__ import annotations

import os
from typing import Any

from differential import FD, HERE, Fill
from hypothesis import strategies as st

#: What is there before the steps: directories, files with content, a link, and files open in the slots.
SETUP: list[tuple[Any, ...]] = [
    ("mkdirat", HERE, b"a", 0o755),
    ("mkdirat", HERE, b"a/b", 0o755),
    ("mkdirat", HERE, b"b", 0o2777),
    ("open", 0, b"c", os.O_RDWR | os.O_CREAT, 0o644),
    ("write", FD(0), b"content" * 100, 700),
    ("open", 1, b"a/a", os.O_RDWR | os.O_CREAT, 0o755),
    ("pwrite64", FD(1), b"second", 6, 9000),
    ("open", 2, b"b/a", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o4755),
    ("linkat", HERE, b"a/a", HERE, b"b/b", 0),
    ("symlinkat", b"a", HERE, b"b/c"),
    ("mkdirat", HERE, b"a/c", 0o755),
]

#: Depths of one and two are where things meet.
paths = st.sampled_from(
    [
        b"a",
        b"b",
        b"c",
        b"a/a",
        b"a/b",
        b"a/c",
        b"b/a",
        b"b/b",
        b"b/c",
        b"a/b/a",
        b"a/b/b",
        b"a/c/a",
        b"c/a",
        b"b/c/b",
    ]
)
modes = st.sampled_from([0o644, 0o755, 0o600, 0o777, 0o2755, 0o4711, 0o1777, 0])
slots = st.integers(0, 2)
offsets = st.sampled_from(
    [0, 1, 100, 4095, 4096, 5000, 12288, 70000, 1 << 20, (1 << 20) + 5, 3 << 20, 1 << 33]
)
lengths = st.sampled_from([1, 10, 4096, 5000, 8192, 100000, 1 << 20])
data = st.sampled_from(
    [Fill(text) for text in (b"", b"x", b"hello" * 10, b"y" * 4096, b"z" * 10000, b"w" * 300000)]
)
xattrs = st.sampled_from([b"user.one", b"user.two", b"trusted.t", b"security.s", b"bogus.x", b"user."])
open_flags = st.sampled_from(
    [
        os.O_RDONLY,
        os.O_RDWR,
        os.O_RDWR | os.O_CREAT,
        os.O_RDWR | os.O_CREAT | os.O_EXCL,
        os.O_RDWR | os.O_CREAT | os.O_TRUNC,
        os.O_RDWR | os.O_TRUNC,
        os.O_RDWR | os.O_APPEND | os.O_CREAT,
        os.O_RDONLY | os.O_DIRECTORY,
        os.O_RDONLY | os.O_NOFOLLOW,
        os.O_PATH,
        os.O_RDWR | os.O_TMPFILE,
    ]
)

link_targets = st.sampled_from([b"a", b"b/c", b"../a", b"n" * 200])
node_types = st.sampled_from([0o10644, 0o100600, 0o20600, 0o140755])

#: Calls that change the tree by names.
name_steps = st.one_of(
    st.tuples(st.just("mkdirat"), st.just(HERE), paths, modes),
    st.tuples(st.just("unlinkat"), st.just(HERE), paths, st.sampled_from([0, 0x200])),
    st.tuples(
        st.just("renameat2"), st.just(HERE), paths, st.just(HERE), paths, st.sampled_from([0, 0, 0, 1, 2, 4])
    ),
    st.tuples(st.just("linkat"), st.just(HERE), paths, st.just(HERE), paths, st.just(0)),
    st.tuples(st.just("symlinkat"), link_targets, st.just(HERE), paths),
    st.tuples(st.just("mknodat"), st.just(HERE), paths, node_types, st.just(0x103)),
)  # fmt: skip
attribute_steps = st.one_of(
    st.tuples(st.just("fchmodat"), st.just(HERE), paths, modes),
    st.tuples(
        st.just("fchownat"), st.just(HERE), paths, st.sampled_from([0, 7, -1]), st.sampled_from([0, 9, -1]),
        st.just(0x100),
    ),
    st.tuples(st.just("lsetxattr"), paths, xattrs, st.just(b"value"), st.integers(0, 5), st.integers(0, 2)),
    st.tuples(st.just("lremovexattr"), paths, xattrs),
    st.tuples(st.just("truncate"), paths, offsets),
)  # fmt: skip
file_steps = st.one_of(
    st.tuples(st.just("open"), slots, paths, open_flags, modes),
    st.tuples(st.just("open"), slots, paths, open_flags, modes),
    st.tuples(st.just("close"), slots),
    st.builds(lambda slot, what: ("write", FD(slot), what, len(what)), slots, data),
    st.builds(lambda slot, what, at: ("pwrite64", FD(slot), what, len(what), at), slots, data, offsets),
    st.tuples(st.just("read"), slots, lengths),
    st.tuples(st.just("pread64"), slots, lengths, offsets),
    st.builds(lambda slot, at, how: ("lseek", FD(slot), at, how), slots, offsets, st.integers(0, 5)),
    st.builds(lambda slot, size: ("ftruncate", FD(slot), size), slots, offsets),
    st.builds(
        lambda slot, mode, at, length: ("fallocate", FD(slot), mode, at, length),
        slots, st.sampled_from([0, 1, 3, 2, 8, 16, 32]), offsets, lengths,
    ),
    st.tuples(st.just("fstat"), slots),
)  # fmt: skip
look_steps = st.one_of(
    st.tuples(st.just("stat"), paths),
    st.tuples(st.just("list"), paths),
    st.tuples(st.just("readlinkat"), st.just(HERE), paths),
)
