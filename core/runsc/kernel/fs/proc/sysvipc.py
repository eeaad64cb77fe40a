"""/proc/sysvipc: the objects of the reader's IPC namespace (proc(5))."""

from __future__ import annotations

from runsc.kernel.fs.proc.node import ProcDir, ProcFile, ProcFs
from runsc.kernel.ipc.ids import shown_pid
from runsc.kernel.ipc.namespace import ipc_tables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.task import Task

_PAGE = 4096


def make_sysvipc(fs: ProcFs) -> ProcDir:
    directory = ProcDir(fs)
    directory.add("shm", ProcFile(fs, show_shm))
    directory.add("sem", ProcFile(fs, show_sem))
    directory.add("msg", ProcFile(fs, show_msg))
    return directory


def show_shm(reader: Task) -> str:
    lines = [
        "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid"
        "      atime      dtime      ctime                   rss                  swap\n"
    ]
    for item in ipc_tables(reader).shm:
        lines.append(
            f"{item.key:10} {item.ident:10}  {item.mode:4o} {item.size:21} {shown_pid(reader, item.cpid):5}"
            f" {shown_pid(reader, item.lpid):5}  {item.nattch:5} {item.uid:5} {item.gid:5} {item.cuid:5}"
            f" {item.cgid:5} {item.atime:10} {item.dtime:10} {item.ctime:10} {item.resident() * _PAGE:21}"
            f" {0:21}\n"
        )
    return "".join(lines)


def show_sem(reader: Task) -> str:
    lines = ["       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n"]
    for item in ipc_tables(reader).sem:
        lines.append(
            f"{item.key:10} {item.ident:10}  {item.mode:4o} {len(item.semaphores):10} {item.uid:5}"
            f" {item.gid:5} {item.cuid:5} {item.cgid:5} {item.otime:10} {item.ctime:10}\n"
        )
    return "".join(lines)


def show_msg(reader: Task) -> str:
    lines = [
        "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid"
        "      stime      rtime      ctime\n"
    ]
    for item in ipc_tables(reader).msg:
        lines.append(
            f"{item.key:10} {item.ident:10}  {item.mode:4o}  {item.cbytes:10} {len(item.messages):10}"
            f" {shown_pid(reader, item.lspid):5} {shown_pid(reader, item.lrpid):5} {item.uid:5} {item.gid:5}"
            f" {item.cuid:5} {item.cgid:5} {item.stime:10} {item.rtime:10} {item.ctime:10}\n"
        )
    return "".join(lines)
