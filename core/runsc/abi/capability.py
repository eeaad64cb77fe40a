"""capget(2), capset(2) and secure bits (linux/capability.h, linux/securebits.h)."""

from __future__ import annotations

from struct import Struct

#: cap_user_header_t: version, pid.
HEADER = Struct("<Ii")
VERSION_1 = 0x19980330
VERSION_2 = 0x20071026
VERSION_3 = 0x20080522

SECBIT_NOROOT = 1 << 0
SECBIT_NOROOT_LOCKED = 1 << 1
SECBIT_NO_SETUID_FIXUP = 1 << 2
SECBIT_NO_SETUID_FIXUP_LOCKED = 1 << 3
SECBIT_KEEP_CAPS = 1 << 4
SECBIT_KEEP_CAPS_LOCKED = 1 << 5
SECBIT_NO_CAP_AMBIENT_RAISE = 1 << 6
SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED = 1 << 7

#: Every bit there is, and the lock bit of each.
SECURE_ALL_BITS = 0x55
SECURE_ALL_LOCKS = 0xAA
