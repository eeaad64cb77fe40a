"""Ancillary data of messages: descriptors and credentials (unix(7), cmsg(3), net/core/scm.c)."""

from __future__ import annotations

from errno import EBADF, EINVAL, EPERM, ESRCH, ETOOMANYREFS
from struct import iter_unpack, pack

from runsc.abi.socket import (
    CMSGHDR,
    MSG_CMSG_CLOEXEC,
    MSG_CTRUNC,
    SCM_CREDENTIALS,
    SCM_MAX_FD,
    SCM_RIGHTS,
    SOL_SOCKET,
    UCRED,
)  # fmt: skip
from runsc.kernel.credentials import CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN, CAP_SYS_RESOURCE
from runsc.kernel.errors import LinuxError
from runsc.kernel.thread_group import RLIMIT_NOFILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.pid import Pid
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.file import File

#: (pid, uid, gid) of a sender; the receiver is told the id that it has there (None: the kernel's own, 0).
Ucred = tuple["Pid | None", int, int]
#: What SCM_CREDENTIALS tells of a message that came without (the overflow ids).
NO_CREDENTIALS: Ucred = (None, 65534, 65534)


class InFlight:
    """Files on their way in messages: how many each user has sent, the local sockets among them, and files
    to be closed.

    Closing a file may throw away its queue of messages with files, and so on: ``discard`` does that one after
    the other, however long the chain.
    """

    __slots__ = ("closes", "closing", "counts", "doomed", "sockets")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        #: local sockets in flight: how many messages hold each
        self.sockets: dict[File, int] = {}
        #: how many local sockets were closed since unreachable ones were looked for
        self.closes = 0
        self.doomed: list[File] = []
        self.closing = False

    def discard(self, files: list[File]) -> None:
        """Close files of a message that nobody received."""
        self.doomed.extend(files)
        if self.closing:
            return
        self.closing = True
        try:
            while self.doomed:
                self.doomed.pop().put()
        finally:
            self.closing = False


def in_flight(kernel: Kernel) -> InFlight:
    """The kernel's files in flight."""
    found: InFlight | None = kernel.extra.get("in_flight")
    if found is None:
        found = kernel.extra["in_flight"] = InFlight()
    return found


class Rights:
    """The descriptors of one message, counted as in flight for their sender until taken out."""

    __slots__ = ("files", "flight", "uid")

    def __init__(self, flight: InFlight, uid: int, files: list[File]) -> None:
        self.flight = flight
        self.uid = uid
        self.files = files
        flight.counts[uid] = flight.counts.get(uid, 0) + len(files)
        for file in files:
            if file.collected:
                flight.sockets[file] = flight.sockets.get(file, 0) + 1

    def take(self) -> list[File]:
        """The files, with their references; they are in flight no more."""
        files, self.files = self.files, []
        left = self.flight.counts.get(self.uid, 0) - len(files)
        if left > 0:
            self.flight.counts[self.uid] = left
        else:
            self.flight.counts.pop(self.uid, None)
        sockets = self.flight.sockets
        for file in files:
            if file.collected:
                if sockets[file] > 1:
                    sockets[file] -= 1
                else:
                    del sockets[file]
        return files

    def copy(self) -> list[File]:
        """The same files with new references (MSG_PEEK)."""
        return [file.get() for file in self.files]

    def discard(self) -> None:
        """Nobody received them."""
        self.flight.discard(self.take())


class Ancillary:
    """What goes with one message to be sent; ``others``: (level, type, data) of other levels than SOL_SOCKET.
    """

    __slots__ = ("cred", "others", "rights")

    def __init__(self) -> None:
        self.others: list[tuple[int, int, bytes]] = []
        self.rights: Rights | None = None
        self.cred: Ucred | None = None

    def discard(self) -> None:
        """The message was not sent."""
        if self.rights is not None:
            self.rights.discard()
            self.rights = None


def parse(task: Task, control: bytes) -> Ancillary:
    """Read a control buffer (scm_send). Raises EINVAL, EBADF, EPERM, ETOOMANYREFS; nothing is held then."""
    found = Ancillary()
    files: list[File] = []
    try:
        at = 0
        while at + CMSGHDR.size <= len(control):
            length, level, kind = CMSGHDR.unpack_from(control, at)
            if length < CMSGHDR.size or at + length > len(control):
                raise LinuxError(EINVAL)
            data = control[at + CMSGHDR.size : at + length]
            at += (length + 7) & ~7
            if level != SOL_SOCKET:
                found.others.append((level, kind, data))
                continue
            if kind == SCM_RIGHTS:
                if len(files) + len(data) // 4 > SCM_MAX_FD:
                    raise LinuxError(EINVAL)
                for (fd,) in iter_unpack("<i", data[: len(data) & ~3]):
                    file = task.files.files.get(fd)
                    if file is None:
                        raise LinuxError(EBADF)
                    files.append(file.get())
            elif kind == SCM_CREDENTIALS:
                if len(data) != UCRED.size:
                    raise LinuxError(EINVAL)
                found.cred = _checked_credentials(task, data)
            else:
                raise LinuxError(EINVAL)
        if files:
            flight = in_flight(task.kernel)
            uid = task.cred.uid
            limit = task.limit(RLIMIT_NOFILE)
            if flight.counts.get(uid, 0) > limit and not (
                task.cred.capable(CAP_SYS_RESOURCE) or task.cred.capable(CAP_SYS_ADMIN)
            ):
                raise LinuxError(ETOOMANYREFS)
            found.rights = Rights(flight, uid, files)
    except LinuxError:
        for file in files:
            file.put()
        raise
    return found


def _checked_credentials(task: Task, data: bytes) -> Ucred:
    """May the task say that it is this (scm_check_creds)?"""
    pid, uid, gid = UCRED.unpack(data)
    cred = task.cred
    uid, gid = cred.user_ns.make_uid(uid), cred.user_ns.make_gid(gid)
    if 0xFFFFFFFF in (uid, gid):
        raise LinuxError(EINVAL)
    if pid != task.group.vtgid and not cred.ns_capable(task.pid_ns.user_ns, CAP_SYS_ADMIN):
        raise LinuxError(EPERM)
    if uid not in (cred.uid, cred.euid, cred.suid) and not cred.own_capable(CAP_SETUID):
        raise LinuxError(EPERM)
    if gid not in (cred.gid, cred.egid, cred.sgid) and not cred.own_capable(CAP_SETGID):
        raise LinuxError(EPERM)
    found = task.pid_ns.pids.get(pid)
    if found is None:
        raise LinuxError(ESRCH)
    return found, uid, gid


def pack_ucred(task: Task, cred: Ucred) -> bytes:
    """struct ucred as ``task`` is told of it."""
    pid, uid, gid = cred
    ns = task.cred.user_ns
    if ns.level:
        uid, gid = ns.uid(uid) if uid >= 0 else uid, ns.group_id(gid) if gid >= 0 else gid
    return UCRED.pack(pid.nr(task.pid_ns) if pid is not None else 0, uid & 0xFFFFFFFF, gid & 0xFFFFFFFF)


def own_credentials(task: Task) -> Ucred:
    """What a message carries if its sender says nothing."""
    return task.group.leader.pid, task.cred.uid, task.cred.gid


def build(
    task: Task, room: int, cred: Ucred | None, files: list[File], flags: int
) -> tuple[bytes, int]:  # fmt: skip
    """The control buffer for a received message, at most ``room`` bytes, and MSG_CTRUNC if that was too
    little.

    Installs the descriptors; those that find no place are closed (scm_recv, scm_detach_fds)."""
    out = b""
    truncated = 0
    if cred is not None:
        whole = CMSGHDR.pack(CMSGHDR.size + UCRED.size, SOL_SOCKET, SCM_CREDENTIALS) + pack_ucred(task, cred)
        if room < CMSGHDR.size:
            truncated = MSG_CTRUNC
        else:
            if room < len(whole):
                truncated = MSG_CTRUNC
                whole = CMSGHDR.pack(room, SOL_SOCKET, SCM_CREDENTIALS) + whole[CMSGHDR.size : room]
            out = whole.ljust(min((len(whole) + 7) & ~7, room), b"\0")
    if files:
        fits = max(room - len(out) - CMSGHDR.size, 0) // 4
        fds: list[int] = []
        limit = task.limit(RLIMIT_NOFILE)
        try:
            for file in files[:fits]:
                fds.append(task.files.install(file, limit, bool(flags & MSG_CMSG_CLOEXEC)))
        except LinuxError:
            truncated = MSG_CTRUNC
        if len(fds) < len(files):
            truncated = MSG_CTRUNC
        if fds:
            body = pack(f"<{len(fds)}i", *fds)
            head = CMSGHDR.pack(CMSGHDR.size + len(body), SOL_SOCKET, SCM_RIGHTS)
            whole = head + body
            out += whole.ljust(min((len(whole) + 7) & ~7, room - len(out)), b"\0")
        in_flight(task.kernel).discard(files)
    return out, truncated
