/* Many readers of one pipe, and many timers: each byte is read once, everybody hears of the end. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define READERS 12
#define BYTES 500

static void nothing(int signo) { (void)signo; }

static void readers(int killed)
{
    int data[2], counts[2], status, ends = 0;
    pid_t pids[READERS];
    pipe(data);
    pipe(counts);
    for (int i = 0; i < READERS; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            close(data[1]);
            struct sigaction action = {.sa_handler = nothing};
            sigaction(SIGUSR1, &action, NULL);
            int seen = 0;
            char byte;
            ssize_t got;
            while ((got = read(data[0], &byte, 1)) != 0) {
                if (got > 0)
                    seen++;
            }
            write(counts[1], &seen, sizeof seen);
            _exit(got == 0 ? 0 : 1);
        }
    }
    close(data[0]);
    usleep(50000);
    for (int i = 0; i < BYTES; i++) {
        write(data[1], "x", 1);
        if (killed && i % 50 == 0)
            kill(pids[i / 50 % READERS], SIGUSR1);
        if (i % 100 == 0)
            usleep(2000);
    }
    write(data[1], "many at once, for more than one", 31);
    usleep(20000);
    close(data[1]);
    for (int i = 0; i < READERS; i++) {
        waitpid(pids[i], &status, 0);
        ends += status == 0;
    }
    int sum = 0, one;
    for (int i = 0; i < READERS; i++)
        sum += read(counts[0], &one, sizeof one) == sizeof one ? one : 0;
    printf("bytes %d ends %d\n", sum, ends);
    fflush(stdout);
}

/* Timers with periods far shorter than what a signal costs: everybody gets on nevertheless. */
static void timers(void)
{
    int done = 0, status;
    for (int i = 0; i < 16; i++)
        if (fork() == 0) {
            struct sigaction action = {.sa_handler = nothing};
            sigaction(SIGRTMIN, &action, NULL);
            struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
            struct itimerspec spec = {{0, 10000}, {0, 10000}};
            timer_t timer;
            timer_create(CLOCK_REALTIME, &event, &timer);
            timer_settime(timer, 0, &spec, NULL);
            for (volatile int n = 0; n < 200000; n++)
                if (n % 2000 == 0)
                    getppid();
            _exit(0);
        }
    while (wait(&status) > 0)
        done += status == 0;
    printf("timers %d\n", done);
}

int main(void)
{
    readers(0);
    readers(1);
    timers();
    return 0;
}
