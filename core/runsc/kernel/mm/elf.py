"""ELF: what execve(2) needs of the headers, every field checked (elf(5), fs/binfmt_elf.c)."""

from __future__ import annotations

from errno import EIO, ENOEXEC
from struct import Struct

from runsc.kernel.errors import LinuxError
from runsc.kernel.mm.vma import PAGE, PROT_EXEC, PROT_READ, PROT_WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.file import File

_EHDR = Struct("<16sHHIQQQIHHHHHH")
_PHDR = Struct("<IIQQQQQQ")

ET_EXEC = 2
ET_DYN = 3
EM_X86_64 = 62
PT_LOAD = 1
PT_INTERP = 3
PT_GNU_STACK = 0x6474E551
_MAX_HEADERS = 65536


class Segment:
    """A PT_LOAD: ``[vaddr, vaddr + memsz)``, the first ``filesz`` bytes from ``offset`` of the file."""

    __slots__ = ("align", "filesz", "memsz", "offset", "prot", "vaddr")

    def __init__(self, flags: int, offset: int, vaddr: int, filesz: int, memsz: int, align: int) -> None:
        self.prot = (
            (PROT_READ if flags & 4 else 0)
            | (PROT_WRITE if flags & 2 else 0)
            | (PROT_EXEC if flags & 1 else 0)
        )
        self.offset = offset
        self.vaddr = vaddr
        self.filesz = filesz
        self.memsz = memsz
        self.align = align


class Image:
    """An ELF file that can be mapped. ``low``, ``high``: the page-aligned span of its segments, as linked.

    ``phdr``: the address of the program headers in memory, as linked (0 if no segment has them)."""

    __slots__ = (
        "broken",
        "entry",
        "executable_stack",
        "file",
        "high",
        "interpreter",
        "low",
        "phdr",
        "phnum",
        "position_independent",
        "segments",
    )

    def __init__(self, file: File) -> None:
        self.file = file
        self.segments: list[Segment] = []
        self.interpreter = b""
        self.entry = 0
        self.phdr = 0
        self.phnum = 0
        self.low = 0
        self.high = 0
        self.position_independent = False
        self.executable_stack = False
        #: a segment can't be mapped as it says
        self.broken = False

    def alignment(self) -> int:
        """The largest alignment that a segment asks for: a power of two, at least a page."""
        best = PAGE
        for segment in self.segments:
            if segment.align & (segment.align - 1) == 0 and segment.align <= 1 << 30:
                best = max(best, segment.align)
        return best


def parse(task: Task, file: File, head: bytes) -> Image:
    """The image of ``file``, whose first bytes are ``head``; raises ENOEXEC, EINVAL, EIO or ENOMEM as
    Linux does."""
    if len(head) < _EHDR.size:
        raise LinuxError(ENOEXEC)
    ident, kind, machine, _version, entry, phoff, _shoff, _flags, _ehsize, phentsize, phnum, _se, _sn, _si = (
        _EHDR.unpack_from(head)
    )
    if ident[:4] != b"\x7fELF" or kind not in (ET_EXEC, ET_DYN) or machine != EM_X86_64 or ident[4] != 2:
        raise LinuxError(ENOEXEC)
    if phentsize != _PHDR.size or not 0 < phnum <= _MAX_HEADERS // _PHDR.size:
        raise LinuxError(ENOEXEC)
    size = phnum * _PHDR.size
    if phoff > 1 << 62:
        raise LinuxError(ENOEXEC)
    table = head[phoff : phoff + size]
    if len(table) < size:
        table = file.pread(task, size, phoff)
    if len(table) < size:
        raise LinuxError(ENOEXEC)
    image = Image(file)
    image.position_independent = kind == ET_DYN
    image.entry = entry
    image.phnum = phnum
    for offset in range(0, size, _PHDR.size):
        p_type, p_flags, p_offset, p_vaddr, _paddr, p_filesz, p_memsz, p_align = _PHDR.unpack_from(
            table, offset
        )
        if p_type == PT_LOAD:
            _add_load(task, image, Segment(p_flags, p_offset, p_vaddr, p_filesz, p_memsz, p_align))
            if p_offset <= phoff < p_offset + p_filesz:
                image.phdr = p_vaddr + phoff - p_offset
        elif p_type == PT_INTERP and not image.interpreter:
            if not 2 <= p_filesz <= 4096 or p_offset > 1 << 62:
                raise LinuxError(ENOEXEC)
            name = file.pread(task, p_filesz, p_offset)
            if len(name) < p_filesz:
                raise LinuxError(EIO)
            if name[-1]:
                raise LinuxError(ENOEXEC)
            image.interpreter = name[: name.index(0)]
        elif p_type == PT_GNU_STACK:
            image.executable_stack = bool(p_flags & 1)
    if image.segments:
        image.low = min(segment.vaddr for segment in image.segments) & ~(PAGE - 1)
        top = max(segment.vaddr + segment.memsz for segment in image.segments)
        image.high = (top + PAGE - 1) & ~(PAGE - 1)
    return image


def _add_load(task: Task, image: Image, segment: Segment) -> None:
    """Keep a segment. One that makes no sense makes the image ``broken``: Linux finds that out when the old
    program is gone already, and kills the process."""
    if not segment.memsz:
        return
    limit = task.mm.space.task_size
    if (
        segment.filesz > segment.memsz
        or segment.offset > 1 << 62
        or segment.vaddr >= limit
        or segment.memsz > limit
        or segment.vaddr > limit - segment.memsz
        or (segment.vaddr - segment.offset) & (PAGE - 1)
    ):
        image.broken = True
    image.segments.append(segment)
