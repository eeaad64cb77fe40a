"""The list of areas against a model: a dictionary of pages."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from runsc.kernel.mm.vma import PAGE, Vma, VmaList

PAGES = 40

step = st.tuples(
    st.sampled_from(["map", "unmap", "protect"]),
    st.integers(0, PAGES - 1),
    st.integers(1, 8),
    st.integers(0, 7),
)


def pages_of(vmas: VmaList) -> dict[int, int]:
    found = {}
    for vma in vmas:
        for page in range(vma.start // PAGE, vma.end // PAGE):
            assert page not in found
            found[page] = vma.prot
    return found


@settings(max_examples=200, deadline=None)
@given(st.lists(step, max_size=30))
def test_areas_match_a_model(steps: list[tuple[str, int, int, int]]) -> None:
    vmas = VmaList()
    model: dict[int, int] = {}
    for what, first, count, prot in steps:
        last = min(first + count, PAGES)
        start, end = first * PAGE, last * PAGE
        if what == "protect":
            vmas.split_at(start)
            vmas.split_at(end)
            for vma in vmas.overlapping(start, end):
                vma.prot = prot
            vmas.rejoin(start, end)
            model.update({page: prot for page in range(first, last) if page in model})
        else:
            for vma in vmas.remove(start, end):
                vma.release()
            for page in range(first, last):
                model.pop(page, None)
            if what == "map":
                vmas.insert(Vma(start, end, prot))
                model.update(dict.fromkeys(range(first, last), prot))
        assert pages_of(vmas) == model
        assert vmas.starts == sorted(vma.start for vma in vmas)
        assert [vma.start for vma in vmas] == vmas.starts
        # Neighbours that continue each other are one area.
        areas = list(vmas)
        assert not any(a.mergeable(b) for a, b in itertools.pairwise(areas))
        for page in range(PAGES):
            vma_here = vmas.find(page * PAGE)
            assert (vma_here is not None) == (page in model)
        # What it remembers of gaps that were too small stays true.
        for size in (count, 1, prot + 1):
            fits = [at for at in range(PAGES - size + 1) if not model.keys() & set(range(at, at + size))]
            assert vmas.gap(size * PAGE, 0, PAGES * PAGE) == (fits[-1] * PAGE if fits else None)


@settings(max_examples=100, deadline=None)
@given(st.sets(st.integers(0, PAGES - 1)), st.integers(1, 6))
def test_gaps_are_free_and_the_outermost(taken: set[int], count: int) -> None:
    vmas = VmaList()
    for page in sorted(taken):
        vmas.insert(Vma(page * PAGE, (page + 1) * PAGE, page % 8))
    fits = [at for at in range(PAGES - count + 1) if not any(at + i in taken for i in range(count))]
    assert vmas.gap(count * PAGE, 0, PAGES * PAGE) == (fits[-1] * PAGE if fits else None)
    assert vmas.gap_up(count * PAGE, 0, PAGES * PAGE) == (fits[0] * PAGE if fits else None)
