/* Host calls that Python has no functions for. Each answers a result or -errno and does no policy. */
#ifndef RUNSC_NATIVE_H
#define RUNSC_NATIVE_H

#include <stdint.h>

int rn_no_new_privs(void);
int64_t rn_capabilities(void);
int rn_set_capabilities(uint64_t set);
int rn_clear_ambient(void);
int rn_drop_bounding(uint64_t keep);
int rn_seccomp(const void *program, unsigned instructions);

int rn_landlock_abi(void);
int rn_landlock_ruleset(uint64_t files, uint64_t net, uint64_t scopes, unsigned size);
int rn_landlock_allow(int ruleset, uint64_t access, int fd);
int rn_landlock_restrict(int ruleset);

int rn_report_refused(int fd);

#endif
