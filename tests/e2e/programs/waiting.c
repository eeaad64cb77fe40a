/* Pipes, poll, select, epoll, eventfd, timerfd, signalfd: readiness and its edges. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The result of a call, and what errno is behind it. */
#define REPORT(format, call) do { errno = 0; int r_ = (int)(call); printf(format, r_, errno); } while (0)

static int events(int fd, int want)
{
	struct pollfd p = {fd, want, 0};
	int n = poll(&p, 1, 0);
	return n < 0 ? -errno : p.revents;
}

static void look(int e, const char *what)
{
	struct epoll_event v[8];
	int n = epoll_wait(e, v, 8, 30);
	printf("%s: %d", what, n);
	for (int i = 0; i < n; i++)
		printf(" %u/%x", v[i].data.u32, v[i].events);
	printf("\n");
}

int main(void)
{
	int p[2], n;
	char buf[70000];
	uint64_t word;
	if (pipe(p))
		return 1;
	signal(SIGPIPE, SIG_IGN);
	printf("new pipe %x %x\n", events(p[0], POLLIN | POLLOUT), events(p[1], POLLIN | POLLOUT));
	printf("write %zd", write(p[1], "hello", 5));
	ioctl(p[0], FIONREAD, &n);
	printf(" waiting %d, %x\n", n, events(p[0], POLLIN));
	fcntl(p[1], F_SETFL, O_NONBLOCK);
	memset(buf, 'x', sizeof buf);
	printf("fill %zd", write(p[1], buf, sizeof buf));
	printf(" then %zd %d, %x\n", write(p[1], buf, 5000), errno, events(p[1], POLLOUT));
	printf("read %zd\n", read(p[0], buf, 4096));
	printf("size %d", fcntl(p[1], F_GETPIPE_SZ));
	printf(" set %d\n", fcntl(p[1], F_SETPIPE_SZ, 131072));
	REPORT("lseek %d %d\n", lseek(p[0], 0, SEEK_SET));
	while (read(p[0], buf, sizeof buf) == sizeof buf)
		;
	close(p[1]);
	printf("hung up %x read %zd\n", events(p[0], POLLIN), read(p[0], buf, 10));
	pipe(p);
	close(p[0]);
	printf("no reader %x", events(p[1], POLLOUT));
	REPORT(" write %d %d\n", write(p[1], "x", 1));
	printf("bad fd %x\n", events(999, POLLIN));

	/* epoll: level, edge, one shot, nested, closing. */
	int e = epoll_create1(0), outer = epoll_create1(0);
	pipe(p);
	struct epoll_event v = {EPOLLIN, {.u32 = 1}};
	printf("add %d\n", epoll_ctl(e, EPOLL_CTL_ADD, p[0], &v));
	REPORT("twice %d %d\n", epoll_ctl(e, EPOLL_CTL_ADD, p[0], &v));
	look(e, "nothing");
	write(p[1], "ab", 2);
	look(e, "level");
	look(e, "level again");
	v.events = EPOLLIN | EPOLLET;
	epoll_ctl(e, EPOLL_CTL_MOD, p[0], &v);
	look(e, "edge");
	look(e, "edge again");
	write(p[1], "c", 1);
	look(e, "edge after more");
	v.events = EPOLLIN | EPOLLONESHOT;
	epoll_ctl(e, EPOLL_CTL_MOD, p[0], &v);
	look(e, "one shot");
	look(e, "spent");
	epoll_ctl(e, EPOLL_CTL_MOD, p[0], &v);
	v.data.u32 = 2;
	v.events = EPOLLIN;
	epoll_ctl(outer, EPOLL_CTL_ADD, e, &v);
	look(outer, "nested");
	REPORT("loop %d %d\n", epoll_ctl(e, EPOLL_CTL_ADD, outer, &v));
	REPORT("self %d %d\n", epoll_ctl(e, EPOLL_CTL_ADD, e, &v));
	close(p[0]);
	look(e, "closed");
	REPORT("del closed %d %d\n", epoll_ctl(e, EPOLL_CTL_DEL, p[0], 0));

	/* eventfd, timerfd, signalfd. */
	int ev = eventfd(0, EFD_NONBLOCK | EFD_SEMAPHORE);
	REPORT("eventfd %d %d", read(ev, &word, 8));
	word = 3;
	write(ev, &word, 8);
	word = 0;
	read(ev, &word, 8);
	printf(" %lu %x\n", word, events(ev, POLLIN | POLLOUT));
	word = -2ul;
	REPORT("overflow %d %d\n", write(ev, &word, 8));
	int t = timerfd_create(CLOCK_MONOTONIC, 0);
	struct itimerspec its = {{0, 10000000}, {0, 10000000}};
	timerfd_settime(t, 0, &its, 0);
	usleep(55000);
	read(t, &word, 8);
	printf("ticks %d\n", word >= 4 && word <= 7);
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	sigprocmask(SIG_BLOCK, &s, 0);
	int sfd = signalfd(-1, &s, 0);
	printf("signalfd %x", events(sfd, POLLIN));
	kill(getpid(), SIGUSR1);
	struct signalfd_siginfo si;
	printf(" %x %zd", events(sfd, POLLIN), read(sfd, &si, sizeof si));
	printf(" %u %d\n", si.ssi_signo, si.ssi_pid == (unsigned)getpid());

	/* A sleeper is woken by a child; time-outs are kept. */
	pipe(p);
	if (!fork()) {
		usleep(30000);
		write(p[1], "x", 1);
		_exit(0);
	}
	struct pollfd pf = {p[0], POLLIN, 0};
	printf("woken %d", poll(&pf, 1, 5000));
	printf(" %x\n", pf.revents);
	wait(0);
	struct timespec before, after, brief = {0, 30000000};
	clock_gettime(CLOCK_MONOTONIC, &before);
	fd_set set;
	FD_ZERO(&set);
	FD_SET(p[1], &set);
	printf("select out %d\n", select(p[1] + 1, 0, &set, 0, 0));
	FD_ZERO(&set);
	printf("pselect %d\n", pselect(0, 0, 0, 0, &brief, 0));
	clock_gettime(CLOCK_MONOTONIC, &after);
	long ms = (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
	printf("slept %d\n", ms >= 29 && ms < 500);

	/* FIFOs meet. */
	char name[] = "/tmp/fifo-XXXXXX";
	close(mkstemp(name));
	unlink(name);
	mkfifo(name, 0600);
	REPORT("no reader yet %d %d\n", open(name, O_WRONLY | O_NONBLOCK));
	if (!fork()) {
		int w = open(name, O_WRONLY);
		write(w, "through", 7);
		_exit(0);
	}
	int r = open(name, O_RDONLY);
	memset(buf, 0, 10);
	n = read(r, buf, 10);
	printf("fifo %d %s, end %zd\n", n, buf, read(r, buf, 10));
	wait(0);
	unlink(name);
	return 0;
}
