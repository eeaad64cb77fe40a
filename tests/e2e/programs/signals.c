/* Handlers, masks, alternate stacks, restarts, queued real-time signals, faults that are recovered from. */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

/* The result of a call, and what errno is behind it. */
#define REPORT(format, call) do { errno = 0; int r_ = (int)(call); printf(format, r_, errno); } while (0)

static sigjmp_buf back;
static volatile int seen;
static char order[64];
static int filled;

static void note(int s) { order[filled++] = 'a' + s - SIGRTMIN; }
static void count(int s) { seen++; }

static void info(int s, siginfo_t *i, void *u)
{
	printf("signal %d code %d value %d pid %d\n", s, i->si_code, i->si_value.sival_int, i->si_pid == getpid());
}

static void fault(int s, siginfo_t *i, void *u)
{
	ucontext_t *c = u;
	printf("fault %d code %d addr %p trap %lld\n", s, i->si_code, s == SIGFPE ? 0 : i->si_addr,
	       c->uc_mcontext.gregs[REG_TRAPNO]);
	siglongjmp(back, 1);
}

static void onstack(int s)
{
	stack_t st;
	sigaltstack(0, &st);
	printf("on the stack: %d, flags %d\n", (char *)&st >= (char *)st.ss_sp && (char *)&st < (char *)st.ss_sp + st.ss_size,
	       st.ss_flags);
}

static void skip(int s, siginfo_t *i, void *u)
{
	ucontext_t *c = u;
	c->uc_mcontext.gregs[REG_RIP] += 2; /* ud2 */
	c->uc_mcontext.gregs[REG_RBX] = 1234;
}

static void set(int s, void (*h)(int), int flags)
{
	struct sigaction a = {.sa_handler = h, .sa_flags = flags};
	sigaction(s, &a, 0);
}

int main(void)
{
	struct sigaction a = {.sa_sigaction = info, .sa_flags = SA_SIGINFO};
	sigaction(SIGUSR1, &a, 0);
	sigaction(SIGRTMIN + 3, &a, 0);
	raise(SIGUSR1);
	kill(getpid(), SIGUSR1);
	sigqueue(getpid(), SIGRTMIN + 3, (union sigval){.sival_int = 42});

	/* Blocked signals: classic ones merge, real-time ones queue and come in order of their number. */
	sigset_t all, old, pending;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &old);
	set(SIGUSR2, count, 0);
	for (int i = 0; i < 3; i++)
		raise(SIGUSR2);
	for (int i = 5; i > 0; i--) {
		set(SIGRTMIN + i, note, 0);
		raise(SIGRTMIN + i);
		raise(SIGRTMIN + i);
	}
	sigpending(&pending);
	printf("pending %d %d %d\n", sigismember(&pending, SIGUSR2), sigismember(&pending, SIGRTMIN + 2), sigismember(&pending, SIGHUP));
	sigprocmask(SIG_SETMASK, &old, 0);
	printf("merged %d, order %s\n", seen, order);

	/* Faults. */
	struct sigaction f = {.sa_sigaction = fault, .sa_flags = SA_SIGINFO};
	for (int s = 1; s < 12; s++)
		if (s == SIGSEGV || s == SIGFPE || s == SIGILL || s == SIGBUS)
			sigaction(s, &f, 0);
	if (!sigsetjmp(back, 1))
		*(volatile int *)0x10 = 1;
	if (!sigsetjmp(back, 1))
		*(volatile char *)"const" = 1, printf("not reached\n");
	volatile int zero = 0;
	if (!sigsetjmp(back, 1))
		printf("%d\n", 1 / zero);
	if (!sigsetjmp(back, 1))
		*(volatile int *)0x8000000000000000 = 1;

	struct sigaction k = {.sa_sigaction = skip, .sa_flags = SA_SIGINFO};
	sigaction(SIGILL, &k, 0);
	long rbx;
	__asm__ volatile("xor %%ebx, %%ebx; ud2; mov %%rbx, %0" : "=r"(rbx) : : "rbx");
	printf("rbx %ld\n", rbx);

	/* Alternate stack. */
	stack_t st = {.ss_sp = malloc(65536), .ss_size = 65536};
	sigaltstack(&st, 0);
	set(SIGUSR2, onstack, SA_ONSTACK);
	raise(SIGUSR2);
	REPORT("small stack: %d %d\n", sigaltstack(&(stack_t){.ss_sp = st.ss_sp, .ss_size = 100}, 0));

	/* Restarts: read is made again with SA_RESTART and broken off without. */
	int p[2];
	char c;
	if (pipe(p))
		return 1;
	struct itimerval soon = {.it_value = {0, 20000}};
	set(SIGALRM, count, 0);
	setitimer(ITIMER_REAL, &soon, 0);
	ssize_t n = read(p[0], &c, 1);
	REPORT("read %d %d\n", n);
	set(SIGALRM, count, SA_RESTART);
	if (!fork()) {
		usleep(100000);
		if (write(p[1], "x", 1) != 1)
			_exit(1);
		_exit(0);
	}
	setitimer(ITIMER_REAL, &soon, 0);
	n = read(p[0], &c, 1);
	printf("read %zd %c\n", n, c);
	wait(0);
	setitimer(ITIMER_REAL, &soon, 0);
	REPORT("usleep %d %d\n", usleep(2000000));
	setitimer(ITIMER_REAL, &soon, 0);
	REPORT("pause %d %d\n", pause());

	/* sigsuspend, sigwaitinfo, SA_RESETHAND, SA_NODEFER. */
	sigset_t usr1, none;
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	sigemptyset(&none);
	sigprocmask(SIG_BLOCK, &usr1, 0);
	raise(SIGUSR1);
	REPORT("sigsuspend %d %d\n", sigsuspend(&none));
	sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 7});
	siginfo_t i;
	printf("sigwaitinfo %d %d\n", sigwaitinfo(&usr1, &i), i.si_value.sival_int);
	struct timespec brief = {0, 10000000};
	REPORT("sigtimedwait %d %d\n", sigtimedwait(&usr1, &i, &brief));
	set(SIGUSR2, count, SA_RESETHAND);
	raise(SIGUSR2);
	if (!fork()) {
		raise(SIGUSR2);
		_exit(0);
	}
	int status;
	wait(&status);
	printf("died of %d\n", WTERMSIG(status));

	/* Stops and continuation, seen by the parent. */
	pid_t child = fork();
	if (!child) {
		raise(SIGSTOP);
		usleep(50000);
		_exit(3);
	}
	waitpid(child, &status, WUNTRACED);
	printf("stopped %d\n", WIFSTOPPED(status) ? WSTOPSIG(status) : -1);
	kill(child, SIGCONT);
	waitpid(child, &status, WCONTINUED);
	printf("continued %d\n", WIFCONTINUED(status));
	waitpid(child, &status, 0);
	printf("exited %d\n", WEXITSTATUS(status));
	REPORT("wait %d %d\n", wait(0));
	return 0;
}
