/* Threads: creation, joining, mutexes, condition variables, thread-local data, signals to one thread, exit. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ready = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;
static __thread int mine = 5;
static long total, stage;
static atomic_long fast;
static pid_t handled_by;

static void *add(void *arg)
{
	for (int i = 0; i < 2000; i++) {
		pthread_mutex_lock(&lock);
		total++;
		pthread_mutex_unlock(&lock);
		fast++;
		mine++;
	}
	pthread_barrier_wait(&barrier);
	return (void *)(long)mine;
}

static void *turns(void *arg)
{
	long me = (long)arg;
	for (int i = 0; i < 200; i++) {
		pthread_mutex_lock(&lock);
		while (stage % 2 != me)
			pthread_cond_wait(&ready, &lock);
		stage++;
		pthread_cond_broadcast(&ready);
		pthread_mutex_unlock(&lock);
	}
	return 0;
}

static void hit(int s) { handled_by = syscall(SYS_gettid); }

static void *waiter(void *arg)
{
	*(atomic_int *)arg = syscall(SYS_gettid);
	pause();
	return (void *)(long)(handled_by == syscall(SYS_gettid));
}

static void *sleeper(void *arg)
{
	pause();
	return 0;
}

int main(void)
{
	pthread_t t[8];
	void *result;
	pthread_barrier_init(&barrier, 0, 8);
	for (int i = 0; i < 8; i++)
		pthread_create(&t[i], 0, add, 0);
	for (int i = 0; i < 8; i++) {
		pthread_join(t[i], &result);
		printf("joined %ld\n", (long)result);
	}
	printf("total %ld %ld mine %d\n", total, fast, mine);
	for (long i = 0; i < 2; i++)
		pthread_create(&t[i], 0, turns, (void *)i);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], 0);
	printf("turns %ld\n", stage);

	atomic_int tid = 0;
	signal(SIGUSR1, hit);
	pthread_create(&t[0], 0, waiter, &tid);
	while (!tid)
		usleep(1000);
	usleep(20000);
	pthread_kill(t[0], SIGUSR1);
	pthread_join(t[0], &result);
	printf("signal went to its thread: %ld\n", (long)result);

	pthread_create(&t[0], 0, sleeper, 0);
	printf("cancel %d", pthread_cancel(t[0]));
	pthread_join(t[0], &result);
	printf(" %d\n", result == PTHREAD_CANCELED);

	struct timespec when;
	clock_gettime(CLOCK_REALTIME, &when);
	when.tv_nsec += 20000000;
	if (when.tv_nsec >= 1000000000)
		when.tv_sec++, when.tv_nsec -= 1000000000;
	pthread_mutex_lock(&lock);
	printf("timed wait %d\n", pthread_cond_timedwait(&ready, &lock, &when));
	pthread_mutex_unlock(&lock);
	sem_t sem;
	sem_init(&sem, 0, 0);
	printf("semaphore %d %d\n", sem_timedwait(&sem, &when), errno);

	/* A robust mutex whose owner dies. */
	pthread_mutexattr_t attr;
	pthread_mutex_t robust;
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&robust, &attr);
	void *die(void *arg) { pthread_mutex_lock(&robust); return 0; }
	pthread_create(&t[0], 0, die, 0);
	pthread_join(t[0], 0);
	printf("robust %d\n", pthread_mutex_lock(&robust));
	pthread_mutex_consistent(&robust);
	pthread_mutex_unlock(&robust);

	/* fork from a threaded process; exec and exit_group end all threads. */
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], 0, sleeper, 0);
	int status;
	fflush(stdout);
	pid_t pid = fork();
	if (!pid) {
		pthread_create(&t[0], 0, sleeper, 0);
		execl("/bin/sh", "sh", "-c", "exit 23", (char *)0);
	}
	waitpid(pid, &status, 0);
	printf("exec %d\n", WEXITSTATUS(status));
	if (!(pid = fork())) {
		void *quit(void *arg) { _exit(31); }
		pthread_create(&t[0], 0, quit, 0);
		pause();
	}
	waitpid(pid, &status, 0);
	printf("exit from a thread %d\n", WEXITSTATUS(status));
	fflush(stdout);
	if (!(pid = fork())) {
		void *crash(void *arg) { *(volatile int *)8 = 1; return 0; }
		signal(SIGSEGV, SIG_DFL);
		pthread_create(&t[0], 0, crash, 0);
		pause();
	}
	waitpid(pid, &status, 0);
	printf("crash in a thread %d\n", WTERMSIG(status));
	return 0;
}
