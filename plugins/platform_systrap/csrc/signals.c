/* Sleeping without losing the end of a guest process.
 *
 * SIGCHLD is blocked in the loop's thread except inside ppoll(2), so one that comes after the last look
 * ends the sleep.  A signal disposition belongs to the whole process: the handler
 * passes the signal on when it ran in another thread than a loop's.
 */
#define _GNU_SOURCE
#include "engine.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MAX_ENGINES 256

static volatile unsigned long chld_count;
static volatile pid_t loops[MAX_ENGINES]; /* loop threads, one entry an engine */
static int engines;
static struct sigaction old_action;
/* What sleeps run with: SIGCHLD comes through. */
static __thread sigset_t sleep_mask;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void on_chld(int signo, siginfo_t *info, void *context) {
    int saved = errno;
    (void)signo;
    (void)context;
    __atomic_add_fetch(&chld_count, 1, __ATOMIC_SEQ_CST);
    if (info->si_code != SI_TKILL) {
        pid_t self = (pid_t)syscall(SYS_gettid), told = self;
        for (int i = 0; i < MAX_ENGINES; i++) {
            pid_t tid = loops[i];
            if (tid != 0 && tid != self && tid != told) {
                syscall(SYS_tgkill, getpid(), tid, SIGCHLD);
                told = tid;
            }
        }
    }
    errno = saved;
}

unsigned long sy_chld_count(void) { return __atomic_load_n(&chld_count, __ATOMIC_SEQ_CST); }

int sy_signals_open(struct sy_engine *e) {
    sigset_t set;
    int slot = -1;

    e->loop_tid = (pid_t)syscall(SYS_gettid);
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MAX_ENGINES && slot < 0; i++)
        if (loops[i] == 0)
            slot = i;
    if (slot < 0) {
        pthread_mutex_unlock(&lock);
        return -EMFILE;
    }
    loops[slot] = e->loop_tid;
    if (engines++ == 0) {
        struct sigaction sa = {.sa_sigaction = on_chld, .sa_flags = SA_SIGINFO | SA_RESTART};
        sigemptyset(&sa.sa_mask);
        sigaction(SIGCHLD, &sa, &old_action);
    }
    pthread_mutex_unlock(&lock);
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    pthread_sigmask(SIG_BLOCK, &set, &sleep_mask);
    sigdelset(&sleep_mask, SIGCHLD);
    return 0;
}

void sy_signals_close(struct sy_engine *e) {
    int mine = 0;

    pthread_mutex_lock(&lock);
    for (int i = 0, freed = 0; i < MAX_ENGINES; i++) {
        if (loops[i] != e->loop_tid)
            continue;
        if (!freed++)
            loops[i] = 0;
        else
            mine++;
    }
    if (--engines == 0)
        sigaction(SIGCHLD, &old_action, NULL);
    pthread_mutex_unlock(&lock);
    if (mine == 0 && (pid_t)syscall(SYS_gettid) == e->loop_tid) {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGCHLD);
        pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    }
}

int sy_sleep(const int *fds, int n, int64_t ns) {
    struct pollfd pfd[4];
    struct timespec ts = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    int ready = 0;

    if (ns != 0) { /* only to look: the mask of the last sleep will do */
        pthread_sigmask(SIG_BLOCK, NULL, &sleep_mask);
        sigdelset(&sleep_mask, SIGCHLD);
    }
    for (int i = 0; i < n; i++)
        pfd[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
    if (ppoll(pfd, (nfds_t)n, ns < 0 ? NULL : &ts, &sleep_mask) < 0)
        return errno == EINTR ? -EINTR : 0;
    for (int i = 0; i < n; i++)
        if (pfd[i].revents != 0)
            ready |= 1 << i;
    return ready;
}
