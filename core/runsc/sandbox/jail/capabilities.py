"""Giving up capabilities (capabilities(7))."""

from __future__ import annotations

import os

from runsc.errors import RunscError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_CAP_SETPCAP = 8


def give_up_all_but(wanted: Iterable[int]) -> int:
    """Keep those of ``wanted`` (CAP_* numbers) that the process has, in its permitted and effective sets,
    and no other in any set; the set that is left, as a bit mask.

    The bounding set can be made smaller only by who has CAP_SETPCAP. An ordinary user hasn't, and it doesn't
    matter: with no_new_privs, nothing is gained from it. Raises ``RunscError``.
    """
    from runsc._native import lib

    has = lib.rn_capabilities()
    if has < 0:
        raise _failed("capget", has)
    keep = has & sum(1 << number for number in set(wanted))
    if has >> _CAP_SETPCAP & 1:
        result = lib.rn_drop_bounding(keep)
        if result < 0:
            raise _failed("prctl(PR_CAPBSET_DROP)", result)
    result = lib.rn_clear_ambient()
    if result < 0:
        raise _failed("prctl(PR_CAP_AMBIENT)", result)
    result = lib.rn_set_capabilities(keep)
    if result < 0:
        raise _failed("capset", result)
    return int(keep)


def _failed(what: str, result: int) -> RunscError:
    return RunscError(
        f"the sandbox's process can't give up its capabilities: {what}: {os.strerror(-result)}",
        "report this, with the host's kernel and how runsc was started",
    )
