/* Giving up rights: no_new_privs, capabilities, seccomp, Landlock. */
#define _GNU_SOURCE
#include "native.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif
#define LANDLOCK_VERSION 1
#define LANDLOCK_PATH_BENEATH 1

static int answer(long result) { return result < 0 ? -errno : (int)result; }

int rn_no_new_privs(void) { return answer(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)); }

/* The permitted set. */
int64_t rn_capabilities(void) {
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];

    if (syscall(SYS_capget, &head, data) < 0)
        return -errno;
    return (int64_t)((uint64_t)data[1].permitted << 32 | data[0].permitted);
}

/* Permitted and effective; nothing is inherited. */
int rn_set_capabilities(uint64_t set) {
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {
        {(uint32_t)set, (uint32_t)set, 0},
        {(uint32_t)(set >> 32), (uint32_t)(set >> 32), 0},
    };

    return answer(syscall(SYS_capset, &head, data));
}

int rn_clear_ambient(void) { return answer(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)); }

/* EINVAL ends the list of capabilities that the host's kernel knows. */
int rn_drop_bounding(uint64_t keep) {
    for (int cap = 0; cap < 64; cap++)
        if (!(keep >> cap & 1) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
            return errno == EINVAL ? 0 : -errno;
    return 0;
}

/* For all threads. Positive: the id of a thread that can't take the filter. */
int rn_seccomp(const void *program, unsigned instructions) {
    struct sock_fprog prog = {(unsigned short)instructions, (struct sock_filter *)(uintptr_t)program};

    if (instructions > BPF_MAXINSNS)
        return -EINVAL;
    return answer(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog));
}

int rn_landlock_abi(void) { return answer(syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_VERSION)); }

/* size: of the attributes that the host's kernel knows (it refuses others even where they are 0). */
int rn_landlock_ruleset(uint64_t files, uint64_t net, uint64_t scopes, unsigned size) {
    uint64_t attributes[3] = {files, net, scopes};

    if (size > sizeof attributes)
        return -EINVAL;
    return answer(syscall(SYS_landlock_create_ruleset, attributes, (size_t)size, 0));
}

int rn_landlock_allow(int ruleset, uint64_t access, int fd) {
    struct {
        uint64_t access;
        int32_t fd;
    } __attribute__((packed)) beneath = {access, fd};

    return answer(syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_PATH_BENEATH, &beneath, 0));
}

int rn_landlock_restrict(int ruleset) { return answer(syscall(SYS_landlock_restrict_self, ruleset, 0)); }
