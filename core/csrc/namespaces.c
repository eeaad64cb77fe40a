/* Name spaces of the host (namespaces(7)). */
#define _GNU_SOURCE
#include "native.h"

#include <errno.h>
#include <sched.h>

int rn_unshare(int flags) { return unshare(flags) < 0 ? -errno : 0; }

int rn_setns(int fd, int flags) { return setns(fd, flags) < 0 ? -errno : 0; }
