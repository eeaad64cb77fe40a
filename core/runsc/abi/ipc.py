"""Numbers and layouts of System V IPC and POSIX message queues (linux/ipc.h and its relatives, mqueue.h)."""

from __future__ import annotations

from struct import Struct

IPC_PRIVATE = 0
IPC_CREAT = 0o1000
IPC_EXCL = 0o2000
IPC_NOWAIT = 0o4000

IPC_RMID = 0
IPC_SET = 1
IPC_STAT = 2
IPC_INFO = 3

# Shared memory.
SHM_RDONLY = 0o10000
SHM_RND = 0o20000
SHM_REMAP = 0o40000
SHM_EXEC = 0o100000
SHM_HUGETLB = 0o4000
SHM_NORESERVE = 0o10000
SHM_DEST = 0o1000
SHM_LOCKED = 0o2000
SHM_LOCK = 11
SHM_UNLOCK = 12
SHM_STAT = 13
SHM_INFO = 14
SHM_STAT_ANY = 15

# Semaphores.
SEM_UNDO = 0x1000
GETPID = 11
GETVAL = 12
GETALL = 13
GETNCNT = 14
GETZCNT = 15
SETVAL = 16
SETALL = 17
SEM_STAT = 18
SEM_INFO = 19
SEM_STAT_ANY = 20
SEMVMX = 32767

# Messages.
MSG_NOERROR = 0o10000
MSG_EXCEPT = 0o20000
MSG_COPY = 0o40000
MSG_STAT = 11
MSG_INFO = 12
MSG_STAT_ANY = 13

#: key, uid, gid, cuid, cgid, mode, seq (struct ipc64_perm, 48 bytes)
IPC_PERM = Struct("<i5IH22x")
#: struct shmid64_ds behind the perm: segsz, atime, dtime, ctime, cpid, lpid, nattch
SHMID_DS = Struct("<QqqqiiQ16x")
#: struct semid64_ds behind the perm: otime, ctime, nsems
SEMID_DS = Struct("<q8xq8xQ16x")
#: struct msqid64_ds behind the perm: stime, rtime, ctime, cbytes, qnum, qbytes, lspid, lrpid
MSQID_DS = Struct("<qqqQQQii16x")
SHMINFO = Struct("<5Q32x")
SHM_INFO_STRUCT = Struct("<i4x5Q")
SEMINFO = Struct("<10i")
MSGINFO = Struct("<7iH2x")
SEMBUF = Struct("<HhH")

#: struct mq_attr: flags, maxmsg, msgsize, curmsgs
MQ_ATTR = Struct("<4q32x")
MQ_PRIO_MAX = 32768
NOTIFY_COOKIE_LEN = 32
NOTIFY_WOKENUP = 1
NOTIFY_REMOVED = 2
