"""memfd_create(2) (mm/memfd.c)."""

from __future__ import annotations

from errno import EINVAL, ENAMETOOLONG, ENOSYS

from runsc.abi.fcntl import O_LARGEFILE
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.memfd import make_memfd
from runsc.kernel.syscalls.decl import MemfdFlags, StrPtr, syscall
from runsc.kernel.vfs.install import install

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task

MFD_CLOEXEC = 0x01
MFD_ALLOW_SEALING = 0x02
MFD_HUGETLB = 0x04
MFD_NOEXEC_SEAL = 0x08
MFD_EXEC = 0x10
_HUGE_SIZE = 0x3F << 26
#: The longest name, with its NUL (MFD_NAME_MAX_LEN and one).
_NAME_MAX = 250


@syscall(319)
def memfd_create(task: Task, name: StrPtr, flags: MemfdFlags) -> Result:
    """memfd_create(2). There are no huge pages."""
    known = MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL | MFD_EXEC | MFD_HUGETLB
    if flags & MFD_HUGETLB:
        known |= _HUGE_SIZE
    if flags & ~known or (flags & MFD_EXEC and flags & MFD_NOEXEC_SEAL):
        raise LinuxError(EINVAL)
    try:
        text = task.mm.copy_in_str(name, _NAME_MAX)
    except LinuxError as error:
        raise LinuxError(EINVAL if error.errno == ENAMETOOLONG else error.errno) from None
    if flags & MFD_HUGETLB:
        raise LinuxError(ENOSYS)
    sealable = bool(flags & (MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL))
    file = make_memfd(task, text, sealable, not flags & MFD_NOEXEC_SEAL)
    file.flags |= O_LARGEFILE
    return install(task, file, bool(flags & MFD_CLOEXEC))
