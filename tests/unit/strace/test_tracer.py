"""The tracer's own rules: filter, limits, calls that don't come back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support import Buffer, make_task

from runsc.abi.registers import RAX
from runsc.abi.syscalls import NAMES, NUMBERS
from runsc.config import Config
from runsc.errors import RunscError
from runsc.kernel.siginfo import SigInfo
from runsc.kernel.syscalls.decl import GONE, REGISTERS_SET
from runsc.kernel.syscalls.table import build_table
from runsc.log import Log
from runsc.strace import make_tracer
from runsc.strace.arguments import _PLAIN, _WITH_DETAIL
from runsc.strace.flags import TABLES
from runsc.strace.structs import LAYOUTS
from runsc.strace.text import quote
from runsc.strace.tracer import Tracer

if TYPE_CHECKING:
    from runsc.kernel.task import Task

ZEROS: Any = (0,) * 6


def tracer_for(task: Task, **options: Any) -> tuple[Tracer, list[str]]:
    task.comm = b"prog"
    lines: list[str] = []
    return Tracer(build_table(), lines.append, **options), lines


def trace(tracer: Tracer, task: Task, name: str, *args: int, result: int = 0, ns: int = 0) -> None:
    values: Any = (*args, *ZEROS)[:6]
    tracer.enter(task, NUMBERS[name], values)
    tracer.exit(task, NUMBERS[name], values, result, ns)


def test_a_whole_line() -> None:
    task = make_task()
    tracer, lines = tracer_for(task)
    path = Buffer(task).text(b"/etc/passwd")
    trace(tracer, task, "openat", -100 & 0xFFFFFFFFFFFFFFFF, path, 0o2000000, result=3, ns=21_999)
    assert lines == [
        f'[{task.tid:4}] prog openat(AT_FDCWD, "/etc/passwd", O_RDONLY|O_CLOEXEC) = 3 <0.000021>'
    ]


def test_long_times() -> None:
    task = make_task()
    tracer, lines = tracer_for(task)
    trace(tracer, task, "pause", result=-4, ns=12_345_678_901)
    assert lines[0].endswith("pause() = -1 EINTR (Interrupted system call) <12.345678>")


def test_only_the_named_calls_are_shown() -> None:
    task = make_task()
    tracer, lines = tracer_for(task, names=["getpid", "getuid"])
    for name in ("getpid", "getgid", "getuid"):
        trace(tracer, task, name)
    tracer.enter(task, 9999, ZEROS)
    tracer.exit(task, 9999, ZEROS, -38, 0)
    assert [line.split()[-4] for line in lines] == ["getpid()", "getuid()"]


def test_an_unknown_name_is_an_error_for_the_user() -> None:
    config = Config()
    config.strace_syscalls = ["openat", "openta"]
    with pytest.raises(RunscError, match="'openta'"):
        make_tracer(config, Log())
    config.strace_syscalls = ["openat"]
    assert isinstance(make_tracer(config, Log()), Tracer)


def test_buffers_are_cut_and_paths_are_not() -> None:
    task = make_task()
    buffer = Buffer(task)
    tracer, lines = tracer_for(task, limit=4)
    data = buffer.put(b"abcdefgh")
    trace(tracer, task, "write", 1, data, 4, result=4)
    trace(tracer, task, "write", 1, data, 5, result=5)
    trace(tracer, task, "chdir", buffer.text(b"/a/long/path"))
    trace(tracer, task, "prctl", 15, buffer.text(b"abcd"))
    trace(tracer, task, "prctl", 15, buffer.text(b"abcde"))
    shown = [line.split("prog ")[1].split(" = ")[0] for line in lines]
    assert shown == [
        'write(1, "abcd", 4)',
        'write(1, "abcd"..., 5)',
        'chdir("/a/long/path")',
        'prctl(PR_SET_NAME, "abcd")',
        'prctl(PR_SET_NAME, "abcd"...)',
    ]


def test_what_can_not_be_read_is_an_address() -> None:
    task = make_task()
    tracer, lines = tracer_for(task)
    end = 0x10000000 + (1 << 20)
    trace(tracer, task, "write", 1, end - 2, 5, result=2)
    trace(tracer, task, "chdir", end - 2, result=-14)
    trace(tracer, task, "execve", end, end - 8, end - 8, result=-14)
    shown = [line.split("prog ")[1].split(" = ")[0] for line in lines]
    assert shown == [
        f"write(1, {end - 2:#x}, 5)",
        'chdir("")',
        f"execve({end:#x}, [], {end - 8:#x} /* 0 vars */)",
    ]


def test_arguments_are_those_from_before_the_call() -> None:
    task = make_task()
    tracer, lines = tracer_for(task)
    path = Buffer(task).text(b"/before")
    args: Any = (path, 0, 0, 0, 0, 0)
    tracer.enter(task, NUMBERS["chdir"], args)
    task.mm.copy_out(path, b"/after!")
    tracer.exit(task, NUMBERS["chdir"], args, 0, 0)
    assert 'chdir("/before")' in lines[0]


def test_calls_that_never_return() -> None:
    task = make_task()
    tracer, lines = tracer_for(task)
    args: Any = (3, 0, 0, 0, 0, 0)
    tracer.enter(task, NUMBERS["exit_group"], args)
    tracer.exited(task, 3 << 8)
    tracer.exit(task, NUMBERS["exit_group"], args, GONE, 0)
    other = make_task(task.kernel)
    other.comm = b"other"
    tracer.enter(other, NUMBERS["pause"], ZEROS)
    tracer.exited(other, 9)
    assert [line.split("] ")[1] for line in lines] == [
        "prog exit_group(3) = ?",
        "prog +++ exited with 3 +++",
        "other pause( <unfinished ...>) = ?",
        "other +++ killed by SIGKILL +++",
    ]
    assert not tracer.open


def test_results_that_were_put_into_the_registers() -> None:
    task = make_task()
    tracer, lines = tracer_for(task)
    regs = task.thread.get_regs()
    regs[RAX] = -4 & 0xFFFFFFFFFFFFFFFF
    task.thread.set_regs(regs)
    task.blocked = 1 << 16
    trace(tracer, task, "rt_sigreturn", result=REGISTERS_SET)
    trace(tracer, task, "getpid", result=5)
    task.blocked = 0
    trace(tracer, task, "rt_sigreturn", result=REGISTERS_SET)
    shown = [line.split("prog ")[1].rsplit(" <", 1)[0] for line in lines]
    assert shown == [
        "rt_sigreturn({mask=[CHLD]}) = -1 EINTR (Interrupted system call)",
        "getpid() = 5",
        "rt_sigreturn({mask=[]}) = -1 EINTR (Interrupted system call)",
    ]


def test_signals() -> None:
    task = make_task()
    tracer, lines = tracer_for(task)
    tracer.signal(task, SigInfo(11, 1, addr=0x10))
    tracer.signal(task, SigInfo(15, 0, pid=7, uid=1000))
    tracer.signal(task, SigInfo(17, 1, pid=7, uid=0, status=3, utime=1, stime=2))
    tracer.signal(task, SigInfo(17, 2, pid=7, uid=0, status=9))
    tracer.signal(task, SigInfo(34, -1, pid=7, uid=0, value=5))
    tracer.signal(task, SigInfo(14, 0x80))
    tracer.exited(task, 11 | 0x80)
    assert [line.split("prog ")[1] for line in lines] == [
        "--- SIGSEGV {si_signo=SIGSEGV, si_code=SEGV_MAPERR, si_addr=0x10} ---",
        "--- SIGTERM {si_signo=SIGTERM, si_code=SI_USER, si_pid=7, si_uid=1000} ---",
        "--- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=7, si_uid=0, si_status=3, si_utime=1, "
        "si_stime=2} ---",
        "--- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_KILLED, si_pid=7, si_uid=0, si_status=SIGKILL, "
        "si_utime=0, "
        "si_stime=0} ---",
        "--- SIGRT_2 {si_signo=SIGRT_2, si_code=SI_QUEUE, si_pid=7, si_uid=0, si_value={sival_int=5, "
        "sival_ptr=0x5}} ---",
        "--- SIGALRM {si_signo=SIGALRM, si_code=SI_KERNEL} ---",
        "+++ killed by SIGSEGV (core dumped) +++",
    ]


def test_calls_without_a_handler_have_raw_arguments() -> None:
    task = make_task()
    tracer, lines = tracer_for(task)
    args: Any = (1, 2, 0, 4, 5, 6)
    for number in (400, NUMBERS["nfsservctl"]):
        tracer.enter(task, number, args)
        tracer.exit(task, number, args, -38, 0)
    shown = [line.split("prog ")[1].rsplit(" <", 1)[0] for line in lines]
    assert shown == [
        "syscall_0x190(0x1, 0x2, 0, 0x4, 0x5, 0x6) = -1 ENOSYS (Function not implemented)",
        "nfsservctl(0x1, 0x2, 0, 0x4, 0x5, 0x6) = -1 ENOSYS (Function not implemented)",
    ]


@pytest.mark.parametrize(
    ("data", "cut", "expected"),
    [
        (b"", False, '""'),
        (b"plain", True, '"plain"...'),
        (b"\0" + b"1", False, '"\\0001"'),
        (b"\0" + b"a", False, '"\\0a"'),
        (b"\n9\x7f9\xff", False, '"\\n9\\1779\\377"'),
        (b'"\\', False, '"\\"\\\\"'),
    ],
)
def test_quoting(data: bytes, cut: bool, expected: str) -> None:
    assert quote(data, cut) == expected


def test_every_kind_of_argument_that_is_declared_is_known() -> None:
    unknown = set()
    for declaration in build_table():
        for _name, arg in declaration.args:
            if arg.kind in ("flags", "enum"):
                if arg.detail not in TABLES:
                    unknown.add((arg.kind, arg.detail))
            elif arg.kind in ("instruct", "outstruct"):
                if arg.detail not in LAYOUTS:
                    unknown.add((arg.kind, arg.detail))
            elif arg.kind not in _PLAIN and arg.kind not in _WITH_DETAIL:
                unknown.add((arg.kind, ""))
    assert unknown == set()


def test_names_and_argument_counts_agree_with_python_ptrace() -> None:
    """An independent table of system calls and their prototypes."""
    pytest.importorskip("ptrace", reason="python-ptrace is not installed")
    from ptrace.syscall.linux.x86_64 import SYSCALL_NAMES
    from ptrace.syscall.prototypes import SYSCALL_PROTOTYPES

    different_names = {
        (number, name) for number, name in SYSCALL_NAMES.items() if number in NAMES and NAMES[number] != name
    }
    # What timerfd_create was called before Linux 2.6.25 gave it a number for good.
    assert different_names <= {(283, "timerfd")}
    different = {}
    for declaration in build_table():
        prototype = SYSCALL_PROTOTYPES.get(declaration.name)
        if declaration.handler is not None and prototype is not None:
            if len(prototype[1]) != len(declaration.args):
                different[declaration.name] = (len(prototype[1]), len(declaration.args))
    # The upper half of the offset, which x86-64 does not use and strace does not show either.
    assert different == {"preadv": (5, 4), "pwritev": (5, 4)}
