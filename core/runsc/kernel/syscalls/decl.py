"""How a system call is declared: once, as a function whose annotations say what its arguments are.

    @syscall(0)
    def read(task: Task, fd: Fd, buf: OutBuf, count: Size) -> Result: ...

From this come the dispatch table with its argument conversion (``compile_entry``), the strace line
(``Arg.kind``), the support table of ``runsc syscalls``, and what a platform may copy ahead.

A handler gets its task and converted arguments, and answers
  - an int: the result (errors are raised as ``LinuxError``), or
  - a coroutine, if it has to wait: it is run by the kernel's loop and answers the int later.
A handler that replaced the registers (rt_sigreturn, execve) answers ``REGISTERS_SET``; one whose
task is no more, ``GONE``.
"""

from __future__ import annotations

from runsc.hints import Annotated
from runsc.kernel.syscalls.ahead import copied_ahead

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any, TypeAlias

    from runsc.kernel.task import Task

    Result: TypeAlias = int | Coroutine[Any, Any, int]
    Handler: TypeAlias = Callable[..., Result]
    Entry: TypeAlias = Callable[[Task, tuple[int, int, int, int, int, int]], Result]


#: Results that are no results: larger than any 64-bit value.
REGISTERS_SET = 1 << 65
GONE = 1 << 66

FULL = "full"
PARTIAL = "partial"
NONE = "none"


class Arg:
    """What one argument is.

    ``kind`` names the formatter of strace; ``detail`` belongs to it (a table of flags, a struct).
    ``convert`` is a Python expression of ``{}``, the raw 64-bit value, and ``task``.
    ``writes``: the kernel writes there, so strace shows it after the call.
    """

    __slots__ = ("convert", "detail", "kind", "writes")

    def __init__(self, kind: str, convert: str = "{}", detail: str = "", writes: bool = False) -> None:
        self.kind = kind
        self.convert = convert
        self.detail = detail
        self.writes = writes


_I32 = "((({}) & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000"
_U32 = "{} & 0xFFFFFFFF"
_I64 = "(({}) ^ 0x8000000000000000) - 0x8000000000000000"
_PATH = "task.mm.copy_in_path({})"

# Numbers.
Int = Annotated[int, Arg("int", _I32)]
UInt = Annotated[int, Arg("uint", _U32)]
Long = Annotated[int, Arg("long", _I64)]
ULong = Annotated[int, Arg("ulong")]
Hex = Annotated[int, Arg("hex")]
Size = Annotated[int, Arg("size")]
Off = Annotated[int, Arg("off", _I64)]
Fd = Annotated[int, Arg("fd", _I32)]
DirFd = Annotated[int, Arg("dirfd", _I32)]
Pid = Annotated[int, Arg("pid", _I32)]
Uid = Annotated[int, Arg("uid", _U32)]
Signal = Annotated[int, Arg("signal", _I32)]
Mode = Annotated[int, Arg("mode", _U32)]
Dev = Annotated[int, Arg("dev", _U32)]
Clock = Annotated[int, Arg("clock", _I32)]
Whence = Annotated[int, Arg("whence", _U32)]
Request = Annotated[int, Arg("ioctl", _U32)]

# Flags; ``detail`` names the table in runsc.strace.flags.
OpenFlags = Annotated[int, Arg("flags", _I32, "open")]
AtFlags = Annotated[int, Arg("flags", _I32, "at")]
Prot = Annotated[int, Arg("flags", "{}", "prot")]
MapFlags = Annotated[int, Arg("flags", "{}", "map")]
MremapFlags = Annotated[int, Arg("flags", "{}", "mremap")]
Advice = Annotated[int, Arg("enum", _I32, "madvise")]
CloneFlags = Annotated[int, Arg("flags", "{}", "clone")]
UnshareFlags = Annotated[int, Arg("flags", _U32, "clone")]
WaitOptions = Annotated[int, Arg("flags", _I32, "wait")]
AccessMode = Annotated[int, Arg("flags", _I32, "access")]
FcntlCmd = Annotated[int, Arg("enum", _U32, "fcntl")]
FutexOp = Annotated[int, Arg("enum", _I32, "futex")]
EpollOp = Annotated[int, Arg("enum", _I32, "epoll_ctl")]
PipeFlags = Annotated[int, Arg("flags", _I32, "open")]
FdFlags = Annotated[int, Arg("flags", _I32, "fdflags")]
RenameFlags = Annotated[int, Arg("flags", _U32, "rename")]
FallocMode = Annotated[int, Arg("flags", _I32, "falloc")]
MountFlags = Annotated[int, Arg("flags", "{}", "mount")]
UmountFlags = Annotated[int, Arg("flags", _I32, "umount")]
StatxMask = Annotated[int, Arg("flags", _U32, "statx")]
SigHow = Annotated[int, Arg("enum", _I32, "sigprocmask")]
Resource = Annotated[int, Arg("enum", _U32, "rlimit")]
PrctlOp = Annotated[int, Arg("enum", _I32, "prctl")]
ArchPrctlOp = Annotated[int, Arg("enum", _I32, "arch_prctl")]
SockDomain = Annotated[int, Arg("enum", _I32, "af")]
SockType = Annotated[int, Arg("flags", _I32, "socktype")]
MsgFlags = Annotated[int, Arg("flags", _U32, "msg")]
EfdFlags = Annotated[int, Arg("flags", _I32, "open")]
RandomFlags = Annotated[int, Arg("flags", _U32, "getrandom")]
IdType = Annotated[int, Arg("enum", _I32, "idtype")]
RusageWho = Annotated[int, Arg("enum", _I32, "rusage")]
RwFlags = Annotated[int, Arg("flags", _I32, "rwf")]
CloseRangeFlags = Annotated[int, Arg("flags", _U32, "close_range")]
FlockOp = Annotated[int, Arg("flags", _I32, "flock")]
MemfdFlags = Annotated[int, Arg("flags", _U32, "memfd")]
SpliceFlags = Annotated[int, Arg("flags", _U32, "splice")]
SyncRangeFlags = Annotated[int, Arg("flags", _U32, "sync_file_range")]
XattrFlags = Annotated[int, Arg("flags", _I32, "xattr")]
FileAdvice = Annotated[int, Arg("enum", _I32, "fadvise")]

# Addresses. A buffer's length is the argument behind it; a struct's, its name.
Ptr = Annotated[int, Arg("ptr")]
InBuf = Annotated[int, Arg("inbuf")]
OutBuf = Annotated[int, Arg("outbuf", writes=True)]
InIovec = Annotated[int, Arg("iniovec")]
OutIovec = Annotated[int, Arg("outiovec", writes=True)]
StringList = Annotated[int, Arg("strings")]
InTimespec = Annotated[int, Arg("instruct", detail="timespec")]
InTimespecs2 = Annotated[int, Arg("instruct", detail="timespec2")]
OutTimespec = Annotated[int, Arg("outstruct", detail="timespec", writes=True)]
InTimeval = Annotated[int, Arg("instruct", detail="timeval")]
OutTimeval = Annotated[int, Arg("outstruct", detail="timeval", writes=True)]
InTimevals2 = Annotated[int, Arg("instruct", detail="timeval2")]
OutStat = Annotated[int, Arg("outstruct", detail="stat", writes=True)]
OutStatx = Annotated[int, Arg("outstruct", detail="statx", writes=True)]
OutStatfs = Annotated[int, Arg("outstruct", detail="statfs", writes=True)]
OutUtsname = Annotated[int, Arg("outstruct", detail="utsname", writes=True)]
OutFdPair = Annotated[int, Arg("outstruct", detail="fdpair", writes=True)]
OutInt = Annotated[int, Arg("outstruct", detail="int", writes=True)]
InOutInt = Annotated[int, Arg("outstruct", detail="int", writes=True)]
InOutOff = Annotated[int, Arg("outstruct", detail="off", writes=True)]
OutRusage = Annotated[int, Arg("outstruct", detail="rusage", writes=True)]
OutSiginfo = Annotated[int, Arg("outstruct", detail="siginfo", writes=True)]
InSigaction = Annotated[int, Arg("instruct", detail="sigaction")]
OutSigaction = Annotated[int, Arg("outstruct", detail="sigaction", writes=True)]
InSigset = Annotated[int, Arg("instruct", detail="sigset")]
OutSigset = Annotated[int, Arg("outstruct", detail="sigset", writes=True)]
InRlimit = Annotated[int, Arg("instruct", detail="rlimit")]
OutRlimit = Annotated[int, Arg("outstruct", detail="rlimit", writes=True)]
InItimerval = Annotated[int, Arg("instruct", detail="itimerval")]
OutItimerval = Annotated[int, Arg("outstruct", detail="itimerval", writes=True)]
InItimerspec = Annotated[int, Arg("instruct", detail="itimerspec")]
OutItimerspec = Annotated[int, Arg("outstruct", detail="itimerspec", writes=True)]
InOutPollfds = Annotated[int, Arg("pollfds", writes=True)]
InOutFdset = Annotated[int, Arg("ptr")]
InOpenHow = Annotated[int, Arg("instruct", detail="open_how")]
InEpollEvent = Annotated[int, Arg("instruct", detail="epoll_event")]
OutEpollEvents = Annotated[int, Arg("epoll_events", writes=True)]
Dirents = Annotated[int, Arg("dirents", writes=True)]
InSockaddr = Annotated[int, Arg("insockaddr")]
OutSockaddr = Annotated[int, Arg("outsockaddr", writes=True)]
InMsghdr = Annotated[int, Arg("inmsghdr")]
OutMsghdr = Annotated[int, Arg("outmsghdr", writes=True)]

#: A path: the handler gets bytes; EFAULT, ENAMETOOLONG are raised before it runs.
PathStr = Annotated[bytes, Arg("path", _PATH)]
#: A path that may be NULL or that the handler copies in by itself, when it knows that it needs it.
PathPtr = Annotated[int, Arg("path")]
#: Any other string the handler copies in.
StrPtr = Annotated[int, Arg("str")]


class Declaration:
    """One system call: what ``@syscall`` hangs on the handler."""

    __slots__ = ("_args", "handler", "name", "note", "number", "support")

    def __init__(self, number: int, name: str, handler: Handler | None, support: str, note: str) -> None:
        self.number = number
        self.name = name
        self.handler = handler
        self.support = support
        self.note = note
        self._args: tuple[tuple[str, Arg], ...] | None = None

    @property
    def args(self) -> tuple[tuple[str, Arg], ...]:
        """(name, Arg) of each argument, read from the handler's annotations when first asked for."""
        if self._args is None:
            self._args = () if self.handler is None else _arguments(self.handler)
        return self._args


def syscall(number: int, support: str = FULL, note: str = "", name: str = "") -> Callable[[Handler], Handler]:
    """Declare the function below as system call ``number`` of x86-64.

    ``support``: FULL, or PARTIAL with a ``note`` that says what is missing. The call's name is the function's
    (without a trailing underscore), unless ``name`` says otherwise.
    """
    if support == PARTIAL and not note:
        raise ValueError(f"system call {number}: partial support needs a note")

    def mark(handler: Handler) -> Handler:
        declaration = Declaration(number, name or handler.__name__.rstrip("_"), handler, support, note)
        handler.__dict__.setdefault("__syscalls__", []).append(declaration)
        return handler

    return mark


def _arguments(handler: Handler) -> tuple[tuple[str, Arg], ...]:
    """Read the annotations of a handler; done once."""
    found = []
    names = list(handler.__annotations__)
    for name in names[1:]:
        if name == "return":
            continue
        annotation = handler.__annotations__[name]
        if isinstance(annotation, str):
            annotation = eval(annotation, handler.__globals__)
        found.append((name, annotation.__metadata__[0]))
    if len(found) > 6:
        raise TypeError(f"{handler.__name__}: a system call has at most six arguments")
    return tuple(found)


def compile_entry(declaration: Declaration) -> Entry:
    """The function that the dispatcher calls: converts the raw arguments and calls the handler.

    It is compiled from a line of source text, so that a call pays for the conversions it needs and for
    nothing else.
    """
    handler = declaration.handler
    values = ["task"]
    for index, (_name, arg) in enumerate(declaration.args):
        values.append(arg.convert.format(f"a[{index}]"))
    source = f"def {declaration.name}_entry(task, a):\n    return handler({', '.join(values)})\n"
    scope: dict[str, Any] = {"handler": handler}
    exec(compile(source, f"<syscall {declaration.name}>", "exec"), scope)
    entry: Entry = scope[f"{declaration.name}_entry"]
    return entry


def compile_conversion(declaration: Declaration) -> Callable[[Task, Any], tuple[int | bytes, ...]]:
    """What turns the raw arguments into those that the handler gets behind its task."""
    values = [arg.convert.format(f"a[{index}]") for index, (_name, arg) in enumerate(declaration.args)]
    source = f"def convert(task, a):\n    return ({''.join(value + ', ' for value in values)})\n"
    scope: dict[str, Any] = {}
    exec(compile(source, f"<arguments of {declaration.name}>", "exec"), scope)
    convert: Callable[[Task, Any], tuple[int | bytes, ...]] = scope["convert"]
    return convert


def lazy_entry(declaration: Declaration, table: list[Entry]) -> Entry:
    """An entry that compiles itself when it is first called, and puts the result in its place in ``table``.

    A program uses a quarter of the calls there are; compiling all of them costs 20 ms at every start.
    """

    def entry(task: Task, a: tuple[int, int, int, int, int, int]) -> Result:
        compiled = table[declaration.number] = compile_entry(declaration)
        task.kernel.platform.prepare(declaration.number, copied_ahead(declaration))
        return compiled(task, a)

    return entry
