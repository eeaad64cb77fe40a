"""What a platform may copy ahead of a system call, from the call's declaration.

A platform where each copy of guest memory is a host call of its own may take what a handler will read
together with the call's registers (``Platform.prepare``). Only what the call itself names is worth it: a
path, a buffer, a struct. Which bytes these are follows from the types of the arguments.
"""

from __future__ import annotations

from runsc.platform import COPY_COUNTED, COPY_FIXED, COPY_STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Declaration
    from runsc.platform import CopyAhead

#: bytes of the structs that calls read, by their names in declarations
_STRUCTS = {
    "epoll_event": 12,
    "int": 4,
    "itimerspec": 32,
    "itimerval": 32,
    "off": 8,
    "open_how": 24,
    "rlimit": 16,
    "sigaction": 32,
    "sigset": 8,
    "timespec": 16,
    "timespec2": 32,
    "timeval": 16,
    "timeval2": 32,
}
_MSGHDR = 56

#: bytes of an element where the argument behind counts them
_ELEMENTS = {"inbuf": 1, "insockaddr": 1, "iniovec": 16, "outiovec": 16, "pollfds": 8}

#: futex(2): what its arguments are depends on one of them.
_NOT = frozenset((202,))


def copied_ahead(declaration: Declaration) -> tuple[CopyAhead, ...]:
    """The ranges that the handler of this call will read, in the order of its arguments."""
    found: list[CopyAhead] = []
    arguments = declaration.args
    if declaration.number in _NOT:
        return ()
    for index, (_name, arg) in enumerate(arguments):
        kind = arg.kind
        if kind == "path":
            found.append((index, COPY_STRING, 0, 0))
        elif kind in _ELEMENTS and index + 1 < len(arguments):
            found.append((index, COPY_COUNTED, _ELEMENTS[kind], index + 1))
        elif kind in ("inmsghdr", "outmsghdr"):
            found.append((index, COPY_FIXED, _MSGHDR, 0))
        elif (kind == "instruct" or arg.detail in ("int", "off")) and arg.detail in _STRUCTS:
            found.append((index, COPY_FIXED, _STRUCTS[arg.detail], 0))
    return tuple(found)
