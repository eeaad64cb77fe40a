/* Every pointer argument of many system calls, one after the other replaced by addresses that are no good.
   Prints the error of each; the calls that succeed print "ok". */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

static char *rw, *ro, *none, *edge;
static char path[] = "/etc/passwd", nowhere[] = "/nowhere/x", name[] = "user.x";
static int file, null, pipes[2], epoll, event, timer, dir;

/* How an argument is given: a plain value, or a place that a bad address can replace. */
enum kind { V, P, Q };
struct arg { enum kind kind; long value; };
#define v(x) {V, (long)(x)}
#define p(x) {P, (long)(x)}
#define q(x) {Q, (long)(x)} /* a place where NULL means something else, such as no time-out */

struct call { int nr; const char *name; struct arg args[6]; };

static void setup(void)
{
	rw = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ro = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	none = mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *two = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(two + 4096, 4096);
	edge = two + 4096 - 2;
	file = open(path, O_RDONLY);
	null = open("/dev/null", O_RDWR);
	dir = open("/etc", O_RDONLY | O_DIRECTORY);
	if (pipe2(pipes, O_NONBLOCK))
		exit(9);
	epoll = epoll_create1(0);
	event = eventfd(5, EFD_NONBLOCK);
	timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
}

int main(void)
{
	setup();
	setvbuf(stdout, 0, _IOLBF, 0);
	alarm(30);
	struct call calls[] = {
		{SYS_read, "read", {v(file), p(rw), v(100)}},
		{SYS_read, "read-0", {v(file), p(rw), v(0)}},
		{SYS_read, "read-bad-fd", {v(-1), p(rw), v(100)}},
		{SYS_read, "read-eventfd", {v(event), p(rw), v(8)}},
		{SYS_read, "read-pipe", {v(pipes[0]), p(rw), v(8)}},
		{SYS_write, "write-null", {v(null), p(rw), v(100)}},
		{SYS_write, "write-pipe", {v(pipes[1]), p(rw), v(100)}},
		{SYS_write, "write-eventfd", {v(event), p(rw), v(8)}},
		{SYS_pread64, "pread64", {v(file), p(rw), v(100), v(0)}},
		{SYS_pwrite64, "pwrite64", {v(file), p(rw), v(100), v(0)}},
		{SYS_readv, "readv", {v(file), p(rw), v(2)}},
		{SYS_writev, "writev", {v(pipes[1]), p(rw), v(2)}},
		{SYS_preadv, "preadv", {v(file), p(rw), v(2), v(0), v(0)}},
		{SYS_open, "open", {p(path), v(O_RDONLY), v(0)}},
		{SYS_openat, "openat", {v(AT_FDCWD), p(path), v(O_RDONLY), v(0)}},
		{SYS_openat, "openat-bad-fd", {v(-5), p(path), v(O_RDONLY), v(0)}},
		{SYS_openat2, "openat2", {v(AT_FDCWD), p(path), p(rw), v(24)}},
		{SYS_creat, "creat", {p(nowhere), v(0644)}},
		{SYS_stat, "stat", {p(path), p(rw)}},
		{SYS_lstat, "lstat", {p(path), p(rw)}},
		{SYS_fstat, "fstat", {v(file), p(rw)}},
		{SYS_newfstatat, "newfstatat", {v(AT_FDCWD), p(path), p(rw), v(0)}},
		{SYS_newfstatat, "newfstatat-empty", {v(file), p(""), p(rw), v(AT_EMPTY_PATH)}},
		{SYS_statx, "statx", {v(AT_FDCWD), p(path), v(0), v(0x7ff), p(rw)}},
		{SYS_statfs, "statfs", {p(path), p(rw)}},
		{SYS_fstatfs, "fstatfs", {v(file), p(rw)}},
		{SYS_access, "access", {p(path), v(R_OK)}},
		{SYS_faccessat, "faccessat", {v(AT_FDCWD), p(path), v(R_OK)}},
		{SYS_readlink, "readlink", {p("/proc/self/exe"), p(rw), v(100)}},
		{SYS_readlinkat, "readlinkat", {v(AT_FDCWD), p("/proc/self/exe"), p(rw), v(100)}},
		{SYS_getcwd, "getcwd", {p(rw), v(4096)}},
		{SYS_getcwd, "getcwd-small", {p(rw), v(1)}},
		{SYS_chdir, "chdir", {p("/")}},
		{SYS_mkdir, "mkdir", {p(nowhere), v(0755)}},
		{SYS_mkdirat, "mkdirat", {v(AT_FDCWD), p(nowhere), v(0755)}},
		{SYS_rmdir, "rmdir", {p(nowhere)}},
		{SYS_unlink, "unlink", {p(nowhere)}},
		{SYS_unlinkat, "unlinkat", {v(AT_FDCWD), p(nowhere), v(0)}},
		{SYS_rename, "rename", {p(nowhere), p(nowhere)}},
		{SYS_renameat2, "renameat2", {v(AT_FDCWD), p(nowhere), v(AT_FDCWD), p(nowhere), v(0)}},
		{SYS_link, "link", {p(nowhere), p(nowhere)}},
		{SYS_symlink, "symlink", {p(path), p(nowhere)}},
		{SYS_chmod, "chmod", {p(nowhere), v(0644)}},
		{SYS_chown, "chown", {p(nowhere), v(0), v(0)}},
		{SYS_fchownat, "fchownat", {v(AT_FDCWD), p(nowhere), v(0), v(0), v(0)}},
		{SYS_mknod, "mknod", {p(nowhere), v(S_IFIFO | 0600), v(0)}},
		{SYS_truncate, "truncate", {p(nowhere), v(0)}},
		{SYS_utimensat, "utimensat", {v(AT_FDCWD), p(nowhere), p(rw), v(0)}},
		{SYS_utime, "utime", {p(nowhere), p(rw)}},
		{SYS_utimes, "utimes", {p(nowhere), p(rw)}},
		{SYS_getdents64, "getdents64", {v(dir), p(rw), v(32768)}},
		{SYS_getdents64, "getdents64-file", {v(file), p(rw), v(32768)}},
		{SYS_getxattr, "getxattr", {p(path), p(name), p(rw), v(100)}},
		{SYS_setxattr, "setxattr", {p(nowhere), p(name), p(rw), v(10), v(0)}},
		{SYS_listxattr, "listxattr", {p(path), p(rw), v(100)}},
		{SYS_pipe, "pipe", {p(rw)}},
		{SYS_pipe2, "pipe2", {p(rw), v(O_CLOEXEC)}},
		{SYS_pipe2, "pipe2-flags", {p(rw), v(0x1)}},
		{SYS_poll, "poll", {p(rw), v(1), v(0)}},
		{SYS_poll, "poll-0", {p(rw), v(0), v(0)}},
		{SYS_ppoll, "ppoll", {p(rw), v(1), q(rw + 512), p(rw + 1024), v(8)}},
		{SYS_select, "select", {v(1), p(rw), p(rw + 64), p(rw + 128), q(rw + 512)}},
		{SYS_pselect6, "pselect6", {v(1), p(rw), p(rw + 64), p(rw + 128), q(rw + 512), v(0)}},
		{SYS_epoll_ctl, "epoll_ctl-add", {v(epoll), v(EPOLL_CTL_ADD), v(pipes[0]), p(rw)}},
		{SYS_epoll_ctl, "epoll_ctl-del", {v(epoll), v(EPOLL_CTL_DEL), v(pipes[0]), p(rw)}},
		{SYS_epoll_ctl, "epoll_ctl-file", {v(epoll), v(EPOLL_CTL_ADD), v(file), p(rw)}},
		{SYS_epoll_wait, "epoll_wait", {v(epoll), p(rw), v(10), v(0)}},
		{SYS_timerfd_settime, "timerfd_settime", {v(timer), v(0), p(rw), p(rw + 512)}},
		{SYS_timerfd_gettime, "timerfd_gettime", {v(timer), p(rw)}},
		{SYS_signalfd4, "signalfd4", {v(-1), p(rw), v(8), v(0)}},
		{SYS_clock_gettime, "clock_gettime", {v(1), p(rw)}},
		{SYS_clock_gettime, "clock_gettime-99", {v(99), p(rw)}},
		{SYS_clock_getres, "clock_getres", {v(1), p(rw)}},
		{SYS_clock_nanosleep, "clock_nanosleep", {v(1), v(0), p(rw + 8192), p(rw)}},
		{SYS_nanosleep, "nanosleep", {p(rw + 8192), p(rw)}},
		{SYS_gettimeofday, "gettimeofday", {p(rw), p(rw + 512)}},
		{SYS_time, "time", {p(rw)}},
		{SYS_times, "times", {p(rw)}},
		{SYS_getitimer, "getitimer", {v(1), p(rw)}},
		{SYS_setitimer, "setitimer", {v(1), p(rw + 8192), p(rw)}},
		{SYS_rt_sigaction, "rt_sigaction", {v(SIGUSR2), p(rw + 8192), p(rw), v(8)}},
		{SYS_rt_sigaction, "rt_sigaction-size", {v(SIGUSR2), p(rw + 8192), p(rw), v(9)}},
		{SYS_rt_sigaction, "rt_sigaction-kill", {v(SIGKILL), p(rw + 8192), p(rw), v(8)}},
		{SYS_rt_sigprocmask, "rt_sigprocmask", {v(SIG_SETMASK), p(rw + 8192), p(rw), v(8)}},
		{SYS_rt_sigpending, "rt_sigpending", {p(rw), v(8)}},
		{SYS_rt_sigtimedwait, "rt_sigtimedwait", {p(rw + 8192), p(rw), q(rw + 8192), v(8)}},
		{SYS_sigaltstack, "sigaltstack", {v(0), p(rw)}},
		{SYS_sigaltstack, "sigaltstack-set", {p(rw + 8192), v(0)}},
		{SYS_wait4, "wait4", {v(-1), p(rw), v(1), p(rw + 512)}},
		{SYS_waitid, "waitid", {v(0), v(0), p(rw), v(5), p(rw + 512)}},
		{SYS_getrlimit, "getrlimit", {v(7), p(rw)}},
		{SYS_setrlimit, "setrlimit", {v(99), p(rw)}},
		{SYS_prlimit64, "prlimit64", {v(0), v(4), p(rw + 8192), p(rw)}},
		{SYS_getrusage, "getrusage", {v(0), p(rw)}},
		{SYS_getrusage, "getrusage-9", {v(9), p(rw)}},
		{SYS_sysinfo, "sysinfo", {p(rw)}},
		{SYS_uname, "uname", {p(rw)}},
		{SYS_getrandom, "getrandom", {p(rw), v(100), v(0)}},
		{SYS_getrandom, "getrandom-flags", {p(rw), v(100), v(99)}},
		{SYS_getresuid, "getresuid", {p(rw), p(rw + 8), p(rw + 16)}},
		{SYS_getresgid, "getresgid", {p(rw), p(rw + 8), p(rw + 16)}},
		{SYS_getgroups, "getgroups", {v(0), p(rw)}},
		{SYS_setgroups, "setgroups", {v(99999), p(rw)}},
		{SYS_capget, "capget", {p(rw + 16384), p(rw)}},
		{SYS_capset, "capset", {p(rw + 16384), p(rw + 20000)}},
		{SYS_prctl, "prctl-get-name", {v(16), p(rw)}},
		{SYS_prctl, "prctl-set-name", {v(15), p(path)}},
		{SYS_prctl, "prctl-pdeathsig", {v(2), p(rw)}},
		{SYS_arch_prctl, "arch_prctl", {v(0x1003), p(rw)}},
		{SYS_sched_getaffinity, "sched_getaffinity", {v(0), v(128), p(rw)}},
		{SYS_sched_setaffinity, "sched_setaffinity", {v(0x7fffffff), v(128), p(rw)}},
		{SYS_sched_getparam, "sched_getparam", {v(0), p(rw)}},
		{SYS_sched_setscheduler, "sched_setscheduler", {v(0), v(0), p(rw + 8192)}},
		{SYS_sched_getattr, "sched_getattr", {v(0), p(rw), v(48), v(0)}},
		{SYS_sched_rr_get_interval, "sched_rr_get_interval", {v(0), p(rw)}},
		{SYS_getcpu, "getcpu", {p(rw), p(rw + 8), v(0)}},
		{SYS_futex, "futex-wake", {p(rw), v(1), v(1), v(0), v(0), v(0)}},
		{SYS_futex, "futex-wake-private", {p(rw), v(129), v(1), v(0), v(0), v(0)}},
		{SYS_futex, "futex-wait", {p(rw), v(128), v(5), q(rw + 8192), v(0), v(0)}},
		{SYS_futex, "futex-requeue", {p(rw), v(131), v(1), v(1), p(rw + 64), v(0)}},
		{SYS_futex, "futex-cmp-requeue", {p(rw), v(132), v(1), v(1), p(rw + 64), v(7)}},
		{SYS_mincore, "mincore", {v(rw), v(4096), p(rw + 64)}},
		{SYS_execve, "execve", {p(nowhere), p(rw + 8192), p(rw + 8192)}},
		{SYS_ioctl, "ioctl-fionread", {v(pipes[0]), v(0x541b), p(rw)}},
		{SYS_ioctl, "ioctl-tcgets", {v(null), v(0x5401), p(rw)}},
		{SYS_fcntl, "fcntl-getlk", {v(file), v(F_GETLK), p(rw + 24576)}},
		{SYS_sethostname, "sethostname", {p(rw), v(999)}},
		{SYS_memfd_create, "memfd_create", {p(path), v(0xff00)}},
		{SYS_sendfile, "sendfile", {v(null), v(file), p(rw + 8192), v(5)}},
		{SYS_copy_file_range, "copy_file_range", {v(file), p(rw), v(null), p(rw), v(5), v(0)}},
		{SYS_mount, "mount", {p(nowhere), p(nowhere), p(name), v(0), p(rw)}},
		{SYS_umount2, "umount2", {p(nowhere), v(0)}},
		{SYS_chroot, "chroot", {p(nowhere)}},
		{SYS_inotify_add_watch, "inotify_add_watch", {v(file), p(path), v(1)}},
	};
	struct { const char *name; unsigned long addr; } bad[] = {
		{"null", 0}, {"one", 1}, {"low", 0x1000}, {"none", (unsigned long)none}, {"readonly", (unsigned long)ro},
		{"edge", (unsigned long)edge}, {"kernel", 0xffff888000000000ul}, {"end", 0x7fffffffefffu + 1ul},
		{"noncanonical", 0x8000000000000000ul}, {"last", ~0ul},
	};
	for (size_t c = 0; c < sizeof calls / sizeof *calls; c++) {
		for (int i = 0; i < 6; i++) {
			if (calls[c].args[i].kind == V)
				continue;
			for (size_t b = calls[c].args[i].kind == Q; b < sizeof bad / sizeof *bad; b++) {
				long a[6];
				/* Everything is as before for each call. */
				memset(rw, 0, 65536);
				memset(edge, 1, 2);
				*(unsigned *)(rw + 16384) = 0x20080522;
				*(short *)(rw + 24576) = F_WRLCK;
				for (int j = 0; j < 6; j++)
					a[j] = calls[c].args[j].value;
				a[i] = (long)bad[b].addr;
				lseek(dir, 0, SEEK_SET);
				lseek(file, 0, SEEK_SET);
				errno = 0;
				long r = syscall(calls[c].nr, a[0], a[1], a[2], a[3], a[4], a[5]);
				int e = errno;
				if (r < 0)
					printf("%s arg %d %s: %s\n", calls[c].name, i, bad[b].name, strerrorname_np(e));
				else
					printf("%s arg %d %s: ok\n", calls[c].name, i, bad[b].name);
				if (r > timer && (calls[c].nr == SYS_open || calls[c].nr == SYS_openat ||
				    calls[c].nr == SYS_openat2 || calls[c].nr == SYS_signalfd4))
					close(r);
				char drain[4096];
				while (read(pipes[0], drain, sizeof drain) > 0)
					;
				if (calls[c].nr == SYS_pipe || calls[c].nr == SYS_pipe2)
					close_range(timer + 1, ~0u, 0);
			}
		}
	}
	return 0;
}
