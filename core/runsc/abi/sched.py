"""Scheduling policies and I/O priorities (sched(7), ioprio_set(2); linux/sched.h, linux/ioprio.h)."""

from __future__ import annotations

from struct import Struct

SCHED_NORMAL = 0
SCHED_FIFO = 1
SCHED_RR = 2
SCHED_BATCH = 3
SCHED_IDLE = 5
SCHED_DEADLINE = 6
SCHED_RESET_ON_FORK = 0x40000000

SCHED_FLAG_RESET_ON_FORK = 0x01
SCHED_FLAG_RECLAIM = 0x02
SCHED_FLAG_DL_OVERRUN = 0x04
SCHED_FLAG_KEEP_POLICY = 0x08
SCHED_FLAG_KEEP_PARAMS = 0x10
SCHED_FLAG_UTIL_CLAMP = 0x60
SCHED_FLAG_ALL = 0x7F

#: struct sched_attr in its first version: size, policy, flags, nice, priority, runtime, deadline, period.
SCHED_ATTR = Struct("<IIQiIQQQ")
SCHED_ATTR_SIZE_VER0 = 48

#: Real-time priorities are 1 to 99.
MAX_RT_PRIORITY = 99

IOPRIO_WHO_PROCESS = 1
IOPRIO_WHO_PGRP = 2
IOPRIO_WHO_USER = 3
IOPRIO_CLASS_SHIFT = 13
IOPRIO_CLASS_NONE = 0
IOPRIO_CLASS_RT = 1
IOPRIO_CLASS_BE = 2
IOPRIO_CLASS_IDLE = 3
IOPRIO_NR_LEVELS = 8
