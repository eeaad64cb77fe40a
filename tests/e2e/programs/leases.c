/* Leases, signal-driven I/O, and files that are busy because they run. argv[1]: a directory to work in. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CALL(what, call) do { errno = 0; long r_ = (long)(call); printf("%s: %ld %s\n", what, r_, \
	r_ == -1 ? strerrorname_np(errno) : "ok"); } while (0)

static volatile int signo, code, band, fd_of;

static void handler(int s, siginfo_t *i, void *c)
{
	signo = s;
	code = i->si_code;
	band = i->si_band;
	fd_of = i->si_fd;
}

static void told(const char *what, int fd)
{
	printf("%s: signal %d code %d band %x fd %s\n", what, signo == SIGIO ? 1 : signo ? 2 : 0, code, band,
	       fd_of == fd ? "right" : "other");
	signo = code = band = fd_of = 0;
}

static void breaking(const char *what, int fd, int flags, int give)
{
	int status;
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		signal(SIGIO, SIG_IGN);
		int o = open("f", flags);
		_exit(o < 0 ? errno : 100);
	}
	for (int i = 0; i < 300 && !signo; i++)
		usleep(1000);
	told(what, fd);
	printf("being broken: %d\n", fcntl(fd, F_GETLEASE));
	if (flags & O_NONBLOCK)
		waitpid(pid, &status, 0);
	CALL("give", fcntl(fd, F_SETLEASE, give));
	if (!(flags & O_NONBLOCK))
		waitpid(pid, &status, 0);
	printf("the other: %d\n", WEXITSTATUS(status));
	printf("now: %d\n", fcntl(fd, F_GETLEASE));
}

int main(int argc, char **argv)
{
	int status, p[2], sv[2];
	char c, name[100];
	setvbuf(stdout, 0, _IOFBF, 1 << 16);
	chdir(argv[1]);
	close(open("f", O_CREAT | O_RDWR, 0644));
	struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART};
	sigaction(SIGIO, &sa, 0);
	sigaction(SIGRTMIN, &sa, 0);
	int r = open("f", O_RDONLY), d = open(".", O_RDONLY);
	printf("none: %d\n", fcntl(r, F_GETLEASE));
	CALL("directory", fcntl(d, F_SETLEASE, F_RDLCK));
	CALL("bad kind", fcntl(r, F_SETLEASE, 7));
	CALL("nothing to give up", fcntl(r, F_SETLEASE, F_UNLCK));
	CALL("read", fcntl(r, F_SETLEASE, F_RDLCK));
	printf("held: %d\n", fcntl(r, F_GETLEASE));
	int r2 = open("f", O_RDONLY | O_NONBLOCK);
	printf("another reader: %d\n", r2 >= 0);
	CALL("another lease", fcntl(r2, F_SETLEASE, F_RDLCK));
	CALL("write lease", fcntl(r2, F_SETLEASE, F_WRLCK));
	CALL("give up", fcntl(r2, F_SETLEASE, F_UNLCK));
	close(r2);
	breaking("writer", r, O_WRONLY, F_UNLCK);
	CALL("read", fcntl(r, F_SETLEASE, F_RDLCK));
	fcntl(r, F_SETSIG, SIGRTMIN);
	breaking("writer that doesn't wait", r, O_WRONLY | O_NONBLOCK, F_UNLCK);
	CALL("write lease", fcntl(r, F_SETLEASE, F_WRLCK));
	breaking("reader", r, O_RDONLY, F_RDLCK);
	fcntl(r, F_SETLEASE, F_UNLCK);
	CALL("write lease", fcntl(r, F_SETLEASE, F_WRLCK));
	breaking("truncater", r, O_WRONLY | O_TRUNC, F_UNLCK);
	int w = open("f", O_RDWR);
	CALL("read while open for writing", fcntl(r, F_SETLEASE, F_RDLCK));
	CALL("write lease with another", fcntl(w, F_SETLEASE, F_WRLCK));
	close(r);
	CALL("write lease alone", fcntl(w, F_SETLEASE, F_WRLCK));
	if (fork() == 0) {
		signal(SIGIO, SIG_IGN);
		close(w);
		_exit(truncate("f", 10) ? errno : 100);
	}
	for (int i = 0; i < 300 && !signo; i++)
		usleep(1000);
	told("truncate", w);
	close(w);
	wait(&status);
	printf("truncated: %d\n", WEXITSTATUS(status));
	if (fork() == 0) {
		setuid(1000);
		int o = open("f", O_RDONLY);
		CALL("not the owner", fcntl(o, F_SETLEASE, F_RDLCK));
		fflush(stdout);
		_exit(0);
	}
	fflush(stdout);
	wait(0);
	/* O_ASYNC */
	pipe(p);
	fcntl(p[0], F_SETOWN, getpid());
	fcntl(p[0], F_SETFL, O_ASYNC);
	printf("flags %x\n", fcntl(p[0], F_GETFL));
	write(p[1], "x", 1);
	told("pipe", p[0]);
	read(p[0], &c, 1);
	told("read", p[0]);
	fcntl(p[0], F_SETFL, 0);
	write(p[1], "x", 1);
	told("off", p[0]);
	socketpair(AF_UNIX, SOCK_STREAM, 0, sv);
	fcntl(sv[0], F_SETOWN, getpid());
	fcntl(sv[0], F_SETSIG, SIGRTMIN);
	fcntl(sv[0], F_SETFL, O_ASYNC | O_NONBLOCK);
	write(sv[1], "x", 1);
	told("socket", sv[0]);
	close(sv[0]);
	int f = open("f", O_RDWR);
	fcntl(f, F_SETFL, O_ASYNC);
	printf("regular file %x\n", fcntl(f, F_GETFL) & O_ASYNC);
	close(f);
	/* ETXTBSY */
	fflush(stdout);
	sprintf(name, "cp /bin/sleep busy && chmod 755 busy");
	system(name);
	pid_t pid = fork();
	if (pid == 0) {
		execl("./busy", "busy", "100", NULL);
		_exit(1);
	}
	usleep(200000);
	CALL("write a running program", open("busy", O_WRONLY));
	CALL("create over it", open("busy", O_RDWR | O_CREAT, 0600));
	CALL("truncate it", open("busy", O_RDONLY | O_TRUNC));
	CALL("truncate it", truncate("busy", 0));
	printf("read it: %d\n", open("busy", O_RDONLY) >= 0);
	CALL("unlink it", rename("busy", "other"));
	CALL("under another name", open("other", O_WRONLY));
	kill(pid, SIGKILL);
	wait(0);
	w = open("other", O_WRONLY);
	printf("it has ended: %d\n", w >= 0);
	CALL("run what is written", execl("./other", "other", "0", NULL));
	close(w);
	fflush(stdout);
	if (fork() == 0) {
		execl("./other", "other", "0", NULL);
		_exit(1);
	}
	wait(&status);
	printf("run: %d\n", WEXITSTATUS(status));
	w = open("script", O_WRONLY | O_CREAT, 0755);
	write(w, "#!/bin/true\n", 12);
	CALL("script that is written", execl("./script", "script", NULL));
	return 0;
}
