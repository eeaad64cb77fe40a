"""Functions of the engine for what happens at every event (csrc/python.c)."""

from collections.abc import Callable

from runsc.platform import Thread

def bind_engine(address: int) -> Callable[[int, int], Thread | None]: ...
def bind_thread(thread: Thread, address: int) -> tuple[Callable[[int], None], Callable[[], None]]: ...
def bind_space(
    address: int,
) -> tuple[Callable[[int, int], bytes], Callable[[int, bytes | bytearray | memoryview], int]]: ...
