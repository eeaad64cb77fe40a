"""Programs that people use: each does the same in a sandbox as natively."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Sandbox

#: What the programs see of the environment: the same however the tests are run.
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/nonexistent",
    "LC_ALL": "C",
    "TZ": "UTC",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_AUTHOR_DATE": "2020-01-01T00:00:00Z",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.org",
    "GIT_COMMITTER_DATE": "2020-01-01T00:00:00Z",
}

#: name -> script; each runs in an empty directory of its own, which it is in.
BASH = {
    "arithmetic and strings": 'x=7; echo $((x * 6)) ${x/7/seven}; printf "%05d|%-5s|%x\\n" 42 ab 255',
    "pipelines": "seq 1000 | sort -rn | head -3 | tac; echo ${PIPESTATUS[@]}",
    "process substitution": "diff <(echo a) <(echo b); cat <(echo sub)",
    "here documents": "cat <<END\nline $((1 + 1))\nEND\ncat <<< word",
    "subshells and statuses": "(exit 3); echo $?; false || echo or; ! true; echo $?; f() { return 9; }; f; "
                              "echo $?",
    "background and wait": "sleep 0.05 & p=$!; wait $p; echo $?; (exit 5) & wait $!; echo $?; wait",
    "traps": "trap 'echo got usr1' USR1; kill -USR1 $$; trap 'echo bye' EXIT; exit 4",
    "killed children": "exec 2>/dev/null; sh -c 'kill -9 $$'; echo $?; sh -c 'kill -SEGV $$'; echo $?; sh "
                       "-c 'kill -STOP $$' & "
    "sleep 0.1; kill -CONT $!; wait $!; echo $?",
    "read from a pipe": "printf 'a b\\nc d\\n' | while read x y; do echo $y-$x; done",
    "globs and files": "touch b a c.txt; echo *; echo ?; mkdir d; echo */; rm -r d; ls -1",
    "redirections": "echo err >&2; echo one > f; echo two >> f; cat < f; exec 3<f; read -u 3 l; echo $l; "
                    "cat <&3",
    "permissions": "umask 027; touch f; mkdir d; stat -c '%a %n' f d; chmod u=rwx,go= f; stat -c %A f; test "
                   "-x f; echo $?",
    "links": "echo x > f; ln f g; ln -s f h; stat -c '%h %F' f h; readlink h; cat h; rm f; cat h; cat g",
    "a fifo": "mkfifo p; cat p & echo through > p; wait; stat -c %F p",
    "limits": "ulimit -n 100; ulimit -n; ulimit -Hn; ulimit -c; ulimit -s",
    "coproc": 'coproc cat; echo hi >&"${COPROC[1]}"; read -u "${COPROC[0]}" l; echo $l',
    "many processes": "for i in {1..30}; do /bin/true; done; for i in {1..20}; do (exit $i) & done; wait; "
                      "echo ok",
    "large pipe": "head -c 3000000 /dev/zero | tr '\\0' x | wc -c; yes | head -100000 | md5sum",
    "sparse files": "truncate -s 100M f; stat -c %s f; dd if=/dev/zero of=f bs=1 seek=5 count=1 "
                    "conv=notrunc 2>/dev/null; wc -c f",
    "find": "mkdir -p a/b/c; touch a/1 a/b/2 a/b/c/3; find . | sort; find . -name '[0-9]' -size -1k | wc "
            "-l; find a -depth -delete; ls",
    "sed, awk and friends": "seq 20 | awk '{s += $1} END {print s}'; echo abc | sed 's/b/[&]/'; echo 'b a' "
                            "| tr ' ' '\\n' | sort | xargs echo; cut -d: -f1 /etc/passwd | head -3; grep -c "
                            ". /etc/passwd",
    "dd and od": "dd if=/dev/zero bs=4k count=100 2>/dev/null | od | head -2; echo abc | od -c",
    "xargs in parallel": "seq 20 | xargs -P 4 -n 1 sh -c 'exit 0' && echo ok; seq 4 | xargs -P 2 -I{} echo "
                         "{} | sort",
    "timeouts": "exec 2>/dev/null; timeout 0.1 sleep 5; echo $?; timeout 5 true; echo $?; timeout -s KILL "
                "0.1 sleep 5; echo $?",
    "devices": "cat /dev/null; head -c 5 /dev/zero | od -An -tx1; head -c 16 /dev/urandom | wc -c; echo x > "
               "/dev/full; echo $?",
    "standard descriptors": "echo a > /dev/stderr; echo in | cat /dev/stdin; ls /dev/fd | wc -l; cat "
                            "/proc/self/fd/0 < /etc/hostname",
    "self": 'cat /proc/self/comm; readlink /proc/self/exe; tr "\\0" " " < /proc/self/cmdline; test -d '
            '/proc/$$ && echo there',
}  # fmt: skip


@pytest.mark.parametrize("name", BASH)
def test_bash(sandbox: Sandbox, name: str) -> None:
    script = f"cd $(mktemp -d) || exit 99\n{BASH[name]}\nstatus=$?\ncd /; exit $status"
    sandbox.same(["/bin/bash", "-c", script], env=ENVIRONMENT, cwd="/")


BUSYBOX = {
    "loops": "i=0; while [ $i -lt 100 ]; do i=$((i + 1)); done; echo $i; for x in a b; do echo $x; done",
    "applets": "echo b a | tr ' ' '\\n' | sort; seq 5 | wc -l; expr 2 + 3; basename /a/b; dirname /a/b; "
    "date -u -d @0",
    "files": "cd $(mktemp -d); echo x > a; cp a b; mv b c; ls; cmp a c; rm a; ls; cat c; df . > /dev/null; "
    "du -s . > /dev/null",
    "archives": "cd $(mktemp -d); mkdir d; echo x > d/f; tar czf t.gz d; rm -r d; tar xzf t.gz; cat d/f; "
    "gunzip -t t.gz; md5sum d/f",
    "processes": "sleep 0.05 & wait; (exit 3); echo $?; sh -c 'kill -TERM $$'; echo $?; ps > /dev/null; id "
    "-u",
}


@pytest.mark.parametrize("name", BUSYBOX)
def test_busybox(sandbox: Sandbox, name: str) -> None:
    if shutil.which("busybox") is None:
        pytest.skip("busybox is not installed")
    sandbox.same(["busybox", "sh", "-c", BUSYBOX[name]], env=ENVIRONMENT, cwd="/")


PYTHON = {
    "modules": "import json, hashlib, re, sqlite3, decimal; print(json.dumps({'a': [1, 2.5, None]}), "
               "re.sub('b', 'x', 'abc'));"
    "print(hashlib.sha256(b'x').hexdigest()); c = sqlite3.connect(':memory:'); print(c.execute('select 1 + "
    "1').fetchall())",
    "subprocess": "import subprocess as s; print(s.run(['cat'], input=b'x' * 200000, "
                  "capture_output=True).stdout == b'x' * 200000);"
    "print(s.run('exit 3', shell=True).returncode, s.Popen(['sleep', '9']).kill())",
    "threads": "import threading, queue\nq = queue.Queue()\ndef work():\n  for i in range(200): q.put(i)\n"
    "ts = [threading.Thread(target=work) for _ in range(8)]\n[t.start() for t in ts]\n[t.join() for t in "
    "ts]\nprint(q.qsize())",
    "multiprocessing": "import multiprocessing as m\nwith m.get_context('fork').Pool(3) as p: "
                       "print(p.map(abs, range(-20, 0)))",
    "signals": "import signal, os, time\nhits = []\nsignal.signal(signal.SIGALRM, lambda s, f: "
               "hits.append(s))\nsignal.alarm(1)\n"
    "t = time.monotonic()\nsignal.pause()\nprint(hits, 0.5 < time.monotonic() - t < 3)",
    "temporary files": "import tempfile, os\nwith tempfile.TemporaryDirectory() as d:\n  p = d + '/f'\n"
    "  with open(p, 'w') as f: print(f.write('line\\n' * 10000))\n  print(os.path.getsize(p), "
    "open(p).readline())\n"
    "  os.rename(p, p + '2'); print(os.listdir(d)); f = tempfile.TemporaryFile(); f.write(b'x'); "
    "print(f.tell())",
    "mmap": "import mmap, tempfile\nf = tempfile.TemporaryFile(); f.truncate(8192)\nm = "
            "mmap.mmap(f.fileno(), 8192)\n"
    "m[0:3] = b'abc'; m.flush(); f.seek(0); print(f.read(4)); f.seek(4096); f.write(b'z'); f.flush(); "
    "print(m[4096:4097])",
    "fork": "import os\nr, w = os.pipe()\nif os.fork() == 0:\n  os.write(w, b'child'); os._exit(7)\n"
    "print(os.read(r, 10), os.waitstatus_to_exitcode(os.wait()[1]))",
    "an error": "raise SystemExit('failed')",
    "select": "import select, os\nr, w = os.pipe()\nprint(select.select([r], [w], [], 0)[1] == [w]); "
              "os.write(w, b'x')\n"
    "p = select.poll(); p.register(r, select.POLLIN); print(len(p.poll(0)))\ne = select.epoll(); "
    "e.register(r); print(len(e.poll(1)))",
    "identity": "import os; print(os.getresuid(), os.getresgid(), os.getgroups(), os.getpriority(0, 0), "
                "os.sched_getaffinity(0))",
    "asyncio": "import asyncio\nasync def f(i):\n  await asyncio.sleep(0.01); return i\nasync def g():\n"
    "  p = await asyncio.create_subprocess_exec('echo', 'hi', stdout=-1)\n  return (await "
    "p.communicate())[0]\n"
    "async def main(): return await asyncio.gather(*(f(i) for i in range(50))), await "
    "g()\nprint(asyncio.run(main()))",
}  # fmt: skip


@pytest.mark.parametrize("name", PYTHON)
def test_python(sandbox: Sandbox, name: str) -> None:
    sandbox.same(["/usr/bin/python3", "-I", "-c", PYTHON[name]], env=ENVIRONMENT, cwd="/")


def test_perl(sandbox: Sandbox) -> None:
    program = (
        "use POSIX; my %h = (a => 1); print join(',', %h), qq(\\n); open(F, '/etc/passwd'); my @l = <F>; "
        "print scalar(@l);"
        "my $p = fork(); if (!$p) { exit 7 } waitpid($p, 0); print $? >> 8; print `echo hi`; $SIG{ALRM} = "
        "sub { print 'alarm' };"
        "alarm 1; select(undef, undef, undef, 5); print length(join('', map { chr } 0 .. 255)); kill 9, $$"
    )
    sandbox.same(["perl", "-e", program], env=ENVIRONMENT, cwd="/")


def test_git(sandbox: Sandbox) -> None:
    script = """
        cd $(mktemp -d) && git init -q -b main work && cd work || exit 1
        seq 100 > f; mkdir d; echo x > d/g; git add .; git commit -q -m one
        git checkout -q -b side; echo side >> f; git commit -q -am two
        git checkout -q main; sed -i 1d f; git commit -q -am three; git merge -q side -m merge
        git log --oneline --graph; git status --short; git diff HEAD~1 --stat
        git clone -q . ../clone; cd ../clone; git fsck 2>&1; git gc -q; git log --format=%H | wc -l
        git grep -c x; ls
    """
    sandbox.same(["/bin/bash", "-c", script], env=ENVIRONMENT, cwd="/")


def test_gcc(sandbox: Sandbox) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    script = """
        cd $(mktemp -d) || exit 1
        printf '#include <stdio.h>\\nint f(int);int main(void){printf("%d\\\\n", f(20));return 3;}' > a.c
        printf 'int f(int n){return n < 2 ? n : f(n - 1) + f(n - 2);}' > b.c
        printf 'all: a.o b.o\\n\\tgcc -o all a.o b.o\\n%%.o: %%.c\\n\\tgcc -O2 -c $<\\n' > Makefile
        make -s -j2 && ./all; echo $?; ar rc l.a a.o b.o && nm l.a | grep -c T; gcc -c missing.c; echo $?
    """
    sandbox.same(["/bin/bash", "-c", script], env=ENVIRONMENT, cwd="/")


def test_tar_and_gzip(sandbox: Sandbox) -> None:
    script = """
        cd $(mktemp -d) || exit 1
        tar cf - -C /usr/share/perl5 . | gzip -1 | gunzip | tar xf -
        find . -type f | sort | xargs md5sum | md5sum; find . -type d | wc -l; find . -type l | wc -l
    """
    sandbox.same(["/bin/bash", "-c", script], env=ENVIRONMENT, cwd="/")


@pytest.mark.slow
def test_a_large_tree(sandbox: Sandbox) -> None:
    sandbox.same(
        ["/bin/sh", "-c", "find /usr/share | sort | md5sum; find /usr/share | wc -l"],
        env=ENVIRONMENT,
        cwd="/",
    )
