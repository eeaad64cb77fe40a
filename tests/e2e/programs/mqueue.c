/* POSIX message queues. Run in an IPC namespace of its own, with /dev/mqueue-like mount at argv[1] if given. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CALL(what, call) do { errno = 0; long r_ = (long)(call); printf("%s: %ld %s\n", what, r_, \
	r_ == -1 ? strerrorname_np(errno) : "ok"); } while (0)
#define DONE(what, call) do { errno = 0; long r_ = (long)(call); printf("%s: %s\n", what, \
	r_ == -1 ? strerrorname_np(errno) : "ok"); } while (0)

static sem_t told;
static volatile int got, code, value;

static void handler(int s, siginfo_t *i, void *c)
{
	got = s;
	code = i->si_code;
	value = i->si_value.sival_int;
}

static void thread_notified(union sigval v)
{
	value = v.sival_int;
	sem_post(&told);
}

static void attr(const char *what, mqd_t q)
{
	struct mq_attr a;
	if (mq_getattr(q, &a)) {
		printf("%s: %s\n", what, strerrorname_np(errno));
		return;
	}
	printf("%s: flags %lx maxmsg %ld msgsize %ld curmsgs %ld\n", what, a.mq_flags, a.mq_maxmsg, a.mq_msgsize, a.mq_curmsgs);
}

static int events(mqd_t q)
{
	struct pollfd p = {q, POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM, 0};
	int n = poll(&p, 1, 0);
	return n < 0 ? -errno : p.revents;
}

static void receive(const char *what, mqd_t q)
{
	char buf[9000];
	unsigned prio = 77;
	errno = 0;
	long n = mq_receive(q, buf, sizeof buf, &prio);
	printf("%s: %ld %s prio %u %.*s\n", what, n, n < 0 ? strerrorname_np(errno) : "ok", prio, n > 0 ? (int)n : 0, buf);
}

static void cat(const char *name)
{
	char buf[300];
	int fd = open(name, O_RDONLY);
	int n = read(fd, buf, sizeof buf - 1);
	buf[n > 0 ? n : 0] = 0;
	char *pid = strstr(buf, "NOTIFY_PID:");
	if (pid)
		strcpy(pid, pid[11] == '0' ? "NOBODY\n" : "SOMEBODY\n");
	printf("%s", buf);
	if (fd < 0)
		printf("%s: %s\n", name, strerrorname_np(errno));
	close(fd);
}

int main(int argc, char **argv)
{
	struct mq_attr a = {0, 3, 16}, got_attr;
	struct timespec past = {1, 0}, bad = {0, 2000000000};
	char buf[20], long_name[300];
	struct stat st;
	pid_t pid;
	int status;
	setvbuf(stdout, 0, _IOFBF, 1 << 20);
	/* Some machines run without CAP_SYS_RESOURCE, which lifts the limits: run without it everywhere. */
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct caps[2];
	syscall(SYS_capget, &head, caps);
	caps[0].effective &= ~(1 << CAP_SYS_RESOURCE);
	caps[0].permitted &= ~(1 << CAP_SYS_RESOURCE);
	syscall(SYS_capset, &head, caps);
	CALL("none", mq_open("/q", O_RDWR));
	CALL("no slash", mq_open("q", O_RDWR | O_CREAT, 0600, 0));
	CALL("slashes", mq_open("/q/r", O_RDWR | O_CREAT, 0600, 0));
	CALL("dot", mq_open("/.", O_RDWR | O_CREAT, 0600, 0));
	CALL("empty", mq_open("/", O_RDWR | O_CREAT, 0600, 0));
	memset(long_name, 'x', sizeof long_name);
	long_name[0] = '/';
	long_name[257] = 0;
	CALL("long name", mq_open(long_name, O_RDWR | O_CREAT, 0600, 0));
	CALL("no messages", mq_open("/q", O_RDWR | O_CREAT, 0600, &(struct mq_attr){0, 0, 10}));
	CALL("negative size", mq_open("/q", O_RDWR | O_CREAT, 0600, &(struct mq_attr){0, 1, -10}));
	CALL("too many messages", mq_open("/q", O_RDWR | O_CREAT, 0600, &(struct mq_attr){0, 65537, 10}));
	CALL("too large messages", mq_open("/q", O_RDWR | O_CREAT, 0600, &(struct mq_attr){0, 1, (16 << 20) + 1}));
	CALL("too many bytes", mq_open("/q", O_RDWR | O_CREAT, 0600, &(struct mq_attr){0, 1000, 10000}));
	CALL("bad attr", syscall(SYS_mq_open, "q", O_RDWR | O_CREAT, 0600, (void *)8));
	mqd_t q = mq_open("/q", O_RDWR | O_CREAT, 0640, &a);
	DONE("create", q);
	printf("cloexec %d flags %x\n", fcntl(q, F_GETFD), fcntl(q, F_GETFL) & 0xfff);
	CALL("exclusive", mq_open("/q", O_RDWR | O_CREAT | O_EXCL, 0600, 0));
	CALL("bad mode", mq_open("/q", 3));
	attr("new", q);
	mqd_t d = mq_open("/default", O_RDWR | O_CREAT, 0600, 0);
	attr("default", d);
	fstat(q, &st);
	printf("mode %o size %ld nlink %ld\n", st.st_mode, (long)st.st_size, (long)st.st_nlink);
	printf("events %x\n", events(q));
	CALL("send", mq_send(q, "one", 3, 1));
	CALL("send", mq_send(q, "five", 4, 5));
	CALL("too long", mq_send(q, "0123456789abcdefg", 17, 0));
	CALL("bad priority", mq_send(q, "x", 1, 32768));
	CALL("highest", mq_send(q, "x", 1, 32767));
	printf("events %x\n", events(q));
	CALL("timed out", mq_timedsend(q, "x", 1, 0, &past));
	CALL("bad time", mq_timedsend(q, "x", 1, 0, &bad));
	CALL("bad time address", syscall(SYS_mq_timedsend, q, "x", 1, 0, (void *)8));
	CALL("bad address", mq_send(q, (void *)8, 3, 1));
	cat("/proc/self/fd/3");
	CALL("small buffer", mq_receive(q, buf, 15, 0));
	receive("first", q);
	CALL("send", mq_send(q, "eins", 4, 1));
	receive("then", q);
	receive("then", q);
	receive("last", q);
	CALL("nothing in time", mq_timedreceive(q, buf, 20, 0, &past));
	got_attr.mq_flags = O_NONBLOCK;
	CALL("nonblocking", mq_setattr(q, &got_attr, &a));
	attr("now", q);
	receive("empty", q);
	got_attr.mq_flags = 1;
	CALL("bad flags", mq_setattr(q, &got_attr, 0));
	got_attr.mq_flags = 0;
	mq_setattr(q, &got_attr, 0);
	CALL("not a queue", mq_send(1, "x", 1, 0));
	CALL("no descriptor", mq_send(99, "x", 1, 0));
	mqd_t ro = mq_open("/q", O_RDONLY), wo = mq_open("/q", O_WRONLY | O_NONBLOCK);
	CALL("read only", mq_send(ro, "x", 1, 0));
	CALL("write only", mq_receive(wo, buf, 20, 0));
	CALL("write", write(wo, "x", 1));
	CALL("read", read(wo, buf, 1));
	fflush(stdout);
	if ((pid = fork()) == 0) {
		receive("waited", q);
		fflush(stdout);
		_exit(0);
	}
	usleep(50000);
	mq_send(wo, "hello", 5, 9);
	waitpid(pid, 0, 0);
	for (int i = 0; i < 3; i++)
		mq_send(q, "full", 4, i);
	CALL("full", mq_send(wo, "x", 1, 0));
	if ((pid = fork()) == 0) {
		mq_send(q, "late", 4, 31);
		_exit(0);
	}
	usleep(50000);
	receive("makes room", q);
	waitpid(pid, 0, 0);
	receive("the late one", q);
	receive("then", q);
	receive("then", q);
	/* Notification. */
	struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
	sigaction(SIGUSR1, &sa, 0);
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 42};
	CALL("notify", mq_notify(q, &ev));
	CALL("notify twice", mq_notify(q, &ev));
	cat("/proc/self/fd/3");
	mq_send(q, "a", 1, 0);
	printf("got %d code %d value %d\n", got == SIGUSR1, code, value);
	got = 0;
	CALL("notify again", mq_notify(q, &ev));
	mq_send(q, "b", 1, 0);
	printf("not empty: %d\n", got);
	receive("read", q);
	receive("read", q);
	mq_send(q, "c", 1, 0);
	printf("now: %d\n", got == SIGUSR1);
	receive("read", q);
	CALL("notify", mq_notify(q, &ev));
	CALL("take back", mq_notify(q, 0));
	CALL("take back nothing", mq_notify(q, 0));
	ev.sigev_notify = 99;
	CALL("bad notify", mq_notify(q, &ev));
	ev.sigev_notify = SIGEV_SIGNAL;
	ev.sigev_signo = 65;
	CALL("bad signal", mq_notify(q, &ev));
	ev.sigev_signo = SIGUSR1;
	CALL("bad queue", mq_notify(1, &ev));
	CALL("bad address", syscall(SYS_mq_notify, q, (void *)8));
	if ((pid = fork()) == 0) {
		CALL("child registers", mq_notify(q, &ev));
		mq_close(q);
		fflush(stdout);
		_exit(0);
	}
	fflush(stdout);
	waitpid(pid, 0, 0);
	ev.sigev_notify = SIGEV_NONE;
	CALL("free again", mq_notify(q, &ev));
	CALL("take back", mq_notify(q, 0));
	sem_init(&told, 0, 0);
	struct sigevent te = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = thread_notified, .sigev_value.sival_int = 7};
	CALL("by thread", mq_notify(q, &te));
	mq_send(q, "d", 1, 0);
	sem_wait(&told);
	printf("thread got %d\n", value);
	receive("read", q);
	/* epoll */
	int e = epoll_create1(0);
	struct epoll_event ee = {EPOLLIN, {.u32 = 5}}, out;
	CALL("epoll", epoll_ctl(e, EPOLL_CTL_ADD, q, &ee));
	CALL("nothing", epoll_wait(e, &out, 1, 0));
	mq_send(q, "e", 1, 0);
	CALL("something", epoll_wait(e, &out, 1, 100));
	/* Names and limits. */
	CALL("unlink", mq_unlink("/q"));
	CALL("unlink again", mq_unlink("/q"));
	CALL("open it", mq_open("/q", O_RDWR));
	receive("lives on", q);
	cat("/proc/sys/fs/mqueue/msg_max");
	cat("/proc/sys/fs/mqueue/msgsize_max");
	cat("/proc/sys/fs/mqueue/queues_max");
	struct rlimit rl = {1000, 1000};
	fflush(stdout);
	if (fork() == 0) {
		setuid(1000);
		CALL("no right", mq_open("/default", O_RDWR));
		CALL("not mine", mq_unlink("/default"));
		CALL("too many", mq_open("/mine", O_RDWR | O_CREAT, 0600, &(struct mq_attr){0, 11, 10}));
		CALL("too large", mq_open("/mine", O_RDWR | O_CREAT, 0600, &(struct mq_attr){0, 1, 8193}));
		setrlimit(RLIMIT_MSGQUEUE, &rl);
		CALL("beyond the limit", mq_open("/mine", O_RDWR | O_CREAT, 0600, &(struct mq_attr){0, 1, 1000}));
		DONE("within", mq_open("/mine", O_RDWR | O_CREAT, 0622, &(struct mq_attr){0, 1, 700}));
		CALL("used up", mq_open("/more", O_RDWR | O_CREAT, 0600, &(struct mq_attr){0, 1, 700}));
		CALL("unlink", mq_unlink("/mine"));
		CALL("still open", mq_open("/more", O_RDWR | O_CREAT, 0600, &(struct mq_attr){0, 1, 700}));
		fflush(stdout);
		_exit(0);
	}
	wait(0);
	if (argc > 1) {
		char name[200];
		CALL("mount", mount("none", argv[1], "mqueue", 0, 0));
		stat(argv[1], &st);
		printf("mode %o size %ld nlink %ld\n", st.st_mode, (long)st.st_size, (long)st.st_nlink);
		sprintf(name, "%s/default", argv[1]);
		cat(name);
		sprintf(name, "%s/made", argv[1]);
		int fd = open(name, O_RDWR | O_CREAT, 0600);
		DONE("by open", fd);
		attr("made", fd);
		CALL("send to it", mq_send(fd, "abc", 3, 2));
		CALL("read only directory", mkdir(strcat(name, "x"), 0700));
		sprintf(name, "%s/made", argv[1]);
		cat(name);
		CALL("unlink", unlink(name));
		CALL("gone", mq_open("/made", O_RDWR));
		close(fd);
		CALL("umount", umount(argv[1]));
	}
	mq_unlink("/default");
	return 0;
}
