"""Terminal settings (struct ktermios): the flags, the control characters, and the layouts ioctl(2) moves
them in."""

from __future__ import annotations

from runsc.abi.termios import (
    B38400,
    CBAUD,
    CREAD,
    CS8,
    ECHO,
    ECHOCTL,
    ECHOE,
    ECHOK,
    ECHOKE,
    ICANON,
    ICRNL,
    IEXTEN,
    ISIG,
    IXON,
    NCCS,
    ONLCR,
    OPOST,
    TERMIO,
    TERMIOS,
    TERMIOS2,
)  # fmt: skip

#: Control characters of a new terminal (asm-generic/termios.h: INIT_C_CC): ^C ^\ DEL ^U ^D, VTIME 0, VMIN
#: 1, no switch, ^Q ^S ^Z, no EOL, ^R ^O ^W ^V.
INIT_CC = b"\x03\x1c\x7f\x15\x04\x00\x01\x00\x11\x13\x1a\x00\x12\x0f\x17\x16\x00\x00\x00"

#: Speeds by their CBAUD code: B0 to B38400, and those with CBAUDEX.
_SPEEDS = (0, 50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400)
_FAST_SPEEDS = (
    57600, 115200, 230400, 460800, 500000, 576000, 921600, 1000000, 1152000, 1500000, 2000000, 2500000,
    3000000, 3500000, 4000000,
)  # fmt: skip
_CBAUDEX = 0o10000
_BOTHER = 0o10000


def speed_of(cflag: int, fallback: int) -> int:
    """Bits per second of the CBAUD bits; ``fallback`` for BOTHER, where the speed stands beside them."""
    code = cflag & CBAUD
    if code < _CBAUDEX:
        return _SPEEDS[code]
    if code == _BOTHER:
        return fallback
    return _FAST_SPEEDS[code - _CBAUDEX - 1]


class Termios:
    """The settings of one terminal. Flags are 32-bit masks; ``cc`` has NCCS bytes; speeds in bits per
    second."""

    __slots__ = ("cc", "cflag", "iflag", "ispeed", "lflag", "line", "oflag", "ospeed")

    def __init__(self, iflag: int, oflag: int, cflag: int, lflag: int, cc: bytes = INIT_CC) -> None:
        self.iflag = iflag
        self.oflag = oflag
        self.cflag = cflag
        self.lflag = lflag
        self.line = 0
        self.cc = cc
        self.ispeed = self.ospeed = 38400

    @classmethod
    def standard(cls) -> Termios:
        """What a pseudoterminal's slave begins with."""
        lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN
        return cls(ICRNL | IXON, OPOST | ONLCR, B38400 | CS8 | CREAD, lflag)

    @classmethod
    def raw(cls) -> Termios:
        """What a pseudoterminal's master has, for ever: nothing is done to the bytes."""
        return cls(0, 0, B38400 | CS8 | CREAD, 0)

    def copy(self) -> Termios:
        new = Termios(self.iflag, self.oflag, self.cflag, self.lflag, self.cc)
        new.line = self.line
        new.ispeed = self.ispeed
        new.ospeed = self.ospeed
        return new

    def pack(self) -> bytes:
        """struct termios (TCGETS)."""
        return TERMIOS.pack(self.iflag, self.oflag, self.cflag, self.lflag, self.line, self.cc)

    def pack2(self) -> bytes:
        """struct termios2 (TCGETS2)."""
        return TERMIOS2.pack(
            self.iflag, self.oflag, self.cflag, self.lflag, self.line, self.cc, self.ispeed, self.ospeed
        )

    def pack_old(self) -> bytes:
        """struct termio (TCGETA): the low halves of the flags, the first 8 control characters."""
        return TERMIO.pack(
            self.iflag & 0xFFFF,
            self.oflag & 0xFFFF,
            self.cflag & 0xFFFF,
            self.lflag & 0xFFFF,
            self.line,
            self.cc[:8],
        )

    def unpacked(self, data: bytes) -> Termios:
        """A copy with what a guest's struct termios, termios2 or termio (told apart by their size) says."""
        new = self.copy()
        if len(data) == TERMIO.size:
            iflag, oflag, cflag, lflag, new.line, cc = TERMIO.unpack(data)
            new.iflag = self.iflag & ~0xFFFF | iflag
            new.oflag = self.oflag & ~0xFFFF | oflag
            new.cflag = self.cflag & ~0xFFFF | cflag
            new.lflag = self.lflag & ~0xFFFF | lflag
            new.cc = cc + self.cc[8:]
            new.ispeed = new.ospeed = speed_of(new.cflag, self.ospeed)
        elif len(data) == TERMIOS.size:
            new.iflag, new.oflag, new.cflag, new.lflag, new.line, new.cc = TERMIOS.unpack(data)
            new.ispeed = new.ospeed = speed_of(new.cflag, self.ospeed)
        else:
            new.iflag, new.oflag, new.cflag, new.lflag, new.line, new.cc, ispeed, ospeed = TERMIOS2.unpack(
                data
            )
            new.ospeed = speed_of(new.cflag, ospeed)
            new.ispeed = ispeed if new.cflag & CBAUD == _BOTHER else new.ospeed
        assert len(new.cc) == NCCS
        return new
