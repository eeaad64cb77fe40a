"""Clocks and timers (linux/time.h, linux/timerfd.h, linux/timex.h)."""

from __future__ import annotations

from struct import Struct

CLOCK_REALTIME = 0
CLOCK_MONOTONIC = 1
CLOCK_PROCESS_CPUTIME_ID = 2
CLOCK_THREAD_CPUTIME_ID = 3
CLOCK_MONOTONIC_RAW = 4
CLOCK_REALTIME_COARSE = 5
CLOCK_MONOTONIC_COARSE = 6
CLOCK_BOOTTIME = 7
CLOCK_REALTIME_ALARM = 8
CLOCK_BOOTTIME_ALARM = 9
CLOCK_TAI = 11

#: Parts of a negative clock id: the complement of a pid above them (linux/posix-timers.h).
CPUCLOCK_PERTHREAD_MASK = 4
CPUCLOCK_CLOCK_MASK = 3
CPUCLOCK_PROF = 0
CPUCLOCK_VIRT = 1
CPUCLOCK_SCHED = 2
CLOCKFD = 3

TIMER_ABSTIME = 1

TFD_TIMER_ABSTIME = 1
TFD_TIMER_CANCEL_ON_SET = 2

ITIMER_REAL = 0
ITIMER_VIRTUAL = 1
ITIMER_PROF = 2

SIGEV_SIGNAL = 0
SIGEV_NONE = 1
SIGEV_THREAD = 2
SIGEV_THREAD_ID = 4

NSEC_PER_SEC = 1_000_000_000
USEC_PER_SEC = 1_000_000
#: Clock ticks that times(2) counts, per second.
USER_HZ = 100
NSEC_PER_TICK = NSEC_PER_SEC // USER_HZ
#: Times beyond this are never reached (KTIME_MAX).
KTIME_MAX = (1 << 63) - 1

TIMESPEC = Struct("<qq")
TIMEVAL = Struct("<qq")
ITIMERVAL = Struct("<qqqq")
ITIMERSPEC = Struct("<qqqq")
#: struct tms: user, system, children's user, children's system.
TMS = Struct("<qqqq")
#: sigevent: value, signal, notify, thread id; 64 bytes.
SIGEVENT = Struct("<Qiii44x")
#: struct timex up to ``tai``; 208 bytes.
TIMEX = Struct("<I4xqqqqi4xqqqqqqqqi4xqqqqqi44x")

TIME_ERROR = 5
STA_UNSYNC = 0x40
