"""The host's namespaces that a sandbox's process is put in (namespaces(7)), before it is jailed."""

from __future__ import annotations

import os

from runsc.errors import RunscError

CLONE_NEWNET = 0x40000000


def enter_network(where: str) -> None:
    """Enter the network namespace at ``where`` (a path), or a new one ("").

    The container's engine puts interfaces and addresses there; a network plugin finds them. Raises
    ``RunscError``.
    """
    from runsc._native import lib

    if not where:
        _check("unshare(CLONE_NEWNET)", lib.rn_unshare(CLONE_NEWNET))
        return
    try:
        fd = os.open(where, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise RunscError(f"network namespace {where}: {error.strerror}", "make it first") from None
    try:
        _check(f"setns({where})", lib.rn_setns(fd, CLONE_NEWNET))
    finally:
        os.close(fd)


def _check(what: str, result: int) -> None:
    if result < 0:
        raise RunscError(
            f"the sandbox can't have the network namespace it is to have: {what}: {os.strerror(-result)}",
            "run runsc as root, or take the network namespace out of config.json",
        )
