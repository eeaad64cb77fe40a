/* User and group ids, capabilities, limits, prctl: every rule that can be seen from inside. */
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void show(const char *what, int result)
{
	int e = result < 0 ? errno : 0;
	uid_t r, eu, s;
	gid_t rg, eg, sg;
	getresuid(&r, &eu, &s);
	getresgid(&rg, &eg, &sg);
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2] = {0};
	syscall(SYS_capget, &h, d);
	/* Capabilities that a newer kernel might have in addition don't count. */
	unsigned mask = (1u << 9) - 1;
	printf("%s: %d %d uid %d %d %d fs %d gid %d %d %d fs %d cap %x%08x %x%08x %x%08x dumpable %d\n", what, result, e, r, eu, s,
	       setfsuid(-1), rg, eg, sg, setfsgid(-1), d[1].permitted & mask, d[0].permitted, d[1].effective & mask,
	       d[0].effective, d[1].inheritable & mask, d[0].inheritable, prctl(PR_GET_DUMPABLE));
}

#define DO(call) ({ errno = 0; show(#call, (int)(call)); })
#define SAY(call) ({ errno = 0; long r_ = (long)(call); printf(#call ": %ld %d\n", r_, r_ < 0 ? errno : 0); })
#define IN_CHILD(...) do { fflush(stdout); if (!fork()) { __VA_ARGS__; fflush(stdout); _exit(0); } wait(0); printf("--\n"); } while (0)

static int capset_to(unsigned e, unsigned p, unsigned i)
{
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2] = {{e, p, i}};
	return syscall(SYS_capset, &h, d);
}

static void drop(int cap)
{
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2] = {0};
	syscall(SYS_capget, &h, d);
	d[0].effective &= ~(1u << cap);
	d[0].permitted &= ~(1u << cap);
	syscall(SYS_capset, &h, d);
}

int main(void)
{
	setvbuf(stdout, 0, _IOFBF, 1 << 16);
	/* Root in a container often lacks this one; without it everybody starts from the same. */
	drop(CAP_SYS_RESOURCE);
	show("start", 0);
	IN_CHILD(DO(setuid(1000)); DO(setuid(0)); DO(setuid(1000)); DO(setreuid(-1, 0)); DO(setresuid(1, 1, 1)));
	IN_CHILD(DO(seteuid(1000)); DO(setuid(5)); DO(seteuid(0)); DO(setuid(5)); DO(seteuid(0)));
	IN_CHILD(DO(setreuid(1000, 2000)); DO(setreuid(2000, 1000)); DO(setreuid(-1, 3000)); DO(setuid(2000)));
	IN_CHILD(DO(setresuid(1, 2, 3)); DO(setresuid(3, 1, 2)); DO(setresuid(-1, -1, 4)); DO(setresuid(2, 2, 2)); DO(setresuid(1, -1, -1)));
	IN_CHILD(DO(setregid(100, 200)); DO(setgid(7)); DO(setresgid(1, 2, 3)); DO(setuid(1)); DO(setgid(1)); DO(setgid(9)); DO(setregid(2, -1)));
	IN_CHILD(DO(setfsuid(1000)); DO(setfsuid(0)); DO(setfsgid(5)); DO(seteuid(77)); DO(setfsuid(78)); DO(setfsuid(77)));
	IN_CHILD(DO(setuid(-1)); DO(setgid(-1)); DO(setreuid(-1, -1)); DO(setresuid(-1, -1, -1)));
	IN_CHILD(SAY(prctl(PR_SET_KEEPCAPS, 1)); DO(setuid(1000)); SAY(prctl(PR_GET_KEEPCAPS)); DO(capset_to(0xff, 0xffff, 0xf));
		 DO(capset_to(0xff, 0x1ffff, 0)); DO(capset_to(0x10000, 0xffff, 0)); DO(capset_to(0, 0, 0)));
	IN_CHILD(SAY(prctl(PR_SET_SECUREBITS, 0x2f)); SAY(prctl(PR_GET_SECUREBITS)); DO(setuid(1000)); SAY(prctl(PR_SET_SECUREBITS, 0)));
	IN_CHILD(SAY(prctl(PR_SET_SECUREBITS, 0x20)); SAY(prctl(PR_SET_KEEPCAPS, 1)); SAY(prctl(PR_SET_SECUREBITS, 0x1000)));
	IN_CHILD(SAY(prctl(PR_CAPBSET_READ, 5)); SAY(prctl(PR_CAPBSET_DROP, 5)); SAY(prctl(PR_CAPBSET_READ, 5)); SAY(prctl(PR_CAPBSET_READ, 63));
		 SAY(prctl(PR_CAPBSET_DROP, 99)); DO(capset_to(0xff, 0xff, 0x20)));
	IN_CHILD(SAY(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 3, 0, 0)); DO(capset_to(0xff, 0xff, 0x8));
		 SAY(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 3, 0, 0)); SAY(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, 3, 0, 0));
		 DO(capset_to(0xff, 0xff, 0)); SAY(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, 3, 0, 0));
		 SAY(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)); SAY(prctl(PR_CAP_AMBIENT, 99, 3, 0, 0)));
	IN_CHILD(SAY(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)); SAY(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)); SAY(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0)));
	IN_CHILD(gid_t g[4] = {9, 3, 7, 3}, got[9]; SAY(setgroups(4, g)); SAY(getgroups(0, 0)); SAY(getgroups(2, got)); SAY(getgroups(9, got));
		 printf("%u %u %u %u\n", got[0], got[1], got[2], got[3]); SAY(setgroups(65537, g)); setuid(1); SAY(setgroups(0, g)));
	IN_CHILD(SAY(prctl(PR_SET_DUMPABLE, 2)); SAY(prctl(PR_SET_DUMPABLE, 0)); SAY(prctl(PR_GET_DUMPABLE)); SAY(prctl(PR_SET_PDEATHSIG, 65));
		 SAY(prctl(PR_SET_TIMERSLACK, 1000)); SAY(prctl(PR_GET_TIMERSLACK)); SAY(prctl(PR_SET_TIMERSLACK, 0)); SAY(prctl(PR_GET_TIMERSLACK));
		 SAY(prctl(12345)); char name[17]; SAY(prctl(PR_SET_NAME, "a name that is too long")); prctl(PR_GET_NAME, name); puts(name));
	struct rlimit l;
	IN_CHILD(l = (struct rlimit){10, 20}; SAY(setrlimit(RLIMIT_NOFILE, &l)); getrlimit(RLIMIT_NOFILE, &l); printf("%lu %lu\n", l.rlim_cur, l.rlim_max);
		 l.rlim_cur = 21; SAY(setrlimit(RLIMIT_NOFILE, &l)); setuid(1); l = (struct rlimit){20, 30}; SAY(setrlimit(RLIMIT_NOFILE, &l));
		 l = (struct rlimit){5, 20}; SAY(setrlimit(RLIMIT_NOFILE, &l)); SAY(dup(0)); SAY(dup2(0, 5)); SAY(setrlimit(99, &l));
		 SAY(prlimit(getppid(), RLIMIT_NOFILE, 0, &l)); SAY(prlimit(0x7ffffff, RLIMIT_NOFILE, 0, &l)));
	IN_CHILD(l = (struct rlimit){1 << 30, 1 << 30}; SAY(setrlimit(RLIMIT_NOFILE, &l)));
	IN_CHILD(SAY(getpriority(PRIO_PROCESS, 0)); SAY(setpriority(PRIO_PROCESS, 0, 5)); SAY(getpriority(PRIO_PROCESS, 0)); SAY(setpriority(PRIO_PROCESS, 0, 99));
		 SAY(getpriority(PRIO_PGRP, 0)); SAY(setpriority(PRIO_PROCESS, 0, -30)); SAY(getpriority(PRIO_PROCESS, 0)); SAY(getpriority(7, 0));
		 SAY(getpriority(PRIO_PROCESS, 0x7ffffff)); SAY(getpriority(PRIO_USER, 4242)); setuid(1); SAY(setpriority(PRIO_PROCESS, 0, -20));
		 SAY(setpriority(PRIO_PROCESS, 0, -21)); SAY(setpriority(PRIO_PROCESS, 0, 3)); SAY(setpriority(PRIO_PROCESS, 0, 2)); SAY(setpriority(PRIO_PROCESS, getppid(), 2)));
	struct sched_param sp = {0};
	IN_CHILD(setuid(1); SAY(sched_getscheduler(0)); SAY(sched_setscheduler(0, SCHED_BATCH, &sp)); SAY(sched_getscheduler(0));
		 SAY(sched_setscheduler(0, SCHED_IDLE, &sp)); SAY(sched_setscheduler(0, 77, &sp)); SAY(sched_setscheduler(-1, 0, &sp)); sp.sched_priority = 5;
		 SAY(sched_setscheduler(0, SCHED_OTHER, &sp)); SAY(sched_setscheduler(0, SCHED_FIFO, &sp)); sp.sched_priority = 100;
		 SAY(sched_setscheduler(0, SCHED_FIFO, &sp)); SAY(sched_get_priority_max(SCHED_RR)); SAY(sched_get_priority_min(SCHED_FIFO));
		 SAY(sched_get_priority_max(SCHED_OTHER)); SAY(sched_get_priority_max(44)));
	cpu_set_t cpus;
	IN_CHILD(SAY(sched_getaffinity(0, sizeof cpus, &cpus)); int n = CPU_COUNT(&cpus); printf("%d\n", n == sysconf(_SC_NPROCESSORS_ONLN));
		 SAY(syscall(SYS_sched_getaffinity, 0, 8, &cpus)); SAY(syscall(SYS_sched_getaffinity, 0, 7, &cpus)); SAY(syscall(SYS_sched_getaffinity, 0, 12, &cpus));
		 CPU_ZERO(&cpus); SAY(sched_setaffinity(0, sizeof cpus, &cpus)); CPU_SET(0, &cpus); SAY(sched_setaffinity(0, sizeof cpus, &cpus));
		 sched_getaffinity(0, sizeof cpus, &cpus); printf("%d\n", CPU_COUNT(&cpus)); SAY(sched_setaffinity(0x7ffffff, sizeof cpus, &cpus)));
	IN_CHILD(SAY(syscall(SYS_ioprio_get, 1, 0)); SAY(syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 3)); SAY(syscall(SYS_ioprio_get, 1, 0)); SAY(syscall(SYS_ioprio_set, 1, 0, 7 << 13));
		 SAY(syscall(SYS_ioprio_set, 9, 0, 0)); SAY(syscall(SYS_ioprio_get, 1, 0x7ffffff)); SAY(syscall(SYS_ioprio_set, 1, 0, 5)); setuid(1);
		 SAY(syscall(SYS_ioprio_set, 1, 0, 1 << 13)));
	IN_CHILD(SAY(personality(0xffffffff)); SAY(personality(0x40000)); SAY(personality(0xffffffff)); SAY(personality(0)));
	/* Only what no kernel is built without. */
	IN_CHILD(setuid(1); char b[8]; SAY(sethostname("x", 1)); SAY(syscall(SYS_setdomainname, "x", 1)); SAY(syscall(SYS_reboot, 1, 2, 3, 4));
		 SAY(syscall(SYS_swapon, "/x", 0)); SAY(syscall(SYS_vhangup)); SAY(syscall(SYS_syslog, 99, b, 8)));
	return 0;
}
