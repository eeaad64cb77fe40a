/* System V IPC: shared memory, semaphores, messages. Run in an IPC namespace of its own. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CALL(what, call) do { errno = 0; long r_ = (long)(call); printf("%s: %ld %s\n", what, r_, \
	r_ == -1 ? strerrorname_np(errno) : "ok"); } while (0)
/* The same where the value is an address. */
#define DONE(what, call) do { errno = 0; long r_ = (long)(call); printf("%s: %s\n", what, \
	r_ == -1 ? strerrorname_np(errno) : "ok"); } while (0)
#define PAGE 4096

static pid_t me;

static const char *who(pid_t pid)
{
	return pid == me ? "me" : pid == 0 ? "nobody" : "other";
}

static void perm(struct ipc_perm *p)
{
	printf(" key %x uid %d gid %d cuid %d cgid %d mode %o seq %d", p->__key, p->uid, p->gid, p->cuid, p->cgid,
	       p->mode, p->__seq);
}

static void segment(const char *what, int id)
{
	struct shmid_ds d;
	errno = 0;
	if (shmctl(id, IPC_STAT, &d)) {
		printf("%s: %s\n", what, strerrorname_np(errno));
		return;
	}
	printf("%s:", what);
	perm(&d.shm_perm);
	printf(" size %zu nattch %lu cpid %s lpid %s a %d d %d c %d\n", d.shm_segsz, (long)d.shm_nattch, who(d.shm_cpid),
	       who(d.shm_lpid), d.shm_atime != 0, d.shm_dtime != 0, d.shm_ctime != 0);
}

static long nattch(int id)
{
	struct shmid_ds d;
	return shmctl(id, IPC_STAT, &d) ? -errno : (long)d.shm_nattch;
}

static void show_file(const char *name)
{
	char line[512];
	FILE *f = fopen(name, "r");
	while (f && fgets(line, sizeof line, f))
		if (strstr(line, "key"))
			printf("%s", line);
		else
			printf("%zu characters\n", strlen(line));
	if (f)
		fclose(f);
}

static void show_maps(void)
{
	char line[512];
	FILE *f = fopen("/proc/self/maps", "r");
	while (f && fgets(line, sizeof line, f)) {
		char *name = strstr(line, "/SYSV");
		if (name) {
			unsigned long a, b, off, ino;
			char mode[8], dev[16];
			sscanf(line, "%lx-%lx %7s %lx %15s %lu", &a, &b, mode, &off, dev, &ino);
			printf("map %lx bytes %s at %lx inode %lu %s", b - a, mode, off, ino, name);
		}
	}
	if (f)
		fclose(f);
}

static void memory(void)
{
	struct shm_info info;
	struct shminfo limits;
	struct shmid_ds d;
	char *a, *b, *c, *hole;
	int status;
	printf("--- shared memory\n");
	CALL("none", shmget(0x1234, 100, 0600));
	CALL("size 0", shmget(0x1234, 0, IPC_CREAT | 0600));
	CALL("too large", shmget(0x1234, -1, IPC_CREAT | 0600));
	CALL("larger than memory", shmget(0x1234, 1UL << 50, IPC_CREAT | 0600));
	int id = shmget(0x1234, 3 * PAGE - 100, IPC_CREAT | 0640);
	CALL("get", id);
	CALL("again", shmget(0x1234, 0, 0));
	CALL("excl", shmget(0x1234, 100, IPC_CREAT | IPC_EXCL | 0600));
	CALL("larger", shmget(0x1234, 3 * PAGE, 0600));
	int two = shmget(IPC_PRIVATE, 100, 0600);
	CALL("private", two);
	segment("new", id);
	CALL("bad address", (long)shmat(id, (void *)123, 0));
	CALL("bad id", (long)shmat(12345, 0, 0));
	CALL("negative id", (long)shmat(-1, 0, 0));
	CALL("remap of nothing", (long)shmat(id, 0, SHM_REMAP));
	a = shmat(id, 0, 0);
	DONE("attach", (long)a);
	segment("attached", id);
	b = shmat(id, 0, SHM_RDONLY);
	DONE("read only", (long)b);
	strcpy(a + 5000, "hello");
	printf("through the other: %s\n", b + 5000);
	CALL("make it writable", mprotect(b, PAGE, PROT_READ | PROT_WRITE));
	CALL("make it executable", mprotect(b, PAGE, PROT_READ | PROT_EXEC));
	printf("a third area: %ld\n", nattch(id));
	show_maps();
	CALL("detach elsewhere", shmdt(a + PAGE));
	CALL("detach nowhere", shmdt((void *)0x1000));
	CALL("detach", shmdt(b));
	printf("one area: %ld\n", nattch(id));
	CALL("unmap the middle", munmap(a + PAGE, PAGE));
	printf("two areas: %ld\n", nattch(id));
	CALL("detach both", shmdt(a));
	segment("detached", id);
	hole = mmap(0, 16 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CALL("over something", (long)shmat(id, hole, 0));
	c = shmat(id, hole + 100, SHM_RND | SHM_REMAP);
	printf("remapped: %d\n", c == hole);
	printf("still there: %s\n", c + 5000);
	CALL("unmap all", munmap(hole, 16 * PAGE));
	printf("no area: %ld\n", nattch(id));
	a = shmat(id, 0, SHM_EXEC);
	DONE("executable", (long)a);
	b = mremap(a, 3 * PAGE, 5 * PAGE, MREMAP_MAYMOVE);
	printf("grown: %d, areas %ld\n", b != MAP_FAILED, nattch(id));
	if (fork() == 0) {
		printf("in the child: %ld\n", nattch(id));
		segment("seen by the child", id);
		fflush(stdout);
		_exit(0);
	}
	wait(&status);
	segment("child has ended", id);
	CALL("info", shmctl(0, SHM_INFO, (struct shmid_ds *)&info));
	printf("used %d tot %lu\n", info.used_ids, info.shm_tot);
	CALL("limits", shmctl(0, IPC_INFO, (struct shmid_ds *)&limits));
	printf("max %lu min %lu mni %lu seg %lu all %lu\n", limits.shmmax, limits.shmmin, limits.shmmni, limits.shmseg,
	       limits.shmall);
	CALL("stat by index", shmctl(1, SHM_STAT, &d));
	CALL("stat by index", shmctl(7, SHM_STAT, &d));
	CALL("stat any", shmctl(0, 15, &d));
	CALL("bad command", shmctl(id, 99, &d));
	CALL("bad command", shmctl(id, -1, &d));
	CALL("bad buffer", shmctl(id, IPC_STAT, (void *)8));
	CALL("bad buffer", shmctl(id, IPC_SET, (void *)8));
	CALL("lock", shmctl(id, SHM_LOCK, 0));
	segment("locked", id);
	CALL("unlock", shmctl(id, SHM_UNLOCK, 0));
	shmctl(id, IPC_STAT, &d);
	d.shm_perm.mode = 07777;
	d.shm_perm.uid = 5;
	CALL("set", shmctl(id, IPC_SET, &d));
	segment("was set", id);
	d.shm_perm.uid = -1;
	CALL("set to nobody", shmctl(id, IPC_SET, &d));
	show_file("/proc/sysvipc/shm");
	CALL("remove", shmctl(id, IPC_RMID, 0));
	segment("removed", id);
	CALL("by key", shmget(0x1234, 0, 0));
	c = shmat(id, 0, 0);
	printf("attach what is removed: %d\n", c != (void *)-1);
	shmdt(c);
	CALL("detach", shmdt(b));
	segment("gone", id);
	CALL("remove it again", shmctl(id, IPC_RMID, 0));
	int next = shmget(IPC_PRIVATE, 1 << 22, 0600);
	CALL("next", next);
	a = shmat(next, 0, 0);
	memset(a, 7, 1 << 22);
	if (fork() == 0) {
		for (int i = 0; i < 1 << 22; i += PAGE)
			a[i]++;
		shmctl(next, IPC_RMID, 0);
		_exit(0);
	}
	wait(0);
	long sum = 0;
	for (int i = 0; i < 1 << 22; i += PAGE)
		sum += a[i];
	printf("sum %ld, removed by the child, attached %ld\n", sum, nattch(next));
	if (fork() == 0) {
		execl("/bin/true", "true", NULL);
		_exit(9);
	}
	wait(0);
	printf("after exec %ld\n", nattch(next));
	shmdt(a);
	printf("at the end %ld\n", nattch(next));
	CALL("others", shmctl(two, IPC_RMID, 0));
	int many[70];
	for (int i = 0; i < 70; i++)
		many[i] = shmget(IPC_PRIVATE, 10, 0600);
	printf("ids %d %d %d %d %d\n", many[0], many[1], many[61], many[62], many[69]);
	for (int i = 0; i < 70; i++)
		shmctl(many[i], IPC_RMID, 0);
	printf("and then %d\n", id = shmget(IPC_PRIVATE, 10, 0600));
	shmctl(id, IPC_RMID, 0);
}

union semun { int val; struct semid_ds *buf; unsigned short *array; struct seminfo *info; };

static int op(int id, int n, int change, int flags)
{
	struct sembuf b = {n, change, flags};
	return semop(id, &b, 1);
}

static void values(const char *what, int id, int n)
{
	printf("%s:", what);
	for (int i = 0; i < n; i++)
		printf(" %d(%s,%d,%d)", semctl(id, i, GETVAL), who(semctl(id, i, GETPID)), semctl(id, i, GETNCNT),
		       semctl(id, i, GETZCNT));
	printf("\n");
}

static void waits(int id, int n, int count, int zero)
{
	for (int i = 0; i < 2000 && semctl(id, n, zero ? GETZCNT : GETNCNT) != count; i++)
		usleep(1000);
}

static void *undoing_thread(void *arg)
{
	op(*(int *)arg, 0, 5, SEM_UNDO);
	return 0;
}

static void nothing(int s) {}

static void semaphores(void)
{
	struct semid_ds d;
	struct seminfo info;
	unsigned short all[4] = {1, 2, 3, 4};
	int p[2], pid[4];
	char order[5] = "";
	printf("--- semaphores\n");
	CALL("none", semget(0x77, 1, 0600));
	CALL("no semaphores", semget(0x77, 0, IPC_CREAT | 0600));
	CALL("negative", semget(0x77, -1, IPC_CREAT | 0600));
	CALL("too many", semget(0x77, 32001, IPC_CREAT | 0600));
	int id = semget(0x77, 4, IPC_CREAT | 0600);
	CALL("get", id);
	CALL("more", semget(0x77, 5, 0600));
	CALL("fewer", semget(0x77, 0, 0600));
	values("new", id, 4);
	CALL("set all", semctl(id, 0, SETALL, (union semun){.array = all}));
	values("set", id, 4);
	memset(all, 0, sizeof all);
	CALL("get all", semctl(id, 0, GETALL, (union semun){.array = all}));
	printf("%d %d %d %d\n", all[0], all[1], all[2], all[3]);
	CALL("bad address", semctl(id, 0, GETALL, (union semun){.array = (void *)8}));
	CALL("bad number", semctl(id, 4, GETVAL));
	CALL("bad number", semctl(id, -1, SETVAL, 3));
	CALL("bad value", semctl(id, 0, SETVAL, 32768));
	CALL("bad value", semctl(id, 0, SETVAL, -1));
	CALL("largest", semctl(id, 0, SETVAL, 32767));
	CALL("overflow", op(id, 0, 1, 0));
	CALL("bad id", op(99, 0, 1, 0));
	CALL("bad number", op(id, 4, 1, 0));
	CALL("no operations", semop(id, 0, 0));
	CALL("bad address", semop(id, (void *)8, 1));
	CALL("too many operations", semop(id, (void *)8, 501));
	CALL("would wait", op(id, 1, -3, IPC_NOWAIT));
	CALL("down", op(id, 1, -2, IPC_NOWAIT));
	CALL("zero", op(id, 1, 0, IPC_NOWAIT));
	CALL("not zero", op(id, 2, 0, IPC_NOWAIT));
	struct sembuf both[3] = {{2, -1, 0}, {3, -4, 0}, {1, -1, IPC_NOWAIT}};
	CALL("all or nothing", semop(id, both, 3));
	values("unchanged", id, 4);
	struct timespec soon = {0, 20000000}, bad = {0, 1000000000}, past = {0, 0}, minus = {-1, 0};
	CALL("times out", semtimedop(id, &both[2], 1, &past));
	both[2].sem_flg = 0;
	CALL("times out", semtimedop(id, both, 3, &soon));
	CALL("bad time", semtimedop(id, both, 3, &bad));
	CALL("bad time", semtimedop(id, both, 3, &minus));
	CALL("bad time", semtimedop(id, both, 3, (void *)8));
	semctl(id, 0, SETVAL, 0);
	pipe(p);
	fflush(stdout);
	for (int i = 0; i < 3; i++) {
		if ((pid[i] = fork()) == 0) {
			/* The second wants more than the others: they go before it. */
			op(id, 0, i == 1 ? -3 : -1, 0);
			write(p[1], "abc" + i, 1);
			_exit(0);
		}
		waits(id, 0, i + 1, 0);
	}
	values("three wait", id, 4);
	op(id, 0, 1, 0);
	read(p[0], order, 1);
	op(id, 0, 1, 0);
	read(p[0], order + 1, 1);
	values("one waits", id, 4);
	op(id, 0, 3, 0);
	read(p[0], order + 2, 1);
	printf("order %s\n", order);
	while (wait(0) > 0)
		;
	if ((pid[0] = fork()) == 0) {
		alarm(0);
		_exit(op(id, 2, 0, 0) ? errno : 0);
	}
	waits(id, 2, 1, 1);
	values("waits for zero", id, 4);
	op(id, 2, -3, 0);
	int status;
	wait(&status);
	printf("became zero: %d\n", WEXITSTATUS(status));
	if ((pid[0] = fork()) == 0) {
		struct sigaction sa = {.sa_handler = nothing, .sa_flags = SA_RESTART};
		sigaction(SIGUSR1, &sa, 0);
		_exit(op(id, 2, -1, 0) ? errno : 0);
	}
	waits(id, 2, 1, 0);
	kill(pid[0], SIGUSR1);
	wait(&status);
	printf("interrupted: %s\n", strerrorname_np(WEXITSTATUS(status)));
	fflush(stdout);
	if (fork() == 0) {
		op(id, 0, 7, SEM_UNDO);
		op(id, 3, -2, SEM_UNDO);
		op(id, 3, -1, SEM_UNDO);
		values("in the child", id, 4);
		fflush(stdout);
		_exit(0);
	}
	wait(0);
	values("undone", id, 4);
	if (fork() == 0) {
		op(id, 0, 7, SEM_UNDO);
		semctl(id, 0, SETVAL, 2);
		_exit(0);
	}
	wait(0);
	values("nothing to undo", id, 4);
	if (fork() == 0) {
		pthread_t t;
		pthread_create(&t, 0, undoing_thread, &id);
		pthread_join(t, 0);
		values("the thread is gone", id, 4);
		fflush(stdout);
		_exit(0);
	}
	wait(0);
	values("so is the process", id, 4);
	if (fork() == 0) {
		op(id, 0, 3, SEM_UNDO);
		fflush(stdout);
		execl("/bin/true", "true", NULL);
		_exit(1);
	}
	wait(0);
	values("after exec", id, 4);
	op(id, 0, 1, SEM_UNDO);
	op(id, 0, -1, SEM_UNDO);
	CALL("info", semctl(0, 0, SEM_INFO, (union semun){.info = &info}));
	printf("%d %d %d %d %d %d %d %d %d %d\n", info.semmap, info.semmni, info.semmns, info.semmnu, info.semmsl,
	       info.semopm, info.semume, info.semusz, info.semvmx, info.semaem);
	CALL("limits", semctl(0, 0, IPC_INFO, (union semun){.info = &info}));
	printf("%d %d %d %d %d %d %d %d %d %d\n", info.semmap, info.semmni, info.semmns, info.semmnu, info.semmsl,
	       info.semopm, info.semume, info.semusz, info.semvmx, info.semaem);
	CALL("stat", semctl(id, 0, IPC_STAT, (union semun){.buf = &d}));
	perm(&d.sem_perm);
	printf(" o %d c %d n %lu\n", d.sem_otime != 0, d.sem_ctime != 0, (long)d.sem_nsems);
	CALL("stat by index", semctl(0, 0, SEM_STAT, (union semun){.buf = &d}));
	CALL("stat by index", semctl(5, 0, SEM_STAT, (union semun){.buf = &d}));
	d.sem_perm.mode = 0;
	CALL("set", semctl(id, 0, IPC_SET, (union semun){.buf = &d}));
	CALL("bad command", semctl(id, 0, 99));
	show_file("/proc/sysvipc/sem");
	if ((pid[0] = fork()) == 0)
		_exit(op(id, 2, -1, 0) ? errno : 0);
	waits(id, 2, 1, 0);
	CALL("remove", semctl(id, 0, IPC_RMID));
	wait(&status);
	printf("removed: %s\n", strerrorname_np(WEXITSTATUS(status)));
	CALL("remove again", semctl(id, 0, IPC_RMID));
}

struct message { long type; char text[64]; };

static void send(int id, long type, const char *text)
{
	struct message m = {type};
	strcpy(m.text, text);
	CALL("send", msgsnd(id, &m, strlen(text) + 1, IPC_NOWAIT));
}

static void receive(const char *what, int id, long type, int size, int flags)
{
	struct message m = {-1};
	errno = 0;
	int n = msgrcv(id, &m, size, type, flags);
	printf("%s: %d %s type %ld %.*s\n", what, n, n < 0 ? strerrorname_np(errno) : "ok", m.type, n > 0 ? n : 0, m.text);
}

static void queue(const char *what, int id)
{
	struct msqid_ds d;
	if (msgctl(id, IPC_STAT, &d)) {
		printf("%s: %s\n", what, strerrorname_np(errno));
		return;
	}
	printf("%s:", what);
	perm(&d.msg_perm);
	printf(" s %d r %d c %d bytes %lu num %lu of %lu lspid %s lrpid %s\n", d.msg_stime != 0, d.msg_rtime != 0,
	       d.msg_ctime != 0, d.__msg_cbytes, d.msg_qnum, d.msg_qbytes, who(d.msg_lspid), who(d.msg_lrpid));
}

static int asleep(pid_t pid)
{
	char name[64], line[256];
	for (int i = 0; i < 2000; i++) {
		sprintf(name, "/proc/%d/stat", pid);
		FILE *f = fopen(name, "r");
		int in = 0;
		if (f && fgets(line, sizeof line, f))
			in = strstr(line, ") S") != 0;
		if (f)
			fclose(f);
		if (in)
			return 1;
		usleep(1000);
	}
	return 0;
}

static void messages(void)
{
	struct msqid_ds d;
	struct msginfo info;
	int status, pid;
	static char big[20000];
	printf("--- messages\n");
	CALL("none", msgget(0x99, 0600));
	int id = msgget(0x99, IPC_CREAT | 0620);
	CALL("get", id);
	CALL("excl", msgget(0x99, IPC_CREAT | IPC_EXCL));
	queue("new", id);
	send(id, 0, "zero");
	send(id, -3, "negative");
	send(id, 3, "three");
	send(id, 1, "one");
	send(id, 2, "two");
	send(id, 1, "uno");
	queue("four", id);
	CALL("too long", msgsnd(id, big, 8193, IPC_NOWAIT));
	CALL("negative", msgsnd(id, big, -1, IPC_NOWAIT));
	CALL("bad address", msgsnd(id, (void *)8, 3, IPC_NOWAIT));
	CALL("bad id", msgsnd(999, &(struct message){1}, 3, IPC_NOWAIT));
	receive("copy", id, 2, 64, MSG_COPY | IPC_NOWAIT);
	receive("copy beyond", id, 9, 64, MSG_COPY | IPC_NOWAIT);
	receive("copy that waits", id, 2, 64, MSG_COPY);
	receive("copy except", id, 2, 64, MSG_COPY | MSG_EXCEPT | IPC_NOWAIT);
	receive("too small", id, 0, 3, IPC_NOWAIT);
	receive("cut", id, 0, 3, IPC_NOWAIT | MSG_NOERROR);
	receive("at most two", id, -2, 64, IPC_NOWAIT);
	receive("type two", id, 2, 64, IPC_NOWAIT);
	receive("no type two", id, 2, 64, IPC_NOWAIT);
	send(id, 5, "five");
	receive("not one", id, 1, 64, IPC_NOWAIT | MSG_EXCEPT);
	receive("not one", id, 1, 64, IPC_NOWAIT | MSG_EXCEPT);
	receive("any", id, 0, 64, IPC_NOWAIT);
	receive("empty", id, 0, 64, IPC_NOWAIT);
	receive("negative size", id, 0, -1, IPC_NOWAIT);
	queue("read", id);
	send(id, 6, "");
	receive("no room", id, 6, 0, IPC_NOWAIT);
	receive("one byte", id, 6, 1, IPC_NOWAIT);
	*(long *)big = 4;
	CALL("half", msgsnd(id, big, 8192, 0));
	CALL("full", msgsnd(id, big, 8192, 0));
	CALL("no room", msgsnd(id, big, 1, IPC_NOWAIT));
	send(id, 6, "");
	fflush(stdout);
	if ((pid = fork()) == 0)
		_exit(msgsnd(id, big, 100, 0) ? errno : 0);
	printf("asleep %d\n", asleep(pid));
	printf("make room %zd\n", msgrcv(id, big, 8192, 0, 0));
	wait(&status);
	printf("sent %d\n", WEXITSTATUS(status));
	queue("sent by another", id);
	while (msgrcv(id, big, 8192, 0, IPC_NOWAIT) >= 0)
		;
	if ((pid = fork()) == 0) {
		receive("woken", id, -10, 64, 0);
		fflush(stdout);
		_exit(0);
	}
	asleep(pid);
	send(id, 11, "not for it");
	send(id, 10, "for it");
	wait(0);
	queue("passed on", id);
	receive("left", id, 0, 64, IPC_NOWAIT);
	if ((pid = fork()) == 0) {
		receive("too small", id, 0, 2, 0);
		fflush(stdout);
		_exit(0);
	}
	asleep(pid);
	send(id, 11, "too long for it");
	wait(0);
	fflush(stdout);
	receive("left", id, 0, 64, IPC_NOWAIT);
	for (int restart = 0; restart < 2; restart++) {
		if ((pid = fork()) == 0) {
			struct sigaction sa = {.sa_handler = nothing, .sa_flags = restart ? SA_RESTART : 0};
			sigaction(SIGUSR1, &sa, 0);
			receive("interrupted", id, 0, 64, 0);
			fflush(stdout);
			_exit(0);
		}
		asleep(pid);
		fflush(stdout);
		kill(pid, SIGUSR1);
		wait(0);
	}
	CALL("info", msgctl(0, MSG_INFO, (struct msqid_ds *)&info));
	printf("%d %d %d %d %d %d %d %d\n", info.msgpool, info.msgmap, info.msgmax, info.msgmnb, info.msgmni, info.msgssz,
	       info.msgtql, info.msgseg);
	CALL("limits", msgctl(0, IPC_INFO, (struct msqid_ds *)&info));
	printf("%d %d %d %d %d %d %d\n", info.msgpool, info.msgmap, info.msgmax, info.msgmnb, info.msgssz,
	       info.msgtql, info.msgseg);
	CALL("stat by index", msgctl(0, MSG_STAT, &d));
	CALL("stat by index", msgctl(3, MSG_STAT, &d));
	msgctl(id, IPC_STAT, &d);
	d.msg_qbytes = 100;
	d.msg_perm.mode = 0600;
	CALL("set", msgctl(id, IPC_SET, &d));
	CALL("more than fits", msgsnd(id, big, 101, IPC_NOWAIT));
	queue("set", id);
	show_file("/proc/sysvipc/msg");
	if ((pid = fork()) == 0)
		_exit(msgrcv(id, big, 100, 0, 0) < 0 ? errno : 0);
	asleep(pid);
	CALL("remove", msgctl(id, IPC_RMID, 0));
	wait(&status);
	printf("removed: %s\n", strerrorname_np(WEXITSTATUS(status)));
	CALL("remove again", msgctl(id, IPC_RMID, 0));
}

static void permissions(void)
{
	struct shmid_ds d;
	struct semid_ds sd;
	struct msqid_ds md;
	printf("--- permissions\n");
	int shm = shmget(5, 100, IPC_CREAT | 0604), sem = semget(5, 1, IPC_CREAT | 0640), msg = msgget(5, IPC_CREAT | 0602);
	shmget(6, 100, IPC_CREAT | 0000);
	fflush(stdout);
	if (fork() == 0) {
		setgid(7);
		setuid(1000);
		CALL("shmget for reading", shmget(5, 100, 0444));
		CALL("shmget for writing", shmget(5, 100, 0222));
		CALL("shmget without", shmget(6, 100, 0));
		CALL("shmget without", shmget(6, 100, 0400));
		CALL("attach for writing", (long)shmat(shm, 0, 0));
		DONE("attach for reading", (long)shmat(shm, 0, SHM_RDONLY));
		CALL("stat", shmctl(shm, IPC_STAT, &d));
		CALL("set", shmctl(shm, IPC_SET, &d));
		CALL("remove", shmctl(shm, IPC_RMID, 0));
		CALL("lock", shmctl(shm, SHM_LOCK, 0));
		CALL("semget", semget(5, 1, 0400));
		CALL("get value", semctl(sem, 0, GETVAL));
		CALL("operation", op(sem, 0, 1, 0));
		CALL("look", op(sem, 0, 0, 0));
		CALL("stat", semctl(sem, 0, IPC_STAT, (union semun){.buf = &sd}));
		CALL("stat any", semctl(0, 0, 20, (union semun){.buf = &sd}));
		CALL("remove", semctl(sem, 0, IPC_RMID));
		struct message m = {1, "x"};
		CALL("send", msgsnd(msg, &m, 1, 0));
		CALL("receive", msgrcv(msg, &m, 1, 0, IPC_NOWAIT));
		CALL("stat", msgctl(msg, IPC_STAT, &md));
		int own = msgget(8, IPC_CREAT | 0600);
		CALL("own queue", msgctl(own, IPC_STAT, &md));
		md.msg_qbytes = 20000;
		CALL("more bytes", msgctl(own, IPC_SET, &md));
		md.msg_qbytes = 2000;
		md.msg_perm.uid = 1;
		CALL("give away", msgctl(own, IPC_SET, &md));
		CALL("still the creator's", msgctl(own, IPC_STAT, &md));
		CALL("remove", msgctl(own, IPC_RMID, 0));
		fflush(stdout);
		_exit(0);
	}
	wait(0);
	shmctl(shm, IPC_RMID, 0);
	shmctl(shmget(6, 0, 0), IPC_RMID, 0);
	semctl(sem, 0, IPC_RMID);
	msgctl(msg, IPC_RMID, 0);
}

int main(void)
{
	setvbuf(stdout, 0, _IOFBF, 1 << 20);
	me = getpid();
	memory();
	semaphores();
	messages();
	permissions();
	return 0;
}
