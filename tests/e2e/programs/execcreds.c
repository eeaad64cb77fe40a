/* Credentials across execve: root that is no root, root that was, secure bits, ambient capabilities. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void caps(int set, unsigned drop, unsigned inheritable)
{
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2] = {0};
	syscall(SYS_capget, &h, d);
	if (set) {
		d[0].effective &= ~drop;
		d[0].permitted &= ~drop;
		d[0].inheritable = inheritable;
		syscall(SYS_capset, &h, d);
		return;
	}
	uid_t r, e, s;
	gid_t rg, eg, sg;
	getresuid(&r, &e, &s);
	getresgid(&rg, &eg, &sg);
	/* CAP_SYS_RESOURCE is not in every container's bounding set. */
	unsigned mask = ~(1u << CAP_SYS_RESOURCE);
	printf("uid %d %d %d gid %d %d %d caps %x %x %x secure %ld keep %d bits %x dumpable %d\n", r, e, s, rg, eg, sg,
	       d[0].permitted & mask, d[0].effective & mask, d[0].inheritable, getauxval(AT_SECURE), prctl(PR_GET_KEEPCAPS),
	       prctl(PR_GET_SECUREBITS), prctl(PR_GET_DUMPABLE));
}

#define TRY(...) do { \
	fflush(stdout); \
	if (!fork()) { __VA_ARGS__; execl("/proc/self/exe", "x", "y", (char *)0); _exit(9); } \
	wait(0); } while (0)

int main(int argc, char **argv)
{
	if (argc > 1) {
		caps(0, 0, 0);
		return 0;
	}
	chdir("/");
	TRY();
	TRY(setuid(1));
	TRY(seteuid(1));
	TRY(setreuid(1, 0));
	TRY(setresuid(1, 1, 0));
	TRY(setresgid(1, 2, 3));
	TRY(prctl(PR_SET_KEEPCAPS, 1); setuid(1));
	TRY(prctl(PR_SET_SECUREBITS, 1));
	TRY(prctl(PR_SET_SECUREBITS, 1); setuid(1));
	TRY(caps(1, 0xf, 0));
	TRY(caps(1, 0xf, 0); prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	TRY(prctl(PR_CAPBSET_DROP, 3));
	TRY(caps(1, 0, 0x30); prctl(PR_SET_KEEPCAPS, 1); prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 4, 0, 0); setresuid(1, 1, 1);
	    caps(1, 0, 0x30); prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 4, 0, 0));
	TRY(caps(1, 0, 0x30); prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 4, 0, 0); prctl(PR_SET_SECUREBITS, 3));
	TRY(setgid(5); setuid(6); prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	return 0;
}
