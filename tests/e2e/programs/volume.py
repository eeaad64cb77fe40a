"""Does to a directory what programs do to files, and prints what comes of it."""

import errno
import mmap
import os
import stat
import sys
import time

os.chdir(sys.argv[1])


def attempt(what, call, *args, **options):
    try:
        result = call(*args, **options)
    except OSError as error:
        print(what, errno.errorcode[error.errno])
        return None
    print(what, "ok")
    return result


def content(name):
    with open(name, "rb") as file:
        return file.read()


def show(name):
    st = os.lstat(name)
    kind = stat.S_IFMT(st.st_mode)
    size = 0 if kind == stat.S_IFDIR else st.st_size
    print(name, oct(st.st_mode), st.st_nlink if kind != stat.S_IFDIR else "-", st.st_uid, st.st_gid, size)


with open("f", "wb") as file:
    file.write(b"one two three")
os.chmod("f", 0o640)
attempt("link", os.link, "f", "g")
attempt("rename", os.rename, "g", "h")
attempt("symlink", os.symlink, "f", "s")
print(os.readlink("s"), content("s"))
attempt("mkdir", os.mkdir, "d", 0o750)
attempt("mkdir again", os.mkdir, "d")
attempt("rmdir of a file", os.rmdir, "f")
attempt("unlink of a directory", os.unlink, "d")
attempt("mkfifo", os.mkfifo, "d/fifo")
attempt("node", os.mknod, "d/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
attempt("socket", os.mknod, "d/socket", stat.S_IFSOCK | 0o600)
attempt("rmdir of what isn't empty", os.rmdir, "d")
attempt("rename over a directory", os.rename, "f", "d")
attempt("chown", os.chown, "f", 12, 34)
attempt("lchown", os.lchown, "s", 56, 78)
attempt("set-id", os.chmod, "f", 0o6755)
attempt("utime", os.utime, "f", ns=(10**18 + 1, 10**18 + 2))
attempt("lutime", os.utime, "s", ns=(5, 6), follow_symlinks=False)
print(os.stat("f").st_mtime_ns, os.lstat("s").st_mtime_ns)
attempt("xattr", os.setxattr, "f", "user.one", b"1")
attempt("xattr of a directory", os.setxattr, "d", "user.two", b"2")
attempt("xattr of a link", os.setxattr, "s", "user.three", b"3", follow_symlinks=False)
attempt("xattr of a fifo", os.setxattr, "d/fifo", "user.four", b"4")
attempt("create again", os.setxattr, "f", "user.one", b"1", os.XATTR_CREATE)
print(os.listxattr("f"), os.getxattr("f", "user.one"), os.listxattr("d"))
attempt("remove", os.removexattr, "f", "user.one")
attempt("and again", os.removexattr, "f", "user.one")

nameless = attempt("O_TMPFILE", os.open, ".", os.O_RDWR | os.O_TMPFILE, 0o604)
if nameless is not None:
    os.write(nameless, b"nameless")
    print(os.fstat(nameless).st_nlink)
    path = f"/proc/self/fd/{nameless}"
    attempt("a name", os.link, path, "named", src_dir_fd=nameless, follow_symlinks=True)
    show("named")
    os.close(nameless)

fd = os.open("big", os.O_RDWR | os.O_CREAT, 0o600)
os.pwrite(fd, b"end", 5 << 30)
print(os.fstat(fd).st_size, os.fstat(fd).st_blocks < 1000)
print(os.pread(fd, 3, (5 << 30) - 1), os.lseek(fd, 0, os.SEEK_DATA) > 1 << 30)
os.ftruncate(fd, 8192)
area = mmap.mmap(fd, 8192)
area[4090:4100] = b"x" * 10
print(os.pread(fd, 20, 4085))
os.pwrite(fd, b"written", 0)
print(area[:7])
area.flush()
area.close()
attempt("fsync", os.fsync, fd)
os.unlink("big")
print(os.fstat(fd).st_nlink, os.fstat(fd).st_size)
attempt("unlinked chmod", os.fchmod, fd, 0o644)
attempt("unlinked chown", os.fchown, fd, 1, 2)
print(oct(os.fstat(fd).st_mode), os.fstat(fd).st_uid)
os.close(fd)

deep = b"deep"
os.mkdir(deep)
for _ in range(60):
    deep += b"/" + b"\xff\xfe d" * 10
    os.mkdir(deep)
open(deep + b"/f", "w").close()
print(len(deep), os.listdir(deep))

many = [f"many-{number:05}" for number in range(1500)]
os.mkdir("many")
for name in many:
    os.close(os.open("many/" + name, os.O_CREAT | os.O_WRONLY, 0o600))
print(sorted(os.listdir("many")) == many, sum(entry.stat().st_mode & 0o777 for entry in os.scandir("many")))
for name in many[::2]:
    os.unlink("many/" + name)
print(sorted(os.listdir("many")) == many[1::2])

os.mkdir("from")
os.mkdir("from/sub")
open("from/sub/f", "w").close()
inside = os.open("from/sub", os.O_RDONLY | os.O_DIRECTORY)
attempt("rename of a directory", os.rename, "from", "d/to")
print(os.listdir("d/to/sub"), os.readlink(f"/proc/self/fd/{inside}").endswith("/d/to/sub"))
attempt("into itself", os.rename, "d", "d/to/d")
print(os.stat("f", dir_fd=inside).st_size)
os.close(inside)
with open("append", "ab") as file:
    file.write(b"a")
    with open("append", "ab") as other:
        other.write(b"b" * 5)
    file.write(b"c")
print(content("append"))
os.truncate("append", 3)
print(content("append"))
attempt("create exclusively", os.open, "append", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
attempt("missing", os.stat, "nothing")
attempt("through a file", os.stat, "append/x")
before = os.stat(".").st_mtime_ns
time.sleep(0.02)
open("new", "w").close()
print(os.stat(".").st_mtime_ns > before)
for name in ("f", "h", "s", "d", "d/fifo", "d/null", "d/socket", "append", "new"):
    show(name)
