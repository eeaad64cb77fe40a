/* pidfd_open, pidfd_send_signal, pidfd_getfd, CLONE_PIDFD, waitid(P_PIDFD), poll. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int pidfd_open(int pid, unsigned flags) { return syscall(434, pid, flags); }
static int pidfd_send(int fd, int sig, void *info, unsigned flags) { return syscall(424, fd, sig, info, flags); }
static int pidfd_getfd(int fd, int target, unsigned flags) { return syscall(438, fd, target, flags); }
static const char *outcome(long result) { return result >= 0 ? "ok" : strerrorname_np(errno); }
static int events(int fd) {
    struct pollfd entry = {fd, POLLIN | POLLOUT, 0};
    poll(&entry, 1, 0);
    return entry.revents & (POLLIN | POLLOUT);
}
static volatile int got, got_code, got_pid;
static void handler(int sig, siginfo_t *info, void *context) {
    got = sig; got_code = info->si_code; got_pid = info->si_pid;
}

int main(void) {
    setvbuf(stdout, 0, _IONBF, 0);
    printf("flags %s\n", outcome(pidfd_open(getpid(), 1)));
    printf("zero %s\n", outcome(pidfd_open(0, 0)));
    printf("negative %s\n", outcome(pidfd_open(-1, 0)));
    printf("nobody %s\n", outcome(pidfd_open(0x3ffffff, 0)));
    int self = pidfd_open(getpid(), O_NONBLOCK);
    printf("self %s cloexec %d nonblock %d\n", outcome(self), fcntl(self, F_GETFD), !!(fcntl(self, F_GETFL) & O_NONBLOCK));
    char byte;
    printf("read %s write %s\n", outcome(read(self, &byte, 1)), outcome(write(self, &byte, 1)));

    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    sigaction(SIGUSR1, &action, 0);
    printf("signal %s", outcome(pidfd_send(self, SIGUSR1, 0, 0)));
    printf(" %d %d %d\n", got, got_code, got_pid == getpid());
    printf("signal 0 %s bad %s flags %s\n", outcome(pidfd_send(self, 0, 0, 0)), outcome(pidfd_send(self, 99, 0, 0)),
           outcome(pidfd_send(self, 0, 0, 64)));
    printf("no pidfd %s closed %s\n", outcome(pidfd_send(1, 0, 0, 0)), outcome(pidfd_send(99, 0, 0, 0)));
    siginfo_t info;
    memset(&info, 0, sizeof info);
    info.si_signo = SIGUSR1; info.si_code = SI_QUEUE; info.si_pid = 77;
    printf("queue %s", outcome(pidfd_send(self, SIGUSR1, &info, 0)));
    printf(" %d %d\n", got_code, got_pid);
    printf("other number %s\n", outcome(pidfd_send(self, SIGUSR2, &info, 0)));
    int directory = open("/proc/self", O_RDONLY | O_DIRECTORY);
    printf("by directory %s\n", outcome(pidfd_send(directory, SIGUSR1, 0, 0)));

    int ends[2];
    pipe(ends);
    int child = fork();
    if (!child) { dup2(ends[1], 50); char c; read(ends[0], &c, 1); _exit(5); }
    int fd = pidfd_open(child, 0);
    printf("child %s events %d\n", outcome(fd), events(fd));
    info.si_code = 0;
    printf("forged %s\n", outcome(pidfd_send(fd, SIGUSR1, &info, 0)));
    usleep(100000);
    int taken = pidfd_getfd(fd, 50, 0);
    printf("getfd %s cloexec %d", outcome(taken), fcntl(taken, F_GETFD));
    printf("\n");
    printf("getfd closed %s flags %s no pidfd %s\n", outcome(pidfd_getfd(fd, 77, 0)), outcome(pidfd_getfd(fd, 1, 1)),
           outcome(pidfd_getfd(1, 1, 0)));
    printf(" write %s\n", outcome(write(taken, "x", 1)));
    struct pollfd entry = {fd, POLLIN, 0};
    int ready = poll(&entry, 1, 5000);
    printf("poll %d %d\n", ready, entry.revents & POLLIN);
    printf("zombie getfd %s signal %s\n", outcome(pidfd_getfd(fd, 1, 0)), outcome(pidfd_send(fd, 0, 0, 0)));
    memset(&info, 0, sizeof info);
    printf("waitid %s", outcome(waitid(3, fd, &info, WEXITED)));
    printf(" %d %d %d\n", info.si_code, info.si_status, info.si_pid == child);
    printf("again %s events %d signal %s\n", outcome(waitid(3, fd, &info, WEXITED)), events(fd), outcome(pidfd_send(fd, 0, 0, 0)));
    printf("no pidfd %s negative %s\n", outcome(waitid(3, 1, &info, WEXITED)), outcome(waitid(3, -5, &info, WEXITED)));
    printf("reopen %s\n", outcome(pidfd_open(child, 0)));
    char path[64], text[4096] = "";
    sprintf(path, "/proc/self/fdinfo/%d", fd);
    int file = open(path, O_RDONLY);
    read(file, text, sizeof text - 1);
    printf("fdinfo %s", strstr(text, "Pid:"));

    int cloned = -1;
    child = syscall(SYS_clone, 0x1000 | SIGCHLD, 0, &cloned, 0, 0);
    if (!child) { pause(); _exit(0); }
    printf("clone %d cloexec %d\n", cloned >= 0, fcntl(cloned, F_GETFD));
    fcntl(cloned, F_SETFL, O_NONBLOCK);
    printf("nonblocking %s\n", outcome(waitid(3, cloned, &info, WEXITED)));
    printf("kill %s", outcome(pidfd_send(cloned, SIGKILL, 0, 0)));
    fcntl(cloned, F_SETFL, 0);
    memset(&info, 0, sizeof info);
    printf(" %s %d %d\n", outcome(waitid(3, cloned, &info, WEXITED)), info.si_code, info.si_status);
    printf("clone with parent tid %s\n", outcome(syscall(SYS_clone, 0x1000 | 0x100000 | SIGCHLD, 0, &cloned, 0, 0)));
    printf("clone bad address %s\n", outcome(syscall(SYS_clone, 0x1000 | SIGCHLD, 0, 16, 0, 0)));
    return 0;
}
