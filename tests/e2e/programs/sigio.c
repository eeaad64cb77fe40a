/* O_ASYNC: which signals come, to whom, and what they say. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t count, signo, code, fd_told, band;

static void handler(int sig, siginfo_t *info, void *context)
{
    (void)context;
    count++;
    signo = sig;
    code = info->si_code;
    fd_told = info->si_fd;
    band = (int)info->si_band;
}

static void show(const char *what)
{
    if (count)
        printf("%s: signal %d code %d\n", what, (int)signo, (int)code);
    else
        printf("%s: none\n", what);
    count = 0;
    fflush(stdout);
}

int main(void)
{
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigaction(SIGIO, &action, NULL);
    sigaction(SIGRTMIN + 3, &action, NULL);
    int on = 1, off = 0, pair[2], ends[2];
    char byte;

    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    printf("FIOASYNC %d\n", ioctl(pair[0], FIOASYNC, &on));
    printf("flags %d\n", !!(fcntl(pair[0], F_GETFL) & O_ASYNC));
    write(pair[1], "a", 1);
    show("no owner");
    printf("own %d", fcntl(pair[0], F_SETOWN, getpid()));
    printf(" %d\n", fcntl(pair[0], F_GETOWN) == getpid());
    write(pair[1], "b", 1);
    show("data");
    fcntl(pair[0], F_SETSIG, SIGRTMIN + 3);
    write(pair[1], "c", 1);
    printf("fd %d band %x ", fd_told == pair[0], (unsigned)band);
    show("real-time");
    ioctl(pair[0], FIOASYNC, &off);
    printf("flags %d\n", !!(fcntl(pair[0], F_GETFL) & O_ASYNC));
    write(pair[1], "d", 1);
    show("switched off");

    pipe(ends);
    fcntl(ends[0], F_SETOWN, -getpgrp());
    printf("group %d\n", fcntl(ends[0], F_GETOWN) == -getpgrp());
    fcntl(ends[0], F_SETFL, O_ASYNC | O_NONBLOCK);
    if (fork() == 0) {
        write(ends[1], "x", 1);
        _exit(count == 1 ? 7 : 8);
    }
    int status;
    while (wait(&status) < 0)
        ;
    printf("child %d\n", WEXITSTATUS(status));
    show("pipe");
    read(ends[0], &byte, 1);
    show("after reading");
    close(ends[1]);
    count = 0;

    struct f_owner_ex owner = {F_OWNER_TID, gettid()};
    printf("ex %d", fcntl(ends[0], F_SETOWN_EX, &owner));
    memset(&owner, 0, sizeof owner);
    fcntl(ends[0], F_GETOWN_EX, &owner);
    printf(" %d %d\n", owner.type, owner.pid == gettid());
    printf("nobody %d", fcntl(ends[0], F_SETOWN, 999999));
    printf(" %s\n", errno == ESRCH ? "ESRCH" : "?");

    int file = open("/tmp", O_RDONLY | O_DIRECTORY);
    printf("directory %d %s\n", ioctl(file, FIOASYNC, &on), errno == ENOTTY ? "ENOTTY" : "?");
    printf("setfl %d %d\n", fcntl(file, F_SETFL, O_ASYNC), !!(fcntl(file, F_GETFL) & O_ASYNC));
    int number = getpid();
    printf("FIOSETOWN %d", ioctl(pair[0], FIOSETOWN, &number));
    number = 0;
    printf(" %d %d\n", ioctl(pair[0], FIOGETOWN, &number), number == getpid());
    return 0;
}
