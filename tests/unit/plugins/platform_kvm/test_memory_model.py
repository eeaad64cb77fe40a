"""The memory part of the KVM engine against a model, built with the address and undefined-behaviour
sanitizers.

The model knows pages, not page tables: what each page of each space may be used for and what it holds.
``harness.c`` plays the guest's processor, with a memory of translations as KVM's, so that a missing flush is
found too.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HERE = Path(__file__).parent
CSRC = HERE.parents[3] / "plugins" / "platform_kvm" / "csrc"
SOURCES = (
    "access", "advice", "fault", "files", "flush",
    "frames", "guard", "mm", "regions", "slots", "space", "tables",
)  # fmt: skip

PAGE = 4096
#: The pages in play lie on both sides of a border of page tables.
FIRST = 0x200000 - 5 * PAGE
PAGES = 10
FILE_PAGES = 6
SHARED, PRIVATE = 1, 2
EFAULT, EINVAL, ENOMEM, EACCES = 14, 22, 12, 13
FIXED, MAPERR, ACCERR, BUS = range(4)
(MAP, UNMAP, PROTECT, MOVE, FORK, RELEASE, RESET, ADVISE, RESIDENCY, READ, WRITE, POKE, CMPXCHG, TRUNCATE,
 LOAD, STORE, FETCH, THREADS) = range(1, 19)  # fmt: skip
DONTNEED = 4


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    program = tmp_path_factory.mktemp("harness") / "harness"
    flags = [
        "-O1",
        "-g",
        "-std=gnu11",
        "-pthread",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
    ]
    sources = [str(HERE / "harness.c"), *(str(CSRC / f"{name}.c") for name in SOURCES)]
    done = subprocess.run(
        [compiler, *flags, f"-I{CSRC}", "-o", str(program), *sources],
        capture_output=True,
        text=True,
        check=False,
    )
    if "cannot find -lasan" in done.stderr or "libasan" in done.stderr:
        pytest.skip("needs the sanitizers of the C compiler")
    assert done.returncode == 0, done.stderr
    return program


class Page(NamedTuple):
    """A mapped page: ``own`` is what it holds by itself, None while it is a file's (or zero)."""

    prot: int
    shared: bool
    file: int  # 0: none; 1-3, or 4-6: the same files, open for reading only
    offset: int  # in pages
    own: int | None


class Model:
    """What every space holds, page by page, and what operations should answer."""

    def __init__(self) -> None:
        self.spaces: dict[int, dict[int, Page]] = {0: {}}
        self.files: dict[tuple[int, int], int] = {}
        self.sizes = [0, 0, 0]

    def inside(self, page: Page) -> bool:
        return page.file == 0 or page.offset < self.sizes[(page.file - 1) % 3]

    def content(self, page: Page) -> int:
        if page.own is not None:
            return page.own
        return self.files.get(((page.file - 1) % 3, page.offset), 0) if page.file else 0

    def store(self, space: dict[int, Page], at: int, value: int) -> None:
        page = space[at]
        if page.shared:
            self.files[(page.file - 1) % 3, page.offset] = value
        else:
            space[at] = page._replace(own=value)

    def access(self, space: int, at: int, need: int) -> int:
        page = self.spaces[space].get(at)
        if page is None:
            return MAPERR
        if not (page.prot & need if need != 1 else page.prot):
            return ACCERR
        return FIXED if page.own is not None or self.inside(page) else BUS


def words(*values: int) -> bytes:
    return struct.pack("<8Q", *(v & (1 << 64) - 1 for v in (*values, *[0] * (8 - len(values)))))


ranges = st.tuples(st.integers(0, PAGES - 1), st.integers(1, 6)).map(
    lambda r: (r[0], min(r[1], PAGES - r[0]))
)
prots = st.sampled_from([0, 1, 3, 3, 3, 5, 7, 2])
operations = st.one_of(
    st.tuples(st.just(MAP), ranges, prots, st.integers(0, 6), st.booleans(), st.integers(0, FILE_PAGES)),
    st.tuples(st.just(UNMAP), ranges),
    st.tuples(st.just(PROTECT), ranges, prots),
    st.tuples(st.just(MOVE), ranges, ranges, st.booleans()),
    st.tuples(st.just(FORK), st.integers(0, 5)),
    st.tuples(st.just(RELEASE)),
    st.tuples(st.just(RESET)),
    st.tuples(st.just(ADVISE), ranges),
    st.tuples(st.just(RESIDENCY), ranges),
    st.tuples(st.just(TRUNCATE), st.integers(0, 2), st.integers(0, FILE_PAGES)),
    st.tuples(st.just(THREADS), st.integers(1, 2)),
    *(
        st.tuples(st.just(what), st.integers(0, PAGES - 1), st.integers(1, 1 << 31))
        for what in (READ, WRITE, POKE, CMPXCHG, LOAD, LOAD, STORE, STORE, STORE, FETCH)
    ),
)


class Script:
    """Operations as the harness reads them, with the answers that the model expects (None: any)."""

    def __init__(self) -> None:
        self.model = Model()
        self.ops: list[bytes] = []
        self.expected: list[tuple[int, int | None]] = []

    def add(self, result: int, value: int | None, *op: int) -> None:
        self.ops.append(words(*op))
        self.expected.append((result, value))

    def perform(self, number: int, op: tuple[object, ...]) -> None:
        what = op[0]
        assert isinstance(what, int)
        names = sorted(self.model.spaces)
        name = names[number % len(names)] if names else 0
        if what == TRUNCATE:
            self.truncate(*op[1:])  # type: ignore[arg-type]
        elif not names:
            return
        else:
            method = getattr(self, f"do_{what}", None)
            if method is not None:
                method(name, *op[1:])
            else:
                self.touch(what, name, *op[1:])  # type: ignore[arg-type]

    def truncate(self, file: int, pages: int) -> None:
        model = self.model
        for key in [key for key in model.files if key[0] == file and key[1] >= pages]:
            del model.files[key]
        model.sizes[file] = pages
        self.add(0, None, TRUNCATE, file, pages * PAGE)

    def at(self, page: int) -> int:
        return FIRST + page * PAGE

    def do_1(
        self, name: int, where: tuple[int, int], prot: int, file: int, shared: bool, offset: int
    ) -> None:
        start, count = where
        if file == 0:
            shared, offset = False, 0
        space = self.model.spaces[name]
        refused = file > 3 and shared and prot & 2
        op = (
            MAP,
            name,
            self.at(start),
            count * PAGE,
            prot,
            SHARED if shared else PRIVATE,
            file,
            offset * PAGE,
        )
        self.add(-EACCES if refused else 0, None, *op)
        if not refused:
            for i in range(count):
                space[start + i] = Page(prot, shared, file, offset + i if file else 0, None)

    def do_2(self, name: int, where: tuple[int, int]) -> None:
        start, count = where
        for i in range(start, start + count):
            self.model.spaces[name].pop(i, None)
        self.add(0, None, UNMAP, name, self.at(start), count * PAGE)

    def do_3(self, name: int, where: tuple[int, int], prot: int) -> None:
        start, count = where
        space = self.model.spaces[name]
        pages = [space.get(i) for i in range(start, start + count)]
        result = 0
        if None in pages:
            result = -ENOMEM
        elif any(p is not None and p.shared and p.file > 3 for p in pages) and prot & 2:
            result = -EACCES
        else:
            for i in range(start, start + count):
                space[i] = space[i]._replace(prot=prot)
        self.add(result, None, PROTECT, name, self.at(start), count * PAGE, prot)

    def do_4(self, name: int, old: tuple[int, int], new: tuple[int, int], keep: bool) -> None:
        """Only moves of one mapping, as the kernel asks for them."""
        space = self.model.spaces[name]
        (start, count), (target, length) = old, new
        pages = [space.get(i) for i in range(start, start + count)]
        first = pages[0]
        if first is None or any(
            p is None
            or (p.prot, p.shared, p.file) != (first.prot, first.shared, first.file)
            or (p.file and p.offset != first.offset + i)
            for i, p in enumerate(pages)
        ):
            return
        if target < start + count and start < target + length:
            return
        if keep:
            length = min(length, count)
            if length != count:
                return
        moved = [p for p in pages if p is not None][:length]
        for i in range(count):
            if keep:
                p = space[start + i]
                space[start + i] = p._replace(own=None)
            else:
                del space[start + i]
        for i in range(length):
            if i < count:
                space[target + i] = moved[i]
            else:
                last = moved[-1]
                offset = last.offset + 1 if last.file else 0
                moved.append(Page(last.prot, last.shared, last.file, offset, None))
                space[target + i] = moved[-1]
        self.add(0, None, MOVE, name, self.at(start), count * PAGE, self.at(target), length * PAGE, keep)

    def do_5(self, name: int, child: int) -> None:
        if child in self.model.spaces:
            return
        self.model.spaces[child] = dict(self.model.spaces[name])
        self.add(0, None, FORK, name, child)

    def do_6(self, name: int) -> None:
        if len(self.model.spaces) > 1:
            del self.model.spaces[name]
            self.add(0, None, RELEASE, name)

    def do_7(self, name: int) -> None:
        self.model.spaces[name].clear()
        self.add(0, None, RESET, name)

    def do_8(self, name: int, where: tuple[int, int]) -> None:
        start, count = where
        space = self.model.spaces[name]
        whole = all(i in space for i in range(start, start + count))
        for i in range(start, start + count):
            if i in space and not space[i].shared:
                space[i] = space[i]._replace(own=None)
        self.add(0 if whole else -ENOMEM, None, ADVISE, name, self.at(start), count * PAGE, DONTNEED)

    def do_9(self, name: int, where: tuple[int, int]) -> None:
        start, count = where
        whole = all(i in self.model.spaces[name] for i in range(start, start + count))
        self.add(0 if whole else -ENOMEM, None, RESIDENCY, name, self.at(start), count * PAGE)

    def do_18(self, name: int, count: int) -> None:
        self.add(0, None, THREADS, name, count)

    def touch(self, what: int, name: int, at: int, value: int) -> None:
        """An access to one page, by the guest or by us."""
        model = self.model
        space = model.spaces[name]
        page = space.get(at)
        op = (what, name, self.at(at), value)
        if what in (LOAD, FETCH):
            state = model.access(name, at, 1 if what == LOAD else 4)
            self.add(state, model.content(space[at]) if state == FIXED else None, *op)
        elif what == STORE:
            state = model.access(name, at, 2)
            if state == FIXED:
                model.store(space, at, value)
            self.add(state, None, *op)
        elif what == READ:
            works = model.access(name, at, 1) == FIXED
            self.add(8 if works else 0, model.content(space[at]) if works else None, *op)
        elif what == WRITE:
            works = model.access(name, at, 2) == FIXED
            if works:
                model.store(space, at, value)
            self.add(8 if works else 0, None, *op)
        elif what == POKE:
            state = model.access(name, at, 2)
            if state == ACCERR and page is not None and not page.shared:
                state = FIXED if page.own is not None or model.inside(page) else BUS
            if state == FIXED:
                model.store(space, at, value)
            self.add(8 if state == FIXED else 0, None, *op)
        elif what == CMPXCHG:
            works = model.access(name, at, 2) == FIXED
            found = model.content(space[at]) & 0xFFFFFFFF if works else None
            if works:
                if page is not None and not page.shared:  # it is made the space's own to be looked at
                    model.store(space, at, model.content(page))
                model.store(space, at, value)
            self.add(0 if works else -EFAULT, found, what, name, self.at(at), found or 0, value)


@settings(
    max_examples=int(os.environ.get("RUNSC_KVM_EXAMPLES", "120")),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(st.tuples(st.integers(0, 5), operations), min_size=20, max_size=120))
def test_any_sequence_of_operations(harness: Path, steps: list[tuple[int, tuple[object, ...]]]) -> None:
    script = Script()
    for file in range(3):
        script.truncate(file, FILE_PAGES - file)
    # Something to begin with; few pages, so that operations meet.
    script.do_1(0, (0, PAGES - 3), 3, 0, False, 0)
    script.do_1(0, (PAGES - 3, 3), 3, 1, True, 0)
    for number, op in steps:
        script.perform(number, op)
    run(harness, script)


def run(harness: Path, script: Script) -> None:
    """Let the harness do it, and compare."""
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0"}
    done = subprocess.run(
        [str(harness)],
        input=b"".join(script.ops),
        capture_output=True,
        env=environment,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    answers = list(struct.iter_unpack("<qQ", done.stdout))
    assert len(answers) == 2 * len(script.ops) + 2
    for i, (op, (result, value)) in enumerate(zip(script.ops, script.expected, strict=True)):
        shown = f"operation {i}: {[hex(w) for w in struct.unpack('<8Q', op)]}"
        got, got_value = answers[2 * i]
        assert got == result, shown
        if value is not None:
            assert got_value == value, shown
        assert answers[2 * i + 1][0] == 0, f"inconsistent after {shown}"
    (frames, holes), (lost, _) = answers[-2:]
    assert (frames, holes, lost) == (0, 1, 0), "something is left"
