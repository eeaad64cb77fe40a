"""``linux.resources`` of config.json, and what ``runsc update --resources`` reads (config-linux.md)."""

from __future__ import annotations

from runsc.oci.node import INT64, UINT64, Node

#: There, and not for a kernel of our own to give: block devices, RDMA, traffic classes.
_UNUSED = ("blockIO", "hugepageLimits", "network", "rdma")


class Resources:
    """Limits; None is "not said", -1 "no limit". Memory in bytes, times in microseconds."""

    __slots__ = (
        "cpu_idle", "cpu_period", "cpu_quota", "cpu_shares", "cpus", "memory_limit", "memory_reservation",
        "memory_swap", "mems", "pids_limit", "unified", "warnings",
    )  # fmt: skip

    def __init__(self) -> None:
        self.memory_limit: int | None = None
        self.memory_reservation: int | None = None
        self.memory_swap: int | None = None
        self.cpu_shares: int | None = None
        self.cpu_quota: int | None = None
        self.cpu_period: int | None = None
        self.cpu_idle: int | None = None
        self.cpus = ""
        self.mems = ""
        self.pids_limit: int | None = None
        self.unified: dict[str, str] = {}
        self.warnings: list[str] = []

    @classmethod
    def parse(cls, node: Node) -> Resources:
        new = cls()
        memory = node.child("memory")
        if memory is not None:
            new.memory_limit = memory.number("limit", -1, INT64)
            new.memory_reservation = memory.number("reservation", -1, INT64)
            new.memory_swap = memory.number("swap", -1, INT64)
            memory.number("kernel", -1, INT64)
            memory.number("kernelTCP", -1, INT64)
            memory.number("swappiness", 0, UINT64)
            memory.flag("disableOOMKiller")
        cpu = node.child("cpu")
        if cpu is not None:
            new.cpu_shares = cpu.number("shares", 0, UINT64)
            new.cpu_quota = cpu.number("quota", -1, INT64)
            new.cpu_period = cpu.number("period", 0, UINT64)
            new.cpu_idle = cpu.number("idle", 0, 1)
            new.cpus = cpu.text("cpus", "")
            new.mems = cpu.text("mems", "")
        pids = node.child("pids")
        if pids is not None:
            new.pids_limit = pids.number("limit", -INT64, INT64)
        new.unified = node.mapping("unified")
        node.items("devices")
        for name in _UNUSED:
            if node.value.get(name):
                new.warnings.append(f"{node.of(name)} has no effect")
        return new

    def merge(self, newer: Resources) -> None:
        """Take over what ``newer`` says (``runsc update``)."""
        for name in Resources.__slots__:
            value = getattr(newer, name)
            if value not in (None, "", {}, []):
                setattr(self, name, value)
