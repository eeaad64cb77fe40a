"""overlayfs: a writable directory tree over read-only ones (Documentation/filesystems/overlayfs.rst).

Names are looked up in the upper directory first, then in the lower ones. What is changed is copied up
before; what is taken away is hidden by a whiteout in the upper directory. The formats in the upper directory
(whiteouts, opaque and redirected directories) are Linux's.
"""

from runsc.kernel.fs.overlay.filesystem import Overlay

__all__ = ["Overlay"]
