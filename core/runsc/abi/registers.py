"""Indexes into ``struct user_regs_struct`` (x86-64, sys/user.h)."""

(
    R15, R14, R13, R12, RBP, RBX, R11, R10, R9, R8, RAX, RCX, RDX, RSI, RDI,
    ORIG_RAX, RIP, CS, EFLAGS, RSP, SS, FS_BASE, GS_BASE, DS, ES, FS, GS,
) = range(27)  # fmt: skip

#: How many registers there are.
COUNT = 27

#: Flag bits that a guest may set through sigreturn or ptrace
#: (CF PF AF ZF SF TF DF OF NT RF AC ID), as in the kernel's FIX_EFLAGS.
USER_EFLAGS = 0x001 | 0x004 | 0x010 | 0x040 | 0x080 | 0x100 | 0x400 | 0x800 | 0x10000 | 0x40000

#: Selectors of 64-bit user code and data.
USER_CS = 0x33
USER_DS = 0x2B
