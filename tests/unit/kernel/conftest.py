"""Kernels without a platform leave nothing behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support import close_kernels

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def kernels_are_closed() -> Iterator[None]:
    """End the kernels that a test made, so that their descriptors don't get in the way of the next one's."""
    yield
    close_kernels()
