"""How kernel code fails: with an errno that the guest is to see, or because it must wait."""

from __future__ import annotations

from errno import EAGAIN


class LinuxError(Exception):
    """A system call fails with ``errno`` (a positive number of errno(3))."""

    __slots__ = ("errno",)

    def __init__(self, errno: int) -> None:
        self.errno = errno

    def __str__(self) -> str:
        from os import strerror

        return strerror(self.errno)


class WouldBlock(LinuxError):
    """The operation can't make progress now.

    A caller that may wait waits on the object's wait queue and tries again; one that may not
    lets it through, and the guest sees EAGAIN.
    """

    __slots__ = ()

    def __init__(self) -> None:
        self.errno = EAGAIN


#: The one instance: raising it costs no allocation on the paths that block.
WOULD_BLOCK = WouldBlock()


class Interrupted(Exception):
    """A sleep ended because a signal is pending.

    Left alone it means ERESTARTSYS: the call is made again if the handler has SA_RESTART (or none
    runs), and answers EINTR otherwise. A call with other rules catches it and raises ``Restart``,
    or ``LinuxError(EINTR)`` where it is never restarted.
    """

    __slots__ = ()


class Restart(Interrupted):
    """An interrupted call with rules of its own (kernel: ERESTARTNOHAND, ERESTART_RESTARTBLOCK).

    No handler ran: the call goes on, by ``resume`` (a function of the task, as from restart_syscall(2))
    or, where that is None,
    by being made again. A handler ran: EINTR.
    """

    __slots__ = ("resume",)

    def __init__(self, resume: object = None) -> None:
        self.resume = resume


class RestartAlways(Interrupted):
    """An interrupted call that is made again even if a handler without SA_RESTART ran (kernel:
    ERESTARTNOINTR)."""

    __slots__ = ()
