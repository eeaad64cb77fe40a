"""Terminal settings: flags and layouts of termios(3) as the kernel has them (asm-generic/termbits.h)."""

from __future__ import annotations

from struct import Struct

# c_iflag
IGNBRK = 0o1
BRKINT = 0o2
IGNPAR = 0o4
PARMRK = 0o10
INPCK = 0o20
ISTRIP = 0o40
INLCR = 0o100
IGNCR = 0o200
ICRNL = 0o400
IUCLC = 0o1000
IXON = 0o2000
IXANY = 0o4000
IXOFF = 0o10000
IMAXBEL = 0o20000
IUTF8 = 0o40000

# c_oflag
OPOST = 0o1
OLCUC = 0o2
ONLCR = 0o4
OCRNL = 0o10
ONOCR = 0o20
ONLRET = 0o40
TABDLY = 0o14000
XTABS = 0o14000

# c_cflag
CBAUD = 0o10017
B38400 = 0o17
CSIZE = 0o60
CS8 = 0o60
CREAD = 0o200
PARENB = 0o400
HUPCL = 0o2000

# c_lflag
ISIG = 0o1
ICANON = 0o2
ECHO = 0o10
ECHOE = 0o20
ECHOK = 0o40
ECHONL = 0o100
NOFLSH = 0o200
TOSTOP = 0o400
ECHOCTL = 0o1000
ECHOPRT = 0o2000
ECHOKE = 0o4000
IEXTEN = 0o100000
EXTPROC = 0o200000

# Indexes into c_cc
(
    VINTR, VQUIT, VERASE, VKILL, VEOF, VTIME, VMIN, VSWTC, VSTART, VSTOP, VSUSP, VEOL, VREPRINT, VDISCARD,
    VWERASE, VLNEXT, VEOL2,
) = range(17)  # fmt: skip

#: Size of the kernel's c_cc.
NCCS = 19
#: A control character that is switched off.
DISABLED = 0

#: struct termios as TCGETS has it: iflag, oflag, cflag, lflag, line, cc.
TERMIOS = Struct("<IIIIB19s")
#: struct termios2: the same, then input and output speed.
TERMIOS2 = Struct("<IIIIB19sII")
#: The old struct termio of TCGETA: 16-bit flags, 8 control characters, a byte of padding.
TERMIO = Struct("<HHHHB8sx")
#: struct winsize: rows, columns, width and height in pixels.
WINSIZE = Struct("<HHHH")

# TCFLSH
TCIFLUSH, TCOFLUSH, TCIOFLUSH = range(3)
# TCXONC
TCOOFF, TCOON, TCIOFF, TCION = range(4)

# Packet mode (ioctl_tty(2), TIOCPKT): the byte in front of what the master reads.
TIOCPKT_DATA = 0
TIOCPKT_FLUSHREAD = 1
TIOCPKT_FLUSHWRITE = 2
TIOCPKT_STOP = 4
TIOCPKT_START = 8
TIOCPKT_NOSTOP = 16
TIOCPKT_DOSTOP = 32
TIOCPKT_IOCTL = 64
