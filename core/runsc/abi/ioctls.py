"""ioctl(2) requests that concern more than one kind of file (asm-generic/ioctls.h)."""

FIGETBSZ = 2
TIOCOUTQ = 0x5411
FIONREAD = 0x541B
FIONBIO = 0x5421
FIONCLEX = 0x5450
FIOCLEX = 0x5451
FIOASYNC = 0x5452
FIOQSIZE = 0x5460
