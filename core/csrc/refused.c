/* For finding out what a jail refuses: a handler for SIGSYS that writes the call down and answers EPERM. */
#define _GNU_SOURCE
#include "native.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ucontext.h>
#include <unistd.h>

static int report_fd = -1;

/* Async-signal-safe: the number in base 10 or 16. */
static char *put_number(char *at, uint64_t value, unsigned base) {
    char digits[24];
    int n = 0;

    do
        digits[n++] = "0123456789abcdef"[value % base];
    while ((value /= base) != 0);
    while (n > 0)
        *at++ = digits[--n];
    return at;
}

static char *put_text(char *at, const char *text) {
    while (*text != '\0')
        *at++ = *text++;
    return at;
}

static void on_sigsys(int signo, siginfo_t *info, void *context) {
    static const int arguments[] = {REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9};
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
    int saved = errno;
    char line[256], *at = line;

    (void)signo;
    at = put_text(at, "jail: refused host call ");
    at = put_number(at, (uint64_t)(unsigned)info->si_syscall, 10);
    for (size_t i = 0; i < sizeof arguments / sizeof *arguments; i++) {
        at = put_text(at, i == 0 ? "(0x" : ", 0x");
        at = put_number(at, (uint64_t)regs[arguments[i]], 16);
    }
    at = put_text(at, ")\n");
    if (write(report_fd, line, (size_t)(at - line)) < 0)
        errno = 0; /* nobody can be told */
    regs[REG_RAX] = -EPERM;
    errno = saved;
}

int rn_report_refused(int fd) {
    struct sigaction sa = {.sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO | SA_NODEFER};

    report_fd = fd;
    sigemptyset(&sa.sa_mask);
    return sigaction(SIGSYS, &sa, NULL) < 0 ? -errno : 0;
}
