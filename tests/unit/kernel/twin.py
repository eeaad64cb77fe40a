"""The same system calls natively and through the handlers, on a tmpfs each; every answer is compared.

The native side is a forked child, chrooted into an empty directory of /dev/shm; it takes (number, arguments)
over a
socket pair. Arguments: ints; ``bytes`` are copied in; ``Out(n)`` is a buffer that the call fills; ``Fd`` is a
descriptor, which may have another number on each side.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import shutil
import signal
import socket
import struct
import tempfile
from errno import errorcode
from typing import TYPE_CHECKING, Any

from support import Buffer, Pending, call, make_task

from runsc.abi.syscalls import NAMES
from runsc.kernel.syscalls.table import declarations

if TYPE_CHECKING:
    from runsc.kernel.task import Task

NUMBERS = {name: number for number, name in NAMES.items()}
_HEAD = struct.Struct("<I")


class Out:
    """A buffer of ``size`` bytes for the call to fill; ``fill``: what is in it before."""

    def __init__(self, size: int, fill: bytes = b"") -> None:
        self.size = size
        self.fill = fill


class Fd:
    """A descriptor of both sides."""

    def __init__(self, native: int, ours: int) -> None:
        self.native = native
        self.ours = ours


class Answer:
    """``result`` (a value or -errno) and what the ``Out`` arguments hold now."""

    def __init__(self, result: int, buffers: list[bytes]) -> None:
        self.result = result
        self.buffers = buffers

    def __repr__(self) -> str:
        return show(self.result)


def show(result: int) -> str:
    return errorcode.get(-result, str(result)) if result < 0 else str(result)


class Native:
    """The child that makes the calls."""

    def __init__(self, root: str, mounts: bool = False) -> None:
        ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if not self.pid:
            ours.close()
            try:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                signal.signal(signal.SIGPIPE, signal.SIG_IGN)
                if mounts:
                    libc = ctypes.CDLL(None)
                    private, new_namespace = 1 << 18 | 1 << 14, 0x20000
                    if libc.unshare(new_namespace) or libc.mount(None, b"/", None, private, None):
                        raise RuntimeError("no mount namespace of its own")
                    if libc.mount(b"none", os.fsencode(root), b"tmpfs", 0, None):
                        raise RuntimeError("no tmpfs")
                os.chroot(root)
                os.chdir("/")
                os.umask(0o022)
                self._serve(theirs)
            finally:
                os._exit(0)
        theirs.close()
        self.socket = ours

    @staticmethod
    def _serve(channel: socket.socket) -> None:
        syscall = ctypes.CDLL(None, use_errno=True).syscall
        syscall.restype = ctypes.c_long
        while True:
            head = channel.recv(4, socket.MSG_WAITALL)
            if len(head) < 4:
                return
            number, args = pickle.loads(channel.recv(_HEAD.unpack(head)[0], socket.MSG_WAITALL))
            keep: list[Any] = []
            raw: list[Any] = []
            for arg in args:
                if isinstance(arg, int):
                    raw.append(ctypes.c_long(arg))
                    continue
                size, fill = (len(arg) + 1, arg) if isinstance(arg, bytes) else arg
                buffer = ctypes.create_string_buffer(max(size, 1))
                buffer.raw = fill[:size].ljust(max(size, 1), b"\0")
                if not isinstance(arg, bytes):
                    keep.append(buffer)
                raw.append(ctypes.c_long(ctypes.addressof(buffer)))
                raw[-1].owner = buffer
            ctypes.set_errno(0)
            result = syscall(ctypes.c_long(number), *raw)
            if result == -1:
                result = -ctypes.get_errno()
            data = pickle.dumps((result, [buffer.raw for buffer in keep]))
            channel.sendall(_HEAD.pack(len(data)) + data)

    def call(self, number: int, args: list[Any]) -> Answer:
        data = pickle.dumps((number, args))
        self.socket.sendall(_HEAD.pack(len(data)) + data)
        size = _HEAD.unpack(self.socket.recv(4, socket.MSG_WAITALL))[0]
        return Answer(*pickle.loads(self.socket.recv(size, socket.MSG_WAITALL)))

    def close(self) -> None:
        self.socket.close()
        os.waitpid(self.pid, 0)


class Twin:
    """Both sides. Needs root (chroot). ``mounts``: the native side may mount, in a namespace of its own."""

    def __init__(self, mounts: bool = False) -> None:
        self.directory = tempfile.mkdtemp(dir="/dev/shm")
        os.chmod(self.directory, 0o1777)
        self.native = Native(self.directory, mounts)
        self.task: Task = make_task()
        self.handlers = {item.name: item.handler for item in declarations().values()}
        self.log: list[str] = []

    def close(self) -> None:
        self.native.close()
        shutil.rmtree(self.directory)

    def natively(self, name: str, *args: Any) -> Answer:
        """One side alone."""
        wire = [
            (arg.size, arg.fill) if isinstance(arg, Out) else arg.native if isinstance(arg, Fd) else arg
            for arg in args
        ]
        return self.native.call(NUMBERS[name], wire)

    def ourselves(self, name: str, *args: Any) -> Answer:
        """The other side alone."""
        buffer = Buffer(self.task)
        raw: list[int] = []
        outs: list[tuple[int, int]] = []
        for arg in args:
            if isinstance(arg, Out):
                at = buffer.put(arg.fill[: arg.size].ljust(max(arg.size, 1), b"\0"))
                outs.append((at, max(arg.size, 1)))
                raw.append(at)
            elif isinstance(arg, Fd):
                raw.append(arg.ours)
            elif isinstance(arg, bytes):
                raw.append(buffer.text(arg))
            else:
                raw.append(arg)
        result = call(self.task, self.handlers[name], *raw)
        assert not isinstance(result, Pending), f"{name} waits"
        self.task.work = 0
        return Answer(result, [buffer.get(at, size) for at, size in outs])

    def both(self, name: str, *args: Any, data: bool = True) -> Answer:
        """Make the call on both sides; the answers must be the same. ``data``: compare the buffers, too."""
        native = self.natively(name, *args)
        ours = self.ourselves(name, *args)
        line = f"{name}{tuple(arg.native if isinstance(arg, Fd) else arg for arg in args)}"
        self.log.append(f"{line} = {native}")
        history = "\n".join(self.log[-12:])
        assert ours.result == native.result, f"{line}: natively {native}, ours {ours}\n{history}"
        if data:
            assert ours.buffers == native.buffers, (
                f"{line}: natively {native.buffers}, ours {ours.buffers}\n{history}"
            )
        return ours

    def open(self, *args: Any, name: str = "openat") -> Fd | int:
        """A call that gives a descriptor; the error if it is refused (by both)."""
        native = self.natively(name, *args)
        ours = self.ourselves(name, *args)
        line = f"{name}{tuple(arg.native if isinstance(arg, Fd) else arg for arg in args)}"
        self.log.append(f"{line} = {native}")
        history = "\n".join(self.log[-12:])
        same = native.result == ours.result if native.result < 0 else ours.result >= 0
        assert same, f"{line}: natively {native}, ours {ours}\n{history}"
        return ours.result if ours.result < 0 else Fd(native.result, ours.result)

    def fd(self, *args: Any, name: str = "openat") -> Fd:
        """``open`` that must not fail."""
        found = self.open(*args, name=name)
        assert isinstance(found, Fd), show(found)
        return found

    def user(self, uid: int, gid: int) -> None:
        """Go on as another, unprivileged user."""
        from runsc.kernel.credentials import Credentials

        assert self.natively("setgroups", 0, 0).result == 0
        assert self.natively("setresgid", gid, gid, gid).result == 0
        assert self.natively("setresuid", uid, uid, uid).result == 0
        self.task.cred = Credentials(uid, gid, (), 0)
