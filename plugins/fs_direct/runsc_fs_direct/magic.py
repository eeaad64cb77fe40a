"""The type number of the host's file system under a descriptor (statfs(2), linux/magic.h).

Python's fstatvfs doesn't tell it, so it is looked up by the name that /proc/self/mountinfo shows.
"""

from __future__ import annotations

import os

#: For a file system that isn't in the table, or where /proc can't be read: what ext4 says.
EXT4_MAGIC = 0xEF53

_MAGIC = {
    "9p": 0x01021997,
    "bcachefs": 0xCA451A4E,
    "btrfs": 0x9123683E,
    "cgroup": 0x27E0EB,
    "cgroup2": 0x63677270,
    "cifs": 0xFF534D42,
    "devpts": 0x1CD1,
    "devtmpfs": 0x01021994,
    "ecryptfs": 0xF15F,
    "erofs": 0xE0F5E1E2,
    "exfat": 0x2011BAB0,
    "ext2": EXT4_MAGIC,
    "ext3": EXT4_MAGIC,
    "ext4": EXT4_MAGIC,
    "f2fs": 0xF2F52010,
    "fuse": 0x65735546,
    "fuseblk": 0x65735546,
    "hugetlbfs": 0x958458F6,
    "iso9660": 0x9660,
    "nfs": 0x6969,
    "nfs4": 0x6969,
    "overlay": 0x794C7630,
    "proc": 0x9FA0,
    "ramfs": 0x858458F6,
    "squashfs": 0x73717368,
    "sysfs": 0x62656572,
    "tmpfs": 0x01021994,
    "udf": 0x15013346,
    "vfat": 0x4D44,
    "virtiofs": 0x65735546,
    "xfs": 0x58465342,
    "zfs": 0x2FC12FC1,
}


def file_system_magic(fd: int) -> int:
    """The f_type of the file system on which ``fd`` lies."""
    device = os.fstat(fd).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
            for line in mounts:
                fields, _dash, rest = line.partition(" - ")
                if fields.split(" ", 3)[2] == wanted:
                    return _MAGIC.get(rest.split(" ", 1)[0].split(".")[0], EXT4_MAGIC)
    except OSError:
        # A sandbox may be started where /proc is hidden; the type is decoration then.
        return EXT4_MAGIC
    return EXT4_MAGIC
