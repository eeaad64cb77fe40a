"""9P2000.L as both sides see it, and our extension of it.

Message: size[4] type[1] tag[2] and what the type says, little-endian; strings are length[2] and bytes. The
protocol is described in diod's protocol.md and, for what 9P2000.L took over, in Plan 9's intro(5); the
numbers are in Linux's include/net/9p/9p.h.

The extension is agreed on by the version string ``9P2000.L.runsc.1``; who doesn't know it is answered
``9P2000.L`` and gets that. Its messages name a file by a fid and one component, "" for the fid's own file,
so that nothing has to be walked to first; they answer attributes (``Attributes``: 13 numbers) with whatever
they do, and opened files as descriptors (SCM_RIGHTS). """

from __future__ import annotations

from struct import Struct

VERSION = b"9P2000.L"
EXTENDED = b"9P2000.L.runsc.1"

NOTAG = 0xFFFF
NOFID = 0xFFFFFFFF
#: The largest message of plain 9P, and of ours.
MSIZE = 1 << 20

HEAD = Struct("<IBH")
QID = Struct("<BIQ")

RLERROR = 7
TSTATFS = 8
TLOPEN = 12
TLCREATE = 14
TSYMLINK = 16
TMKNOD = 18
TRENAME = 20
TREADLINK = 22
TGETATTR = 24
TSETATTR = 26
TXATTRWALK = 30
TXATTRCREATE = 32
TREADDIR = 40
TFSYNC = 50
TLOCK = 52
TGETLOCK = 54
TLINK = 70
TMKDIR = 72
TRENAMEAT = 74
TUNLINKAT = 76
TVERSION = 100
TAUTH = 102
TATTACH = 104
TFLUSH = 108
TWALK = 110
TREAD = 116
TWRITE = 118
TCLUNK = 120
TREMOVE = 122

# The extension. A reply's type is the request's and one, as in all of 9P.
XFIND = 200  #: fid name -> attributes
XWALK = 202  #: fid watch[1] n[2] n*name -> n[2] n*(errno[4] watch[4] attributes)
XOPENDIR = 204  #: fid newfid name -> attributes
XOPEN = 206  #: fid newfid flags[4] name -> attributes; a descriptor
XCREATE = 208  #: fid newfid mode[4] uid[4] gid[4] name ("": nameless) -> attributes; a descriptor
XLIST = 210  #: fid first[1] -> n[4] n*attributes names, each with a NUL behind it; n is 0 at the end
XMAKE = 212  #: fid mode[4] rdev[8] uid[4] gid[4] name target -> attributes
XCHANGE = 214  #: fid what[1] a[8] b[8] name -> nothing
XATTR = 216  #: fid what[1] flags[4] name attribute value -> data
XLINK = 218  #: fid newfid name newname -> nothing
XRENAME = 220  #: fid newfid flags[4] name newname -> nothing
XREADLINK = 222  #: fid name -> data
XWATCH = 224  #: fid data[1] -> watch[4]
XUNWATCH = 226  #: watch[4] -> nothing
XEVENTS = 228  #: -> a number that only this gofer has[8]; the descriptor of its watches
XROOT = 230  #: fid -> readable[1] writable[1]; descriptors of a single file for these
XSYNC = 232  #: fid what[1] (1: its whole file system) -> nothing
XSTATFS = 234  #: fid -> nine numbers of 8: StatFs's

CHMOD, CHOWN, UTIMES, TRUNCATE = range(4)
XATTR_GET, XATTR_LIST, XATTR_SET, XATTR_REMOVE = range(4)

#: What a watch of XWATCH and XWALK tells: see ``runsc.kernel.fs.hostfs.watch``.


def text(data: bytes) -> bytes:
    """A string as 9P has it."""
    return len(data).to_bytes(2, "little") + data
