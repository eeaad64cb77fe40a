"""The limits of an IPC namespace: what /proc/sys/kernel and /proc/sys/fs/mqueue set."""

from __future__ import annotations


class IpcLimits:
    """Names as in Linux's struct ipc_tables; sizes in bytes, ``shm_ctlall`` in pages."""

    __slots__ = (
        "mq_msg_default", "mq_msg_max", "mq_msgsize_default", "mq_msgsize_max", "mq_queues_max", "msg_ctlmax",
        "msg_ctlmnb", "msg_ctlmni", "sem_ctlmni", "sem_ctlmns", "sem_ctlmsl", "sem_ctlopm", "shm_ctlall",
        "shm_ctlmax", "shm_ctlmni", "shm_rmid_forced",
    )  # fmt: skip

    def __init__(self) -> None:
        self.shm_ctlmax = self.shm_ctlall = 0xFFFFFFFFFFFFFFFF - (1 << 24)
        self.shm_ctlmni = 4096
        self.shm_rmid_forced = 0
        self.sem_ctlmsl = 32000
        self.sem_ctlmns = 1024000000
        self.sem_ctlopm = 500
        self.sem_ctlmni = 32000
        self.msg_ctlmax = 8192
        self.msg_ctlmnb = 16384
        self.msg_ctlmni = 32000
        self.mq_queues_max = 256
        self.mq_msg_max = self.mq_msg_default = 10
        self.mq_msgsize_max = self.mq_msgsize_default = 8192
