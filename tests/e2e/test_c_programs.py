"""Small C programs, each about one part of the kernel: the same output natively and in a sandbox."""

from __future__ import annotations

import os
import shutil
import subprocess
from difflib import unified_diff
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Outcome, Sandbox

    Compile = Callable[[str], str]

PROGRAMS = Path(__file__).parent / "programs"

@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """``compiled(name)``: the static program built from ``programs/name.c``."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    directory = tmp_path_factory.mktemp("programs")

    def build(name: str) -> str:
        program = directory / name
        if not program.exists():
            source = PROGRAMS / f"{name}.c"
            # -w: what is wrong in them is wrong on purpose.
            command = [compiler, "-static", "-O1", "-w", "-pthread", "-z", "execstack", "-o", program, source]
            built = subprocess.run(command, capture_output=True, text=True)
            assert built.returncode == 0, built.stderr
        return str(program)

    return build


def lines_that_differ(expected: Outcome, got: Outcome) -> str:
    return "\n".join(
        unified_diff(
            expected.stdout.decode().splitlines(),
            got.stdout.decode().splitlines(),
            "native",
            "sandbox",
            lineterm="",
            n=1,
        )
    )


SAME = ["pidfd", "signals", "processes", "jobs", "threads", "memory", "waiting", "sigio", "herd"]


@pytest.mark.parametrize("name", SAME)
def test_same_output(sandbox: Sandbox, compiled: Compile, name: str) -> None:
    program = compiled(name)
    expected = sandbox.native([program])
    got = sandbox.run([program])
    assert lines_that_differ(expected, got) == ""
    assert got == expected
    assert expected.code == 0


@pytest.mark.root
@pytest.mark.parametrize("name", ["sysvipc", "mqueue"])
def test_ipc(sandbox: Sandbox, compiled: Compile, name: str, tmp_path: Path) -> None:
    """Natively in an IPC namespace of its own, which is what a sandbox starts with."""
    program = compiled(name)
    expected = sandbox.native(["unshare", "--ipc", "--mount", program, tmp_path])
    got = sandbox.run([program, tmp_path])
    assert lines_that_differ(expected, got) == ""
    assert got == expected
    assert expected.code == 0


@pytest.mark.root
def test_memory_calls(sandbox: Sandbox, compiled: Compile) -> None:
    program = compiled("memory_calls")
    expected = sandbox.native([program])
    got = sandbox.run([program])
    assert lines_that_differ(expected, got) == ""
    assert got == expected
    assert expected.code == 0


@pytest.mark.root
@pytest.mark.parametrize("name", ["aio", "leases", "unixmore"])
def test_in_a_directory(sandbox: Sandbox, compiled: Compile, name: str, tmp_path: Path) -> None:
    program = compiled(name)
    for path in (Path(program).parent, tmp_path):
        for directory in (path, *path.parents[:2]):
            directory.chmod(0o755)
    places = tmp_path / "native", tmp_path / "sandbox"
    for place in places:
        place.mkdir()
    expected = sandbox.native([program, places[0]])
    got = sandbox.run([program, places[1]])
    assert lines_that_differ(expected, got) == ""
    assert got == expected
    assert expected.code == 0


@pytest.mark.root
@pytest.mark.skipif(shutil.which("ipcmk") is None, reason="no ipcmk (util-linux)")
def test_ipc_tools(sandbox: Sandbox) -> None:
    words = ["/bin/sh", "-c", IPC_TOOLS]
    expected = sandbox.native(["unshare", "--ipc", *words])
    assert sandbox.run(words) == expected
    assert b"Message queue id: 0" in expected.stdout


@pytest.mark.root
@pytest.mark.parametrize("name", ["identity", "execcreds", "seccomp"])
def test_identity(sandbox: Sandbox, compiled: Compile, name: str) -> None:
    program = compiled(name)
    # Other users run it too.
    for directory in (Path(program).parent, *Path(program).parent.parents[:2]):
        directory.chmod(0o755)
    expected = sandbox.native([program])
    got = sandbox.run([program])
    assert lines_that_differ(expected, got) == ""
    assert expected.code == got.code == 0


def test_bad_addresses(sandbox: Sandbox, compiled: Compile, tmp_path: Path) -> None:
    """What is not implemented yet is left out; what differs must be known to."""
    program = compiled("badptr")
    expected = sandbox.native([program], cwd=tmp_path)
    got = sandbox.run([program], cwd=tmp_path)
    assert expected.code == got.code == 0
    native = expected.stdout.decode().splitlines()
    ours = got.stdout.decode().splitlines()
    assert len(native) == len(ours) > 1500
    different = {}
    for line, other in zip(native, ours, strict=True):
        if line != other and not other.endswith(": ENOSYS"):
            different[line] = other.rsplit(": ")[-1]
    assert different == {}


#: What the tools tell, without the keys, which are random.
IPC_TOOLS = r"""
ipcmk -M 100000 && ipcmk -Q && ipcmk -S 3
ipcs | sed s/0x[0-9a-f]*/KEY/ ; ipcs -l; ipcs -u; ipcs -m -c; ipcs -s -i 0 | grep -v time
ipcrm -m 0 && ipcrm -q 0 && ipcrm -s 0; ipcrm -m 0; ipcs
echo 9000 > /proc/sys/kernel/msgmax; cat /proc/sys/kernel/msgmax; echo x > /proc/sys/kernel/msgmax
echo 5 6 > /proc/sys/kernel/sem; cat /proc/sys/kernel/sem; ipcmk -S 6; echo 40000 > /proc/sys/kernel/shmmni
"""

SET_ID = """
cp /usr/bin/id {0}/id && chown 7:8 {0}/id && chmod 6755 {0}/id || exit 9
{0}/id; setpriv --reuid 65534 --regid 65534 --clear-groups {0}/id; setpriv --nnp {0}/id
chmod 2655 {0}/id; {0}/id; chmod 755 {0}/id; {0}/id
"""


@pytest.mark.root
def test_set_id_programs(sandbox: Sandbox, tmp_path: Path) -> None:
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(0o755)
    sandbox.shell(SET_ID.format(tmp_path))


@pytest.mark.skipif(not os.path.exists("/bin/true"), reason="no /bin/true")
def test_a_program_that_is_killed_leaves_its_status(sandbox: Sandbox, compiled: Compile) -> None:
    program = compiled("signals")
    sandbox.shell(f"{program} > /dev/null; echo $?; ({program} & kill -9 $!; wait $!; echo $?) 2> /dev/null")
