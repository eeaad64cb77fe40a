"""XSAVE areas (Intel SDM volume 1, chapter 13) as PTRACE_GETREGSET NT_X86_XSTATE shows them."""

from __future__ import annotations

import errno
import struct

#: More than any processor's area (AMX included).
MAX_SIZE = 16384

FXSAVE_SIZE = 512
HEADER_SIZE = 64
MXCSR_AT = 24
MXCSR_MASK_AT = 28
SW_RESERVED_AT = 464
XSTATE_BV_AT = 512

X87 = 1 << 0
SSE = 1 << 1
PKRU = 1 << 9

FCW_INIT = 0x37F
MXCSR_INIT = 0x1F80
#: What MXCSR may hold on a processor that does not say.
MXCSR_DEFAULT_MASK = 0xFFBF


def initial(area: bytes) -> bytes:
    """The state a new program starts with, in an area like ``area`` (a real thread's).

    Protection keys keep the host kernel's default.
    """
    clean = bytearray(len(area))
    struct.pack_into("<H", clean, 0, FCW_INIT)
    struct.pack_into("<I", clean, MXCSR_AT, MXCSR_INIT)
    clean[MXCSR_MASK_AT : MXCSR_MASK_AT + 4] = area[MXCSR_MASK_AT : MXCSR_MASK_AT + 4]
    clean[SW_RESERVED_AT:FXSAVE_SIZE] = area[SW_RESERVED_AT:FXSAVE_SIZE]
    (present,) = struct.unpack_from("<Q", area, XSTATE_BV_AT)
    struct.pack_into("<Q", clean, XSTATE_BV_AT, present & PKRU)
    if present & PKRU:
        # Only PKRU's bytes are looked at, wherever they lie.
        clean[FXSAVE_SIZE + HEADER_SIZE :] = area[FXSAVE_SIZE + HEADER_SIZE :]
    return bytes(clean)


def sanitise(area: bytes, clean: bytes) -> bytes:
    """``area`` (a guest's) made acceptable to the host; ``clean`` is from ``initial``.

    A 512-byte FXSAVE area leaves every further component in its initial state; so does an
    area that is cut off, if its header does not claim what is missing.
    Raises OSError(EINVAL) for what cannot be made sense of.
    """
    size = len(clean)
    head = FXSAVE_SIZE + HEADER_SIZE
    if len(area) != FXSAVE_SIZE and len(area) < head:
        raise OSError(errno.EINVAL, "not an FXSAVE or XSAVE area")
    (xcr0,) = struct.unpack_from("<Q", clean, SW_RESERVED_AT)
    (mask,) = struct.unpack_from("<I", clean, MXCSR_MASK_AT)
    out = bytearray(clean)
    if len(area) == FXSAVE_SIZE:
        out[:SW_RESERVED_AT] = area[:SW_RESERVED_AT]
        (present,) = struct.unpack_from("<Q", clean, XSTATE_BV_AT)
        present |= X87 | SSE
    else:
        used = min(size, len(area))
        out[:SW_RESERVED_AT] = area[:SW_RESERVED_AT]
        out[head:used] = area[head:used]
        (present,) = struct.unpack_from("<Q", area, XSTATE_BV_AT)
        present &= xcr0
        if used < size and present & ~(X87 | SSE):
            raise OSError(errno.EINVAL, "XSAVE area is cut off")
    (mxcsr,) = struct.unpack_from("<I", area, MXCSR_AT)
    struct.pack_into("<I", out, MXCSR_AT, mxcsr & (mask or MXCSR_DEFAULT_MASK))
    out[MXCSR_MASK_AT : MXCSR_MASK_AT + 4] = clean[MXCSR_MASK_AT : MXCSR_MASK_AT + 4]
    struct.pack_into("<Q", out, XSTATE_BV_AT, present & xcr0)
    out[XSTATE_BV_AT + 8 : head] = bytes(HEADER_SIZE - 8)
    return bytes(out)
