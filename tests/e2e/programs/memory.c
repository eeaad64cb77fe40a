/* mmap, mprotect, mremap, brk, shared and file mappings, and what faults look like. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* The result of a call, and what errno is behind it. */
#define REPORT(format, call) do { errno = 0; int r_ = (int)(call); printf(format, r_, errno); } while (0)

static sigjmp_buf back;
static void fault(int s, siginfo_t *i, void *u) { siglongjmp(back, s == SIGBUS ? 100 + i->si_code : i->si_code); }

static int touch(volatile char *p, int write)
{
	int code = sigsetjmp(back, 1);
	if (code)
		return code;
	if (write)
		*p = 1;
	else
		(void)*p;
	return 0;
}

#define M(...) ({ void *m_ = mmap(__VA_ARGS__); m_ == MAP_FAILED ? (printf("mmap failed %d\n", errno), m_) : m_; })

int main(void)
{
	struct sigaction a = {.sa_sigaction = fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
	sigaction(SIGSEGV, &a, 0);
	sigaction(SIGBUS, &a, 0);
	char *p = M(0, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	printf("fresh %d %d\n", touch(p, 0), touch(p + 16383, 1));
	mprotect(p + 4096, 4096, PROT_READ);
	printf("read only %d %d\n", touch(p + 4096, 0), touch(p + 4096, 1));
	mprotect(p + 4096, 4096, PROT_NONE);
	printf("none %d %d\n", touch(p + 4096, 0), touch(p + 4096, 1));
	munmap(p + 8192, 4096);
	printf("hole %d %d %d\n", touch(p + 8192, 0), touch(p + 12288, 0), mprotect(p, 16384, PROT_READ));
	printf("errno %d\n", errno);
	REPORT("unaligned %d %d\n", munmap(p + 1, 4096));
	REPORT("zero %d %d\n", munmap(p, 0));
	printf("zero map %d", mmap(0, 0, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
	printf(" %d\n", errno);
	printf("no type %d", mmap(0, 4096, 3, MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
	printf(" %d\n", errno);
	printf("bad fd %d", mmap(0, 4096, 3, MAP_PRIVATE, 99, 0) == MAP_FAILED);
	printf(" %d\n", errno);

	/* mremap keeps what is there. */
	char *q = M(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	strcpy(q, "moved");
	char *r = mremap(q, 8192, 1 << 20, MREMAP_MAYMOVE);
	printf("grown %s %d\n", r, touch(r + (1 << 20) - 1, 1));
	r = mremap(r, 1 << 20, 4096, 0);
	printf("shrunk %s %d\n", r, touch(r + 4096, 0));
	char *target = M(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *s = mremap(r, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, target);
	printf("fixed %d %s %d\n", s == target, s, touch(r, 0));

	/* Shared memory lives on in children; private memory does not. */
	int *shared = M(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int *private = M(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!fork()) {
		*shared = *private = 77;
		_exit(0);
	}
	wait(0);
	printf("shared %d private %d\n", *shared, *private);

	/* Files. */
	char name[] = "/tmp/memory-XXXXXX";
	int fd = mkstemp(name);
	unlink(name);
	if (ftruncate(fd, 5000) || pwrite(fd, "in the file", 11, 0) != 11)
		return 1;
	char *f = M(0, 12288, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char *g = M(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	printf("mapped %s, tail %d %d, beyond %d\n", f, touch(f + 5000, 0), touch(f + 8191, 1), touch(f + 8192, 0));
	memcpy(f, "IN", 2);
	memcpy(g + 3, "THE", 3);
	char buf[12] = {0};
	pread(fd, buf, 11, 0);
	printf("file %s private %s\n", buf, g);
	msync(f, 4096, MS_SYNC);
	if (ftruncate(fd, 100))
		return 1;
	printf("truncated: same page %d, next %d\n", touch(f, 0), touch(f + 4096, 0));
	int ro = open("/etc/passwd", O_RDONLY);
	printf("shared writable of read-only %d", mmap(0, 4096, 3, MAP_SHARED, ro, 0) == MAP_FAILED);
	printf(" %d\n", errno);
	char *h = M(0, 4096, PROT_READ, MAP_SHARED, ro, 0);
	REPORT("no way up %d %d\n", mprotect(h, 4096, PROT_READ | PROT_WRITE));

	/* madvise, brk, growth of the stack. */
	char *d = M(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(d, 1, 8192);
	madvise(d, 4096, MADV_DONTNEED);
	printf("dontneed %d %d\n", d[0], d[4096]);
	REPORT("madvise hole %d %d\n", madvise(p, 16384, MADV_DONTNEED));
	char *brk = sbrk(0);
	printf("sbrk %d\n", sbrk(100000) == brk);
	brk[99999] = 1;
	printf("back %d\n", sbrk(-100000) == brk + 100000);
	int deep(int n) { volatile char pad[4096]; pad[0] = n; return n ? deep(n - 1) + pad[0] - pad[0] : 1; }
	printf("stack %d\n", deep(1000));

	/* Code made at run time. */
	unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3};
	char *x = M(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(x, code, sizeof code);
	mprotect(x, 4096, PROT_READ | PROT_EXEC);
	printf("code %d\n", ((int (*)(void))x)());
	printf("fixed noreplace %d", mmap(x, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED);
	printf(" %d\n", errno);
	return 0;
}
