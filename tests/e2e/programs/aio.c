/* io_setup(2) and its family. argv[1]: a directory to work in. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CALL(what, call) do { errno = 0; long r_ = (long)(call); printf("%s: %ld %s\n", what, r_, \
	r_ == -1 ? strerrorname_np(errno) : "ok"); } while (0)
#define setup(n, c) syscall(SYS_io_setup, n, c)
#define destroy(c) syscall(SYS_io_destroy, c)
#define submit(c, n, p) syscall(SYS_io_submit, c, n, p)
#define getevents(c, least, most, e, t) syscall(SYS_io_getevents, c, least, most, e, t)

static struct iocb io[8], *list[8];
static struct io_event ev[8];

static void prepare(int i, int op, int fd, void *buf, size_t n, long offset)
{
	memset(&io[i], 0, sizeof io[i]);
	io[i].aio_data = 100 + i;
	io[i].aio_lio_opcode = op;
	io[i].aio_fildes = fd;
	io[i].aio_buf = (uintptr_t)buf;
	io[i].aio_nbytes = n;
	io[i].aio_offset = offset;
	list[i] = &io[i];
}

static void reap(const char *what, aio_context_t c, int least, int most)
{
	struct timespec t = {1, 0};
	int n = getevents(c, least, most, ev, &t);
	printf("%s: %d", what, n);
	for (int i = 0; i < n; i++)
		printf(" (%d, %d, %d, %d)", (int)ev[i].data, (int)((struct iocb *)ev[i].obj - io), (int)ev[i].res, (int)ev[i].res2);
	printf("\n");
}

static void nothing(int s) {}

int main(int argc, char **argv)
{
	aio_context_t c = 0, bad = 77;
	char a[4096], b[4096], out[8192] = "";
	struct timespec none = {0, 0}, soon = {0, 30000000};
	int p[2];
	uint64_t count;
	chdir(argv[1]);
	setvbuf(stdout, 0, _IOFBF, 1 << 16);
	CALL("no events", setup(0, &c));
	CALL("not zero", setup(8, &bad));
	CALL("bad address", setup(8, (void *)8));
	CALL("too many", setup(1 << 30, &c));
	CALL("setup", setup(8, &c));
	CALL("bad context", submit(bad, 1, list));
	CALL("bad context", getevents(bad, 0, 1, ev, &none));
	CALL("negative", submit(c, -1L, list));
	CALL("none", submit(c, 0, list));
	CALL("bad list", submit(c, 1, (void *)8));
	list[0] = (void *)8;
	CALL("bad iocb", submit(c, 1, list));
	int fd = open("f", O_RDWR | O_CREAT, 0600), ro = open("f", O_RDONLY), dir = open(".", O_RDONLY);
	memset(a, 'a', sizeof a);
	memset(b, 'b', sizeof b);
	prepare(0, IOCB_CMD_PWRITE, fd, a, sizeof a, 0);
	prepare(1, IOCB_CMD_PWRITE, fd, b, sizeof b, 4096);
	CALL("write", submit(c, 2, list));
	reap("written", c, 2, 8);
	prepare(0, IOCB_CMD_PREAD, fd, out, 8192, 100);
	struct iovec v[2] = {{a, 10}, {b, 20}};
	prepare(1, IOCB_CMD_PREADV, fd, v, 2, 4090);
	prepare(2, IOCB_CMD_FSYNC, fd, 0, 0, 0);
	prepare(3, IOCB_CMD_FDSYNC, fd, 0, 0, 0);
	CALL("read", submit(c, 2, list));
	reap("one", c, 1, 1);
	reap("the other", c, 1, 8);
	CALL("synchronise", submit(c, 1, list + 2));
	reap("done", c, 1, 8);
	CALL("the data", submit(c, 1, list + 3));
	reap("done", c, 1, 8);
	printf("%c%c %c%c\n", out[0], out[8091], a[9], b[0]);
	printf("position %ld\n", (long)lseek(fd, 0, SEEK_CUR));
	prepare(0, IOCB_CMD_PREAD, fd, out, 10, 100000);
	CALL("beyond the end", submit(c, 1, list));
	reap("nothing", c, 1, 8);
	prepare(0, IOCB_CMD_PWRITE, ro, out, 10, 0);
	CALL("read only", submit(c, 1, list));
	prepare(0, IOCB_CMD_PREAD, 99, out, 10, 0);
	CALL("no file", submit(c, 1, list));
	prepare(0, IOCB_CMD_PREAD, dir, out, 10, 0);
	CALL("directory", submit(c, 1, list));
	prepare(0, IOCB_CMD_PREAD, fd, out, 10, -5);
	CALL("negative offset", submit(c, 1, list));
	reap("event", c, 0, 8);
	prepare(0, IOCB_CMD_PREAD, fd, (void *)8, 10, 0);
	CALL("bad buffer", submit(c, 1, list));
	reap("event", c, 0, 8);
	prepare(0, IOCB_CMD_PREAD, fd, out, -1, 0);
	CALL("bad size", submit(c, 1, list));
	prepare(0, 6, fd, out, 1, 0);
	CALL("no-op", submit(c, 1, list));
	prepare(0, 99, fd, out, 1, 0);
	CALL("bad operation", submit(c, 1, list));
	prepare(0, IOCB_CMD_PREAD, fd, out, 10, 0);
	io[0].aio_reserved2 = 1;
	CALL("reserved", submit(c, 1, list));
	prepare(0, IOCB_CMD_PREAD, fd, out, 10, 0);
	io[0].aio_rw_flags = 0x1000;
	CALL("bad flags", submit(c, 1, list));
	prepare(0, IOCB_CMD_PREAD, fd, out, 10, 0);
	prepare(1, IOCB_CMD_PREAD, 99, out, 10, 0);
	prepare(2, IOCB_CMD_PREAD, fd, out, 10, 0);
	CALL("the second is bad", submit(c, 3, list));
	reap("the first", c, 0, 8);
	int e = eventfd(0, EFD_NONBLOCK);
	for (int i = 0; i < 3; i++) {
		prepare(i, IOCB_CMD_PREAD, fd, out, 10, 0);
		io[i].aio_flags = IOCB_FLAG_RESFD;
		io[i].aio_resfd = e;
	}
	io[2].aio_resfd = fd;
	CALL("eventfd", submit(c, 3, list));
	read(e, &count, 8);
	printf("counted %d\n", (int)count);
	reap("events", c, 2, 8);
	CALL("bad numbers", getevents(c, 2, 1, ev, &none));
	CALL("bad numbers", getevents(c, -1L, 1, ev, &none));
	CALL("bad time address", getevents(c, 1, 1, ev, (void *)8));
	CALL("nothing yet", getevents(c, 1, 1, ev, &none));
	CALL("nothing in time", getevents(c, 1, 1, ev, &soon));
	prepare(0, IOCB_CMD_PREAD, fd, out, 10, 0);
	submit(c, 1, list);
	CALL("bad events", getevents(c, 1, 1, (void *)8, &none));
	reap("still there", c, 0, 8);
	/* Polls. */
	pipe(p);
	prepare(0, IOCB_CMD_POLL, p[0], (void *)POLLIN, 0, 0);
	io[0].aio_flags = IOCB_FLAG_RESFD;
	io[0].aio_resfd = e;
	CALL("poll", submit(c, 1, list));
	reap("not ready", c, 0, 8);
	write(p[1], "x", 1);
	reap("ready", c, 1, 8);
	CALL("counted", read(e, &count, 8));
	CALL("ready at once", submit(c, 1, list));
	reap("ready", c, 1, 8);
	read(p[0], out, 1);
	read(e, &count, 8);
	prepare(0, IOCB_CMD_POLL, p[0], (void *)POLLIN, 0, 0);
	CALL("poll", submit(c, 1, list));
	CALL("cancel another", syscall(SYS_io_cancel, c, &io[1], ev));
	CALL("cancel", syscall(SYS_io_cancel, c, &io[0], ev));
	reap("cancelled", c, 1, 8);
	CALL("cancel again", syscall(SYS_io_cancel, c, &io[0], ev));
	struct sigaction sa = {.sa_handler = nothing, .sa_flags = SA_RESTART};
	sigaction(SIGALRM, &sa, 0);
	struct itimerval tv = {{0, 0}, {0, 30000}};
	setitimer(ITIMER_REAL, &tv, 0);
	CALL("interrupted", getevents(c, 1, 1, ev, 0));
	sigset_t none_blocked, block;
	sigemptyset(&none_blocked);
	sigemptyset(&block);
	sigaddset(&block, SIGALRM);
	sigprocmask(SIG_BLOCK, &block, 0);
	raise(SIGALRM);
	struct { const sigset_t *set; size_t size; } ss = {&none_blocked, 8};
	CALL("pgetevents", syscall(SYS_io_pgetevents, c, 1, 1, ev, 0, &ss));
	ss.size = 4;
	CALL("bad set size", syscall(SYS_io_pgetevents, c, 1, 1, ev, 0, &ss));
	fflush(stdout);
	if (fork() == 0) {
		CALL("not the child's", submit(c, 0, list));
		fflush(stdout);
		_exit(0);
	}
	wait(0);
	CALL("destroy", destroy(c));
	CALL("destroy again", destroy(c));
	CALL("use it", submit(c, 1, list));
	return 0;
}
