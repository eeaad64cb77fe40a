/* Strict mode, filters and what each action does, inheritance, TSYNC, user notification. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define ARG(n) (offsetof(struct seccomp_data, args) + 8 * (n))
#define RET(value) BPF_STMT(BPF_RET | BPF_K, value)

static const char *outcome(long result) { return result >= 0 ? "ok" : strerrorname_np(errno); }
static long install(unsigned op, unsigned flags, struct sock_filter *code, int count) {
    struct sock_fprog program = {count, code};
    return syscall(SYS_seccomp, op, flags, &program);
}
#define FILTER(flags, code) install(SECCOMP_SET_MODE_FILTER, flags, code, sizeof code / sizeof *code)

static void status_lines(void) {
    char text[8192] = "", *at;
    int fd = open("/proc/self/status", O_RDONLY);
    read(fd, text, sizeof text - 1);
    close(fd);
    for (at = strtok(text, "\n"); at; at = strtok(0, "\n"))
        if (!strncmp(at, "NoNewPrivs", 10) || !strncmp(at, "Seccomp", 7)) printf("%s\n", at);
}
static void in_child(const char *name, void (*body)(void)) {
    int child = fork(), status;
    if (!child) { body(); _exit(0); }
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) printf("%s: killed by %d\n", name, WTERMSIG(status));
    else printf("%s: exit %d\n", name, WEXITSTATUS(status));
}
static void strict(void) {
    printf("strict %s\n", outcome(prctl(PR_SET_SECCOMP, 1)));
    write(1, "still writes\n", 13);
    syscall(SYS_exit, 7);
}
static void strict_violated(void) { prctl(PR_SET_SECCOMP, 1); getpid(); syscall(SYS_exit, 7); }

/* One filter with an action for each of several calls. */
static struct sock_filter actions[] = {
    LOAD(arch), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0), RET(SECCOMP_RET_KILL_PROCESS),
    LOAD(nr),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgrp, 0, 1), RET(SECCOMP_RET_ERRNO | 42),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1), RET(SECCOMP_RET_ERRNO | 0),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getuid, 0, 1), RET(SECCOMP_RET_TRAP | 99),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getgid, 0, 1), RET(SECCOMP_RET_KILL_PROCESS),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_geteuid, 0, 1), RET(SECCOMP_RET_KILL_THREAD),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getegid, 0, 1), RET(SECCOMP_RET_TRACE | 5),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getsid, 0, 1), RET(SECCOMP_RET_USER_NOTIF),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 5000, 0, 1), RET(SECCOMP_RET_ERRNO | 77),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgid, 0, 7),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ARG(0)), BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xf0),
    BPF_STMT(BPF_ST, 3), BPF_STMT(BPF_LDX | BPF_W | BPF_IMM, 0x10), BPF_STMT(BPF_LD | BPF_MEM, 3),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_X, 0, 0, 1), RET(SECCOMP_RET_ERRNO | 11),
    RET(SECCOMP_RET_ALLOW),
};
static volatile int trapped, trap_code, trap_errno, trap_syscall, trap_arch;
static void on_trap(int sig, siginfo_t *info, void *context) {
    trapped = sig; trap_code = info->si_code; trap_errno = info->si_errno;
    trap_syscall = info->si_syscall; trap_arch = info->si_arch;
}
static void many(void) {
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    printf("filter %s\n", outcome(FILTER(0, actions)));
    errno = 0;
    printf("errno %ld %d\n", syscall(SYS_getpgrp), errno);
    printf("errno 0 %ld\n", syscall(SYS_getppid));
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
    sigaction(SIGSYS, &action, 0);
    long result = syscall(SYS_getuid);
    printf("trap result %ld signal %d code %d errno %d call %d arch %x\n", result, trapped, trap_code, trap_errno,
           trap_syscall, trap_arch);
    errno = 0;
    printf("trace %ld %s\n", syscall(SYS_getegid), strerrorname_np(errno));
    errno = 0;
    printf("notify %ld %s\n", syscall(SYS_getsid, 0), strerrorname_np(errno));
    errno = 0;
    printf("unknown %ld %d\n", syscall(5000), errno);
    printf("argument %ld", syscall(SYS_getpgid, 0) > 0);
    errno = 0;
    printf(" %ld %d\n", syscall(SYS_getpgid, 0x1f), errno);
    status_lines();
    int child = fork(), status;
    if (!child) { errno = 0; syscall(SYS_getpgrp); _exit(errno); }
    waitpid(child, &status, 0);
    printf("inherited %d\n", WEXITSTATUS(status));
    printf("mode %d strict %s\n", prctl(PR_GET_SECCOMP), outcome(prctl(PR_SET_SECCOMP, 1)));
}
static void kills_process(void) { prctl(38, 1, 0, 0, 0); FILTER(0, actions); syscall(SYS_getgid); }
static void *killed_thread(void *unused) { syscall(SYS_geteuid); return 0; }
static void kills_thread(void) {
    prctl(38, 1, 0, 0, 0); FILTER(0, actions);
    pthread_t thread;
    pthread_create(&thread, 0, killed_thread, 0);
    usleep(200000);
    _exit(3);
}
static void kills_only_thread(void) { prctl(38, 1, 0, 0, 0); FILTER(0, actions); syscall(SYS_geteuid); }
static void trap_default(void) { prctl(38, 1, 0, 0, 0); FILTER(0, actions); syscall(SYS_getuid); }
static void stacked(void) {
    struct sock_filter first[] = {LOAD(nr), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgrp, 0, 1),
                                  RET(SECCOMP_RET_ERRNO | 1), RET(SECCOMP_RET_ALLOW)};
    struct sock_filter second[] = {LOAD(nr), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgrp, 0, 1),
                                   RET(SECCOMP_RET_ERRNO | 2), RET(SECCOMP_RET_LOG)};
    struct sock_filter third[] = {LOAD(nr), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgrp, 0, 1),
                                  RET(SECCOMP_RET_LOG), RET(SECCOMP_RET_ALLOW)};
    prctl(38, 1, 0, 0, 0);
    FILTER(0, first); FILTER(0, second); FILTER(SECCOMP_FILTER_FLAG_LOG, third);
    errno = 0;
    long result = syscall(SYS_getpgrp);
    printf("stacked %ld %d\n", result, errno);
    status_lines();
}

/* What the kernel refuses. */
static void refused(void) {
    struct sock_filter empty[] = {RET(SECCOMP_RET_ALLOW)};
    if (setresuid(1234, 1234, 1234)) perror("setresuid");
    printf("without no_new_privs %s\n", outcome(FILTER(0, empty)));
    prctl(38, 1, 0, 0, 0);
    printf("no instructions %s\n", outcome(install(1, 0, empty, 0)));
    printf("too many %s\n", outcome(install(1, 0, empty, 4097)));
    printf("bad address %s\n", outcome(syscall(SYS_seccomp, 1, 0, 16)));
    printf("bad flags %s\n", outcome(FILTER(0x1000, empty)));
    printf("bad operation %s\n", outcome(syscall(SYS_seccomp, 77, 0, 0)));
    printf("strict with arguments %s %s\n", outcome(syscall(SYS_seccomp, 0, 1, 0)), outcome(syscall(SYS_seccomp, 0, 0, &empty)));
    printf("tsync and listener %s\n", outcome(FILTER(SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_NEW_LISTENER, empty)));
    printf("killable alone %s\n", outcome(FILTER(32, empty)));
    printf("prctl mode %s\n", outcome(prctl(PR_SET_SECCOMP, 5, 0)));
    static struct { const char *name; int count; struct sock_filter code[4]; } bad[] = {
        {"no return", 1, {LOAD(nr)}},
        {"jump too far", 2, {BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0), RET(0)}},
        {"branch too far", 2, {BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1), RET(0)}},
        {"load too far", 2, {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 64), RET(0)}},
        {"load unaligned", 2, {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 2), RET(0)}},
        {"load of a byte", 2, {BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0), RET(0)}},
        {"division by zero", 2, {BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 0), RET(0)}},
        {"modulo", 2, {BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, 3), RET(0)}},
        {"shift too far", 2, {BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 32), RET(0)}},
        {"memory out of range", 2, {BPF_STMT(BPF_ST, 16), RET(0)}},
        {"memory unwritten", 2, {BPF_STMT(BPF_LD | BPF_MEM, 0), RET(0)}},
        {"memory half written", 4, {BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0), BPF_STMT(BPF_ST, 0), BPF_STMT(BPF_LD | BPF_MEM, 0), RET(0)}},
        {"unknown code", 2, {BPF_STMT(0xfff, 0), RET(0)}},
        {"return of X", 1, {BPF_STMT(BPF_RET | BPF_X, 0)}},
    };
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        printf("%s: %s\n", bad[i].name, outcome(install(1, 0, bad[i].code, bad[i].count)));
    unsigned values[] = {0, 0x80000000, 0x30000, 0x50000, 0x7fc00000, 0x7ff00000, 0x7ffc0000, 0x7fff0000, 0x1234, 0x60000};
    for (int i = 0; i < 10; i++) printf("available %x %s\n", values[i], outcome(syscall(SYS_seccomp, 2, 0, &values[i])));
    struct seccomp_notif_sizes sizes;
    printf("sizes %s", outcome(syscall(SYS_seccomp, 3, 0, &sizes)));
    printf(" %d %d %d\n", sizes.seccomp_notif, sizes.seccomp_notif_resp, sizes.seccomp_data);
    struct sock_filter divide[] = {BPF_STMT(BPF_LD | BPF_IMM, 5), BPF_STMT(BPF_LDX | BPF_W | BPF_IMM, 0), BPF_STMT(BPF_ALU | BPF_DIV | BPF_X, 0), RET(SECCOMP_RET_ALLOW)};
    printf("division by X %s\n", outcome(FILTER(0, divide)));
}

static struct sock_filter only_pgrp[] = {LOAD(nr), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgrp, 0, 1),
                                         RET(SECCOMP_RET_ERRNO | 33), RET(SECCOMP_RET_ALLOW)};
static pthread_barrier_t barrier;
static void *synced(void *own) {
    if (own) FILTER(0, only_pgrp);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    errno = 0;
    syscall(SYS_getpgrp);
    printf("thread %d %d\n", errno, prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    return 0;
}
static void sync_threads(void) {
    pthread_t thread;
    pthread_barrier_init(&barrier, 0, 2);
    pthread_create(&thread, 0, synced, 0);
    pthread_barrier_wait(&barrier);
    prctl(38, 1, 0, 0, 0);
    printf("tsync %ld\n", FILTER(SECCOMP_FILTER_FLAG_TSYNC, only_pgrp));
    pthread_barrier_wait(&barrier);
    pthread_join(thread, 0);
}
static void sync_fails(void) {
    pthread_t thread;
    pthread_barrier_init(&barrier, 0, 2);
    prctl(38, 1, 0, 0, 0);
    pthread_create(&thread, 0, synced, (void *)1);
    pthread_barrier_wait(&barrier);
    printf("tsync names a thread %d\n", FILTER(SECCOMP_FILTER_FLAG_TSYNC, only_pgrp) > 0);
    printf("tsync esrch %s\n", outcome(FILTER(SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH, only_pgrp)));
    pthread_barrier_wait(&barrier);
    pthread_join(thread, 0);
}

static struct sock_filter asks[] = {LOAD(nr), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 2, 0),
                                    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgid, 1, 0), RET(SECCOMP_RET_ALLOW),
                                    RET(SECCOMP_RET_USER_NOTIF)};
static int send_fd(int socket, int fd) {
    char byte = 0, control[CMSG_SPACE(4)] = {0};
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET; head->cmsg_type = SCM_RIGHTS; head->cmsg_len = CMSG_LEN(4);
    *(int *)CMSG_DATA(head) = fd;
    return sendmsg(socket, &message, 0);
}
static int receive_fd(int socket) {
    char byte, control[CMSG_SPACE(4)];
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    recvmsg(socket, &message, 0);
    return *(int *)CMSG_DATA(CMSG_FIRSTHDR(&message));
}
static void notified(void) {
    int pair[2], status;
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    int child = fork();
    if (!child) {
        prctl(38, 1, 0, 0, 0);
        int listener = FILTER(SECCOMP_FILTER_FLAG_NEW_LISTENER, asks);
        printf("listener %s cloexec %d again %s\n", outcome(listener), fcntl(listener, F_GETFD),
               outcome(FILTER(SECCOMP_FILTER_FLAG_NEW_LISTENER, asks)));
        send_fd(pair[0], listener);
        close(listener);
        long value = syscall(SYS_getppid);
        printf("answered %ld\n", value);
        errno = 0;
        value = syscall(SYS_getppid);
        printf("refused %ld %d\n", value, errno);
        printf("continued %d\n", syscall(SYS_getpgid, 0) > 0);
        value = syscall(SYS_getppid);
        printf("descriptor %d %s\n", value == 100, outcome(write(value, "x", 1)));
        errno = 0;
        value = syscall(SYS_getppid);
        printf("nobody listens %ld %s\n", value, strerrorname_np(errno));
        _exit(0);
    }
    int fd = receive_fd(pair[1]);
    struct seccomp_notif request;
    struct seccomp_notif_resp response;
    for (int i = 0; i < 4; i++) {
        struct pollfd entry = {fd, POLLIN | POLLOUT, 0};
        poll(&entry, 1, 5000);
        int events = entry.revents & (POLLIN | POLLOUT);
        memset(&request, 0, sizeof request);
        int result = ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &request);
        entry.revents = 0;
        poll(&entry, 1, 0);
        printf("received %d events %d then %d pid %d call %d args %llu valid %d\n", result, events,
               entry.revents & (POLLIN | POLLOUT), request.pid == child, request.data.nr, request.data.nr == SYS_getpgid ? request.data.args[0] : 0,
               ioctl(fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &request.id));
        memset(&response, 0, sizeof response);
        response.id = request.id + 1;
        printf("wrong id %s\n", outcome(ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &response)));
        response.id = request.id;
        if (i == 0) response.val = 4711;
        if (i == 1) response.error = -33;
        if (i == 2) {
            response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
            response.val = 1;
            printf("continue with a value %s\n", outcome(ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &response)));
            response.val = 0;
        }
        if (i == 3) {
            struct seccomp_notif_addfd add = {.id = request.id, .flags = 1, .srcfd = open("/dev/null", O_WRONLY), .newfd = 100};
            printf("addfd %d\n", ioctl(fd, SECCOMP_IOCTL_NOTIF_ADDFD, &add));
            add.flags = 0; 
            printf("addfd without flag %s\n", outcome(ioctl(fd, SECCOMP_IOCTL_NOTIF_ADDFD, &add)));
            response.val = 100;
        }
        const char *sent = outcome(ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &response));
        usleep(100000); /* the child prints what it got */
        printf("sent %s\n", sent);
    }
    request.pid = 1;
    printf("not zeroed %s\n", outcome(ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &request)));
    close(fd);
    waitpid(child, &status, 0);
}
static void hang_up(void) {
    int pair[2], status;
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    int child = fork();
    if (!child) {
        prctl(38, 1, 0, 0, 0);
        send_fd(pair[0], FILTER(SECCOMP_FILTER_FLAG_NEW_LISTENER, asks));
        _exit(0);
    }
    int fd = receive_fd(pair[1]);
    waitpid(child, &status, 0);
    struct pollfd entry = {fd, POLLIN, 0};
    int ready = poll(&entry, 1, 5000);
    printf("hung up %d %d\n", ready, entry.revents);
}

int main(void) {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    setvbuf(stdout, 0, _IONBF, 0);
    in_child("strict", strict);
    in_child("strict violated", strict_violated);
    in_child("many", many);
    in_child("kill process", kills_process);
    in_child("kill thread", kills_thread);
    in_child("kill only thread", kills_only_thread);
    in_child("trap without handler", trap_default);
    in_child("stacked", stacked);
    in_child("refused", refused);
    in_child("tsync", sync_threads);
    in_child("tsync fails", sync_fails);
    in_child("notified", notified);
    in_child("hang up", hang_up);
    return 0;
}
