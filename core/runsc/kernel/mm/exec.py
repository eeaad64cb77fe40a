"""execve(2): a new program in a process (fs/exec.c, fs/binfmt_elf.c, fs/binfmt_script.c).

Everything that can be refused is checked before the old program is given up.
"""

from __future__ import annotations

from errno import E2BIG, EACCES, EFAULT, ELIBBAD, ELOOP, ENOEXEC, ETXTBSY
from os import urandom
from struct import pack

from runsc.abi.fcntl import AT_FDCWD, O_RDONLY
from runsc.abi.registers import COUNT, CS, EFLAGS, RIP, RSP, SS, USER_CS, USER_DS
from runsc.kernel.errors import LinuxError
from runsc.kernel.mm.elf import Image, Segment, parse
from runsc.kernel.mm.mm import MemoryManager, page_up, random_pages
from runsc.kernel.mm.vma import MAP_PRIVATE, PAGE, PROT_EXEC, PROT_READ, PROT_WRITE
from runsc.kernel.thread_group import RLIM_INFINITY, RLIMIT_STACK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.credentials import Credentials
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.file import File

#: One argument may not be longer (linux/binfmts.h: MAX_ARG_STRLEN).
MAX_ARG_STRLEN = 32 * PAGE
#: Most of the stack limit that arguments may take, and at most this much in all.
_STACK_SHARE = 4
_ARG_LIMIT = 6 << 20
#: How deep scripts may name scripts.
_MAX_DEPTH = 5

(
    AT_NULL,
    _IGNORE,
    _EXECFD,
    AT_PHDR,
    AT_PHENT,
    AT_PHNUM,
    AT_PAGESZ,
    AT_BASE,
    AT_FLAGS,
    AT_ENTRY,
    _NOTELF,
    AT_UID,
    AT_EUID,
    AT_GID,
    AT_EGID,
    AT_PLATFORM,
    AT_HWCAP,
    AT_CLKTCK,
) = range(18)
AT_SECURE = 23
AT_RANDOM = 25
AT_HWCAP2 = 26
AT_EXECFN = 31
AT_SYSINFO_EHDR = 33
AT_MINSIGSTKSZ = 51


class Program:
    """What is to run: its image, the interpreter's, the final arguments and the name it was asked by."""

    __slots__ = ("argv", "env", "file", "image", "interpreter", "name")

    def __init__(
        self,
        file: File,
        image: Image,
        interpreter: Image | None,
        argv: list[bytes],
        env: list[bytes],
        name: bytes,
    ) -> None:
        self.file = file
        self.image = image
        self.interpreter = interpreter
        self.argv = argv
        self.env = env
        self.name = name

    def release(self) -> None:
        self.file.put()
        if self.interpreter is not None:
            self.interpreter.file.put()


def argument_limit(task: Task) -> int:
    """Bytes that arguments and environment may take, strings and pointers together."""
    stack = task.limit(RLIMIT_STACK)
    if stack == RLIM_INFINITY:
        return _ARG_LIMIT
    return max(min(stack // _STACK_SHARE, _ARG_LIMIT), MAX_ARG_STRLEN)


def copy_in_strings(task: Task, addr: int, budget: int) -> tuple[list[bytes], int]:
    """A NULL-ended array of strings, and the bytes it takes; raises EFAULT, E2BIG."""
    strings: list[bytes] = []
    used = 0
    if not addr:
        return strings, used
    mm = task.mm
    while True:
        at = addr + 8 * len(strings)
        # Read as far as the page goes: one look for most arrays.
        words = mm.copy_in_partial(at, 4096 - (at & 4095))
        if len(words) < 8:
            words = mm.copy_in(at, 8)
        for index in range(0, len(words) - 7, 8):
            pointer = int.from_bytes(words[index : index + 8], "little")
            if not pointer:
                return strings, used
            try:
                text = mm.copy_in_str(pointer, MAX_ARG_STRLEN)
            except LinuxError as error:
                raise LinuxError(EFAULT if error.errno == EFAULT else E2BIG) from None
            used += len(text) + 1 + 8
            if used > budget:
                raise LinuxError(E2BIG)
            strings.append(text)


def check_executable(task: Task, file: File) -> None:
    """A regular file, with an x bit for the task, on a mount without noexec; raises EACCES."""
    from runsc.kernel.vfs.permission import MAY_EXEC, allowed

    if not file.inode.is_reg():
        raise LinuxError(EACCES)
    if file.path is not None and file.path.mount.flags & 8:
        raise LinuxError(EACCES)
    if not allowed(file.inode, task.cred, MAY_EXEC):
        raise LinuxError(EACCES)


def load(task: Task, file: File, name: bytes, argv: list[bytes], env: list[bytes]) -> Program:
    """Find out what ``file`` (a reference is taken over) is, through scripts and interpreters, and check
    it."""
    from runsc.kernel.vfs.operations import open_file

    try:
        for depth in range(_MAX_DEPTH + 1):
            check_executable(task, file)
            if file.inode.write_count > 0:
                raise LinuxError(ETXTBSY)
            head = file.pread(task, 4096, 0)
            if not head.startswith(b"#!"):
                break
            if depth == _MAX_DEPTH:
                raise LinuxError(ELOOP)
            interpreter, argument = parse_script(head[:256])
            argv = [interpreter, *argument, name, *argv[1:]]
            script, file = file, open_file(task, AT_FDCWD, interpreter, O_RDONLY).get()
            script.put()
            name = interpreter
        image = parse(task, file, head)
        second: Image | None = None
        if image.interpreter:
            linker = open_file(task, AT_FDCWD, image.interpreter, O_RDONLY).get()
            try:
                check_executable(task, linker)
                second = parse(task, linker, linker.pread(task, 4096, 0))
            except LinuxError as error:
                linker.put()
                raise LinuxError(ELIBBAD if error.errno in (ENOEXEC, 5) else error.errno) from None
    except BaseException:
        file.put()
        raise
    return Program(file, image, second, argv, env, name)


def parse_script(head: bytes) -> tuple[bytes, list[bytes]]:
    """The interpreter of a script's first line, and its optional argument (fs/binfmt_script.c); ENOEXEC."""
    line, newline, _rest = head[2:].partition(b"\n")
    if not newline:
        # No end of line in the first 256 bytes: a cut interpreter name is refused, a cut argument isn't.
        stripped = line.lstrip(b" \t")
        if len(head) == 256 and not any(c in stripped for c in b" \t\0"):
            raise LinuxError(ENOEXEC)
    line = line.split(b"\0", 1)[0].strip(b" \t")
    if not line:
        raise LinuxError(ENOEXEC)
    for index, char in enumerate(line):
        if char in b" \t":
            argument = line[index:].strip(b" \t")
            return line[:index], [argument] if argument else []
    return line, []


class Layout:
    """Where things go in a new address space (mmap_base, ELF_ET_DYN_BASE, with address randomisation)."""

    __slots__ = ("mmap_base", "pie_base", "stack_size", "stack_top")

    def __init__(self, task: Task, task_size: int) -> None:
        self.stack_top = (task_size - PAGE - random_pages(22)) & ~15
        limit = task.limit(RLIMIT_STACK)
        gap = min(max(limit, 128 << 20), task_size // 6 * 5)
        self.mmap_base = ((self.stack_top & ~(PAGE - 1)) - gap - random_pages(28)) & ~(PAGE - 1)
        self.pie_base = (task_size // 3 * 2 & ~(PAGE - 1)) - random_pages(28)
        self.stack_size = min(max(page_up(min(limit, 8 << 20)), 128 << 10), 8 << 20)


def map_image(mm: MemoryManager, image: Image, bias: int) -> tuple[int, int]:
    """Map the segments at their addresses plus ``bias``. The end of the data, page-rounded and exact (for
    brk)."""
    end_of_bss = 0
    for segment in image.segments:
        map_segment(mm, image.file, segment, bias)
        end_of_bss = max(end_of_bss, segment.vaddr + segment.memsz + bias)
    return page_up(end_of_bss), end_of_bss


def map_segment(mm: MemoryManager, file: File, segment: Segment, bias: int) -> None:
    start = (segment.vaddr + bias) & ~(PAGE - 1)
    file_end = segment.vaddr + bias + segment.filesz
    mem_end = segment.vaddr + bias + segment.memsz
    offset = segment.offset - (segment.vaddr + bias - start)
    mapped = start
    if segment.filesz:
        mapped = page_up(file_end)
        mm.map(start, mapped - start, segment.prot, MAP_PRIVATE, file, offset)
    if mem_end > file_end:
        if segment.filesz and file_end < mapped and segment.prot & PROT_WRITE:
            mm.copy_out(file_end, bytes(min(mapped, page_up(mem_end)) - file_end))
        if page_up(mem_end) > mapped:
            mm.map(mapped, page_up(mem_end) - mapped, segment.prot, MAP_PRIVATE, None, 0)


def start(task: Task, mm: MemoryManager, program: Program, cred: Credentials, secure: bool) -> list[int]:
    """Map the program into the empty ``mm``, build the stack; the registers to start with
    (create_elf_tables).

    Raises LinuxError or OSError: the process can't go back and is killed.
    """
    layout = Layout(task, mm.space.task_size)
    mm.mmap_base = layout.mmap_base
    image = program.image
    if image.broken or (program.interpreter is not None and program.interpreter.broken):
        raise LinuxError(ENOEXEC)
    bias = 0
    if image.position_independent:
        span = image.high - image.low
        if program.interpreter is not None:
            align = image.alignment()
            bias = (layout.pie_base & ~(align - 1)) - image.low
        else:
            bias = mm.place(0, span + image.alignment()) + image.alignment() - 1 & ~(image.alignment() - 1)
            bias -= image.low
    elif image.low < mm.space.min_address:
        raise LinuxError(EFAULT)
    _end, bss_end = map_image(mm, image, bias)
    entry = image.entry + bias
    base = 0
    if program.interpreter is not None:
        second = program.interpreter
        at = 0
        if second.position_independent:
            at = mm.place(0, second.high - second.low) - second.low
            base = at + second.low
        map_image(mm, second, at)
        entry = second.entry + at
        base = at
    mm.set_exe(program.file)
    if image.segments:
        text = next((s for s in image.segments if s.prot & PROT_EXEC), image.segments[0])
        data = image.segments[-1]
        mm.start_code = text.vaddr + bias
        mm.end_code = text.vaddr + text.filesz + bias
        mm.start_data = data.vaddr + bias
        mm.end_data = data.vaddr + data.filesz + bias
    heap = page_up(bss_end)
    if not mm.vmas.overlapping(heap, heap + (64 << 20)):
        heap += random_pages(13)
    mm.brk_start = mm.brk = heap

    stack_prot = PROT_READ | PROT_WRITE | (PROT_EXEC if image.executable_stack else 0)
    stack_end = page_up(layout.stack_top)
    size = layout.stack_size
    needed = sum(len(text) + 9 for text in (*program.argv, *program.env)) + 65536
    size = max(size, page_up(needed))
    mm.map(stack_end - size, size, stack_prot, MAP_PRIVATE, None, 0, "[stack]", grows_down=True)
    sp = build_stack(task, mm, program, layout.stack_top, base, entry, bias, cred, secure)
    regs = [0] * COUNT
    regs[RIP] = entry
    regs[RSP] = sp
    regs[EFLAGS] = 0x202
    regs[CS] = USER_CS
    regs[SS] = USER_DS
    return regs


def build_stack(
    task: Task,
    mm: MemoryManager,
    program: Program,
    top: int,
    base: int,
    entry: int,
    bias: int,
    cred: Credentials,
    secure: bool,
) -> int:
    """Strings, auxiliary vector, environment, arguments, count: the initial stack. The stack pointer."""
    kernel = task.kernel
    image = program.image
    name_at = top - 8 - len(program.name) - 1
    env_block = b"".join(text + b"\0" for text in program.env)
    arg_block = b"".join(text + b"\0" for text in program.argv)
    mm.env_end = name_at
    mm.env_start = name_at - len(env_block)
    mm.arg_end = mm.env_start
    mm.arg_start = mm.arg_end - len(arg_block)
    sp = mm.arg_start & ~15
    platform = b"x86_64\0"
    sp -= 16
    platform_at = sp
    sp -= 16
    random_at = sp
    upper = urandom(16) + platform.ljust(16, b"\0")
    hwcap, hwcap2, minsigstksz = kernel.extra["hwcap"]
    pairs: list[tuple[int, int]] = []
    if mm.space.vdso:
        pairs.append((AT_SYSINFO_EHDR, mm.space.vdso))
    pairs += [
        (AT_MINSIGSTKSZ, minsigstksz),
        (AT_HWCAP, hwcap),
        (AT_PAGESZ, PAGE),
        (AT_CLKTCK, 100),
        (AT_PHDR, image.phdr + bias if image.phdr else 0),
        (AT_PHENT, 56),
        (AT_PHNUM, image.phnum),
        (AT_BASE, base),
        (AT_FLAGS, 0),
        (AT_ENTRY, image.entry + bias),
        (AT_UID, cred.user_ns.uid(cred.uid)),
        (AT_EUID, cred.user_ns.uid(cred.euid)),
        (AT_GID, cred.user_ns.group_id(cred.gid)),
        (AT_EGID, cred.user_ns.group_id(cred.egid)),
        (AT_SECURE, int(secure)),
        (AT_RANDOM, random_at),
        (AT_HWCAP2, hwcap2),
        (AT_EXECFN, name_at),
        (AT_PLATFORM, platform_at),
        (AT_NULL, 0),
    ]
    mm.auxv = b"".join(pack("<QQ", key, value) for key, value in pairs)
    words = [len(program.argv)]
    at = mm.arg_start
    for text in program.argv:
        words.append(at)
        at += len(text) + 1
    words.append(0)
    for text in program.env:
        words.append(at)
        at += len(text) + 1
    words.append(0)
    table = pack(f"<{len(words)}Q", *words) + mm.auxv
    sp = (random_at - len(table)) & ~15
    mm.copy_out(sp, table)
    mm.copy_out(random_at, upper)
    mm.copy_out(mm.arg_start, arg_block + env_block + program.name + b"\0")
    mm.stack_start = sp
    return sp
