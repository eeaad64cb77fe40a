/* fork, vfork, exec, wait in all their forms; orphans, sessions, process groups, identities. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* The result of a call, and what errno is behind it. */
#define REPORT(format, call) do { errno = 0; int r_ = (int)(call); printf(format, r_, errno); } while (0)

int main(int argc, char **argv)
{
	setvbuf(stdout, 0, _IONBF, 0);
	if (argc > 1) {
		printf("exec'd: %d", argc);
		for (int i = 0; i < argc; i++)
			printf(" %s", argv[i]);
		printf(" env %s fd3 %d\n", getenv("MARK") ? getenv("MARK") : "-", fcntl(3, F_GETFD));
		return 5;
	}
	int status;
	pid_t pid = fork();
	if (!pid)
		exit(7);
	printf("wait %d", wait(&status) == pid);
	printf(" status %x\n", status);

	/* Copy on write. */
	static int shared = 1;
	if (!(pid = fork())) {
		shared = 2;
		_exit(shared);
	}
	waitpid(pid, &status, 0);
	printf("child saw %d, we %d\n", WEXITSTATUS(status), shared);

	pid = vfork();
	if (!pid) {
		shared = 3;
		_exit(1);
	}
	waitpid(pid, 0, 0);
	printf("vfork shares: %d\n", shared);

	/* exec: arguments, environment, close-on-exec, failures. */
	int keep = open("/dev/null", O_RDONLY), gone = open("/dev/null", O_RDONLY | O_CLOEXEC);
	printf("fds %d %d\n", keep, gone);
	for (int i = 0; i < 2; i++) {
		if (!(pid = vfork())) {
			char *args[] = {"name", "a", "", "c d", 0}, *env[] = {"MARK=yes", 0};
			if (i)
				close(3);
			execve("/proc/self/exe", args, env);
			_exit(99);
		}
		waitpid(pid, &status, 0);
		printf("exec status %d\n", WEXITSTATUS(status));
	}
	char *none[] = {0};
	REPORT("exec dir: %d %d\n", execve("/", none, none));
	REPORT("exec text: %d %d\n", execve("/etc/passwd", none, none));
	REPORT("exec missing: %d %d\n", execve("/nowhere/x", none, none));
	REPORT("exec notdir: %d %d\n", execve("/etc/passwd/x", none, none));

	/* waitid and its options. */
	siginfo_t info;
	if (!(pid = fork()))
		_exit(9);
	memset(&info, 0, sizeof info);
	printf("waitid %d\n", waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
	printf("  %d %d %d %d\n", info.si_signo, info.si_code, info.si_status, info.si_pid == pid);
	printf("waitid again %d\n", waitid(P_ALL, 0, &info, WEXITED));
	REPORT("nohang %d %d\n", waitpid(-1, &status, WNOHANG));
	if (!(pid = fork()))
		pause();
	printf("nohang running %d\n", waitpid(-1, &status, WNOHANG));
	kill(pid, SIGKILL);
	struct rusage usage;
	printf("wait4 %d killed by %d\n", wait4(pid, &status, 0, &usage) == pid, WTERMSIG(status));
	REPORT("kill gone %d %d\n", kill(pid, 0));

	/* Sessions and groups. */
	int p[2];
	if (pipe(p))
		return 1;
	if (!(pid = fork())) {
		pid_t sid = setsid();
		printf("session %d %d %d\n", sid == getpid(), getpgrp() == getpid(), getsid(0) == getpid());
		REPORT("again %d %d\n", setsid());
		REPORT("setpgid %d %d\n", setpgid(0, 0));
		_exit(0);
	}
	waitpid(pid, 0, 0);
	if (!(pid = fork())) {
		setpgid(0, 0);
		if (!fork())
			pause();
		if (!fork())
			pause();
		usleep(20000);
		signal(SIGTERM, SIG_IGN);
		kill(0, SIGTERM);
		for (int i = 0; i < 2; i++) {
			wait(&status);
			printf("group member died of %d\n", WTERMSIG(status));
		}
		_exit(0);
	}
	waitpid(pid, 0, 0);

	/* A subreaper adopts orphans. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (!(pid = fork())) {
		if (!fork()) {
			usleep(50000);
			_exit(getppid() != 1 ? 44 : 45);
		}
		_exit(0);
	}
	waitpid(pid, &status, 0);
	printf("orphan %d", wait(&status) > 0);
	printf(" %d\n", WEXITSTATUS(status));

	/* The parent's death signal. */
	if (!(pid = fork())) {
		pid_t inner = fork();
		if (!inner) {
			prctl(PR_SET_PDEATHSIG, SIGUSR1);
			if (write(p[1], "r", 1) != 1)
				_exit(1);
			pause();
		}
		char c;
		if (read(p[0], &c, 1) != 1)
			_exit(1);
		_exit(0);
	}
	waitpid(pid, 0, 0);
	wait(&status);
	printf("parent's death: %d\n", WTERMSIG(status));

	/* clone with a stack of its own and shared memory. */
	int counter = 0;
	int child(void *arg) { (*(int *)arg)++; return 11; }
	char *stack = malloc(65536);
	pid = clone(child, stack + 65536, CLONE_VM | SIGCHLD, &counter);
	waitpid(pid, &status, 0);
	printf("clone %d %d\n", WEXITSTATUS(status), counter);
	pid = clone(child, stack + 65536, CLONE_VM | CLONE_FILES | CLONE_FS, &counter);
	printf("no signal: %d", waitpid(pid, &status, 0));
	printf(" errno %d, __WALL %d\n", errno, waitpid(pid, &status, __WALL) == pid);

	/* Many at once. */
	int sum = 0;
	for (int i = 0; i < 40; i++)
		if (!fork())
			_exit(i);
	while (wait(&status) > 0)
		sum += WEXITSTATUS(status);
	printf("sum %d\n", sum);
	return 0;
}
