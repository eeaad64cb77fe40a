/* A few system calls without a C library, so that a trace has these and no others. */
#define CALL(...) PICK(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)
#define PICK(n, a, b, c, d, e, f, ...) raw(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

static long raw(long n, long a, long b, long c, long d, long e, long f)
{
	long result;
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	__asm__ volatile("syscall" : "=a"(result) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

static char buf[512];
static int fds[2], status;
static long action[4], set, time[2] = {0, 1000000};
static struct { unsigned long base, length; } vector[2] = {{(unsigned long)"one ", 4}, {(unsigned long)"two\n", 4}};
static struct { unsigned short family; char path[8]; } address = {1, "/nowhr"};
static struct { void *name; unsigned size; void *iov; long count; void *control; long length; int flags; } message;

__attribute__((naked)) static void restorer(void) { __asm__("mov $15, %eax; syscall"); }
static void handler(int signo) { CALL(39); }

void _start(void)
{
	CALL(257, -100, "/etc/passwd", 0x80000, 0); /* openat */
	CALL(257, -100, "/nowhere/x", 0x241, 0644);
	CALL(0, 3, buf, 40); /* read */
	CALL(5, 3, buf); /* fstat */
	CALL(8, 3, 5, 0); /* lseek */
	CALL(3, 3); /* close */
	CALL(3, 3);
	CALL(293, fds, 0x80000); /* pipe2 */
	CALL(20, fds[1], vector, 2); /* writev */
	CALL(0, fds[0], buf, 100);
	CALL(72, fds[0], 3); /* fcntl F_GETFL */
	CALL(72, fds[0], 2, 1);
	CALL(33, fds[0], 50); /* dup2 */
	CALL(9, 0, 8192, 3, 0x22, -1, 0); /* mmap */
	CALL(11, 0x10000, 4096); /* munmap */
	CALL(21, "/etc/passwd", 4); /* access */
	CALL(89, "/proc/self/cwd", buf, 100); /* readlink */
	CALL(79, buf, 100); /* getcwd */
	CALL(63, buf); /* uname */
	CALL(95, 022); /* umask */
	CALL(35, time, 0); /* nanosleep */
	CALL(14, 0, &set, &set, 8); /* rt_sigprocmask */
	action[0] = (long)handler;
	action[1] = 0x14000000;
	action[2] = (long)restorer;
	CALL(13, 10, action, 0, 8); /* rt_sigaction */
	CALL(62, CALL(39), 10); /* kill */
	CALL(41, 1, 1, 0); /* socket */
	CALL(42, 5, &address, 8); /* connect */
	CALL(3, 5);
	CALL(3, 4);
	CALL(53, 1, 2, 0, fds); /* socketpair */
	message.iov = vector;
	message.count = 2;
	CALL(46, fds[0], &message, 0); /* sendmsg */
	CALL(45, fds[1], buf, 100, 0, 0, 0); /* recvfrom */
	CALL(302, 0, 99, 0, buf); /* prlimit64 */
	CALL(157, 15, "traced"); /* prctl */
	CALL(16, fds[0], 0x5401, buf); /* ioctl */
	CALL(202, &status, 129, 1); /* futex */
	CALL(400, 1, 2, 3);
	if (CALL(57) == 0) { /* fork */
		CALL(12, 0); /* brk */
		*(volatile int *)16 = 1;
	}
	CALL(61, -1, &status, 0, 0); /* wait4 */
	CALL(61, -1, &status, 0, 0);
	CALL(231, 7); /* exit_group */
}
