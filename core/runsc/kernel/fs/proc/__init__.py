"""The proc file system (proc(5))."""

from runsc.kernel.fs.proc.root import make_proc

__all__ = ["make_proc"]
