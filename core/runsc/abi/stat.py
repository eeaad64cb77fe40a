"""stat(2), statx(2), statfs(2) and getdents(2): bits and x86-64 layouts (asm/stat.h, linux/stat.h,
asm/statfs.h)."""

from __future__ import annotations

from struct import Struct

#: The type part of a mode (the standard library's S_IFMT is a function).
S_IFMT = 0o170000

#: struct stat: dev, ino, nlink, mode, uid, gid, rdev, size, blksize, blocks, atime, mtime, ctime (s, ns
#: each).
STAT = Struct("<QQQIII4xQqqqqqqqqq24x")
assert STAT.size == 144

STATX_TYPE = 0x001
STATX_MODE = 0x002
STATX_NLINK = 0x004
STATX_UID = 0x008
STATX_GID = 0x010
STATX_ATIME = 0x020
STATX_MTIME = 0x040
STATX_CTIME = 0x080
STATX_INO = 0x100
STATX_SIZE = 0x200
STATX_BLOCKS = 0x400
STATX_BASIC_STATS = 0x7FF
STATX_BTIME = 0x800
STATX_MNT_ID = 0x1000
STATX_MNT_ID_UNIQUE = 0x4000
STATX_RESERVED = 0x80000000

STATX_ATTR_MOUNT_ROOT = 0x2000

#: struct statx: mask, blksize, attributes, nlink, uid, gid, mode, ino, size, blocks, attributes_mask, four
#: times
#: (s, ns), rdev major and minor, dev major and minor, mnt_id, and fields that stay zero.
STATX = Struct("<IIQIIIHxxQQQQ" + "qI4x" * 4 + "IIIIQ104x")
assert STATX.size == 256

#: struct statfs: type, bsize, blocks, bfree, bavail, files, ffree, fsid, namelen, frsize, flags.
STATFS = Struct("<qqQQQQQQqqq32x")
assert STATFS.size == 120

#: What precedes the name in struct linux_dirent64: ino, off, reclen, type.
DIRENT64_HEAD = Struct("<QqHB")
#: What precedes the name in struct linux_dirent (the type is the record's last byte): ino, off, reclen.
DIRENT_HEAD = Struct("<QqH")

# statfs(2) f_flags (linux/statfs.h).
ST_RDONLY = 0x0001
ST_NOSUID = 0x0002
ST_NODEV = 0x0004
ST_NOEXEC = 0x0008
ST_VALID = 0x0020
ST_NOATIME = 0x0400
ST_NODIRATIME = 0x0800
ST_RELATIME = 0x1000

UTIME_NOW = 0x3FFFFFFF
UTIME_OMIT = 0x3FFFFFFE
