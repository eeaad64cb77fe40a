"""Namespaces made and joined with the programs that people use for it: the same output natively and in a
sandbox, but for the width of columns (that of process ids follows from pid_max)."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Sandbox

pytestmark = pytest.mark.root

BIND = """python3 -c '
import errno, socket
def attempt(what):
    try: what()
    except OSError as error: print(errno.errorcode[error.errno])
    else: print("ok")
def talk():
    server = socket.socket(); server.bind(("127.0.0.1", 8080)); server.listen()
    client = socket.create_connection(("127.0.0.1", 8080)); client.close(); server.close()
attempt(talk)
import subprocess; subprocess.run(["ip", "link", "set", "lo", "up"])
attempt(talk)
server = socket.socket(socket.AF_UNIX); attempt(lambda: server.bind(b"\\0name"))
'"""

COMMANDS = {
    "uts": "unshare -u sh -c 'hostname inner; hostname; cat /proc/sys/kernel/hostname; uname -n'",
    "user": "unshare -U sh -c 'id; cat /proc/self/uid_map /proc/self/setgroups; head -c 9 /proc/self/status'",
    "user_root": "unshare -Ur sh -c 'id; cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups;"
    " grep Cap /proc/self/status; stat -c %u:%g /; chown 1:1 /proc/self/status'",
    "user_map_users": "unshare -U --map-users 0,0,10 --map-groups 0,0,10 sh -c 'id; cat /proc/self/uid_map'",
    "map_twice": "unshare -Ur sh -c 'echo 0 0 1 > /proc/self/uid_map'",
    "groups_denied": "unshare -Ur setpriv --groups 1 true",
    "pid": "unshare -pf --mount-proc sh -c 'echo $$; ps -eo pid,ppid,comm; kill -9 1; kill -TERM 1; echo"
    " alive'",
    "pid_signal": "unshare -pf sh -c 'trap \"echo got\" USR1; (kill -USR1 1); :; exit 3'; echo $?",
    "pid_orphan": 'unshare -pf --mount-proc sh -c \'(sh -c "sleep 0.2; ps -o ppid= -p \\$\\$" &); sleep'
    " 0.6'",
    "pid_kills_all": "unshare -pf --kill-child sh -c 'sleep 1000 & exit 7'; echo $?",
    "nested": "unshare -pf --mount-proc unshare -pf --mount-proc sh -c 'grep NS /proc/self/status | cut -f2-;"
    " ls -d /proc/[0-9]*'",
    "mount": "unshare -m sh -c 'mount -t tmpfs none /mnt && echo hi >/mnt/x && cat /mnt/x'; ls /mnt/x",
    "mount_user": "unshare -Urm sh -c 'mount -t tmpfs none /mnt && echo hi >/mnt/x && cat /mnt/x; mount"
    " -t ext4 a /mnt'",
    "mount_locked": "unshare -m sh -c 'mount -t tmpfs none /mnt; unshare -Urm umount /mnt;"
    " unshare -Urm mount -o remount,bind,rw /mnt; echo $?'",
    "ipc": "ipcmk -Q -p 0600 >/dev/null; unshare -i sh -c 'ipcs -q | wc -l; ipcmk -Q | tr -d 0-9'; ipcrm -a",
    "net": "unshare -n sh -c 'ip addr; cat /proc/net/dev | wc -l'",
    "net_user": "unshare -Urn sh -c 'ip link set lo up && ip -4 addr show lo; ip addr add 10.1.1.1/24"
    " dev lo; ip -4 -o addr'",
    "net_sockets": f"unshare -n {BIND}",
    "nsenter": "unshare -upf --mount-proc sh -c 'hostname deep; sleep 60' & sleep 0.5;"
    " child=$(ps -o pid= --ppid $!); nsenter -t $child -u -p -m sh -c 'hostname; ps -eo pid,comm --sort pid';"
    " kill -9 $child; wait",
    "nsenter_user": "unshare -U --map-root-user sleep 60 & sleep 0.4; nsenter -t $! -U id -u;"
    " nsenter -t $! -a cat /proc/self/uid_map; kill $!; wait",
    "unprivileged": "setpriv --reuid 1234 --regid 1234 --clear-groups unshare -Ur sh -c"
    " 'id; cat /proc/self/uid_map; hostname x; cat /etc/shadow; unshare -u hostname y && echo ok'",
    "unprivileged_refused": "setpriv --reuid 1234 --regid 1234 --clear-groups unshare -m true; echo $?",
    "files": "unshare -Ur sh -c 'cd /tmp; rm -f nsf; touch nsf; stat -c %u:%g nsf; chown 5 nsf; rm nsf;"
    " id -u'",
    "kinds": "unshare -Ur readlink /proc/self/ns/user | tr -d 0-9; readlink /proc/self/ns/net | tr -d 0-9;"
    " unshare -u readlink /proc/self/ns/uts >/dev/null && echo ok",
    "chroot": "mkdir -p /tmp/nsroot; chroot /tmp/nsroot /nothing; unshare -Ur chroot / id -u; rmdir"
    " /tmp/nsroot",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_same_output(sandbox: Sandbox, name: str) -> None:
    words = ["/bin/sh", "-c", f"export LC_ALL=C; {{ {COMMANDS[name]}; }} 2>&1"]
    # In namespaces of its own natively, as a sandbox is.
    expected = sandbox.native(["unshare", "-umin", "--propagation", "private", *words])
    got = sandbox.run(words)
    assert got.stdout.split() == expected.stdout.split()
    assert got.code == expected.code


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="no bwrap (bubblewrap)")
@pytest.mark.parametrize(
    "options",
    [
        "--ro-bind / / --proc /proc --dev /dev --unshare-all",
        "--tmpfs / --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64"
        " /lib64"
        " --proc /proc --dev /dev --unshare-pid --unshare-user --uid 1000 --gid 1000 --hostname inside"
        " --unshare-uts --die-with-parent --new-session --setenv A b --chdir /tmp --dir /tmp",
    ],
)
def test_bubblewrap(sandbox: Sandbox, options: str) -> None:
    script = "id; pwd; hostname >/dev/null; ls /; echo $A; ps -eo pid,ppid,comm; touch /usr/x; cat"
    " /proc/self/uid_map"
    words = ["/bin/sh", "-c", f"LC_ALL=C bwrap {options} sh -c '{script}' 2>&1"]
    expected = sandbox.native(words)
    got = sandbox.run(words)
    assert got.stdout.split() == expected.stdout.split()
    assert got.code == expected.code
    assert expected.code == 0


@pytest.mark.skipif(shutil.which("lsns") is None, reason="no lsns (util-linux)")
def test_lsns(sandbox: Sandbox) -> None:
    got = sandbox.run(
        ["/bin/sh", "-c", "unshare -Urpf sleep 60 & sleep 0.5; lsns -n -o TYPE,NPROCS; kill -9 $!"]
    )
    lines = sorted(got.stdout.decode().split("\n"))
    assert sum(line.split()[:1] == ["user"] for line in lines) == 2
    assert sum(line.split()[:1] == ["pid"] for line in lines) == 2
    assert sum(line.split()[:1] == ["uts"] for line in lines) == 1
