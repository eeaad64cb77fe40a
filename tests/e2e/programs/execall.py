"""Executes each file of a directory, in the order of their names, and prints what became of it.

usage: execall.py DIRECTORY. A line a file: its name, and the errno of execve or how the process ended.
"""

import errno
import os
import sys

for name in sorted(os.listdir(sys.argv[1])):
    path = os.path.join(sys.argv[1], name)
    out, into = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(os.open("/dev/null", os.O_RDWR), 1)
        os.dup2(1, 2)
        try:
            os.execv(path, [path, "argument"])
        except OSError as error:
            os.write(into, errno.errorcode[error.errno].encode())
        os._exit(99)
    os.close(into)
    _, status = os.waitpid(child, 0)
    failed = os.read(out, 20).decode()
    os.close(out)
    print(name, failed or f"{os.waitstatus_to_exitcode(status)}")
