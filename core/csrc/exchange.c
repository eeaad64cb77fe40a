/* Messages between processes of ours: framed by a length, with descriptors passed along. */
#define _GNU_SOURCE
#include "native.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#define MAX_PASSED 4

/* A connected pair; a read or write on the first that takes longer than so many seconds fails. */
int rn_socketpair(int *pair, int seconds) {
    struct timeval patience = {seconds, 0};
    int room = 1 << 20;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    return 0;
}

/* Send all of it, with descriptors at its first byte. */
int rn_send(int fd, const void *data, size_t size, const int *passed, int count) {
    char control[CMSG_SPACE(MAX_PASSED * sizeof(int))];
    size_t done = 0;

    if (count < 0 || count > MAX_PASSED)
        return -EINVAL;
    while (done < size) {
        struct iovec part = {(char *)(uintptr_t)data + done, size - done};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
        ssize_t sent;

        if (count && !done) {
            struct cmsghdr *head = (struct cmsghdr *)control;

            memset(control, 0, sizeof control);
            head->cmsg_level = SOL_SOCKET;
            head->cmsg_type = SCM_RIGHTS;
            head->cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
            memcpy(CMSG_DATA(head), passed, (size_t)count * sizeof(int));
            message.msg_control = control;
            message.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
        }
        sent = sendmsg(fd, &message, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        done += (size_t)sent;
    }
    return 0;
}

/* How much of the buffer is whole messages (each begins with its length, 32 bit, itself included), up to `count`
 * of them; -1 if a length can't be. */
static int64_t whole(const char *data, size_t have, size_t room, int *count) {
    size_t at = 0;
    int left = *count;

    while (left && have - at >= 4) {
        uint32_t length;

        memcpy(&length, data + at, 4);
        if (length < 7 || length > room)
            return -1;
        if (have - at < length)
            break;
        at += length;
        left--;
    }
    *count = left;
    return (int64_t)at;
}

/* Send a request and wait for `count` messages in reply; their size. Descriptors that come along go to `passed`
 * (MAX_PASSED of them, -1 where there is none), close-on-exec. -EPIPE if the other side is gone, -EAGAIN if it
 * doesn't answer in time, -EPROTO if it answers nonsense. */
int64_t rn_exchange(int fd, const void *request, size_t size, void *reply, size_t room, int count, int *passed) {
    char control[CMSG_SPACE(MAX_PASSED * sizeof(int))];
    size_t have = 0;
    int result = rn_send(fd, request, size, NULL, 0), got = 0;

    for (int i = 0; i < MAX_PASSED; i++)
        passed[i] = -1;
    if (result < 0)
        return result;
    for (;;) {
        struct iovec part = {(char *)reply + have, room - have};
        struct msghdr message = {
            .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
        int left = count;
        int64_t complete;
        ssize_t n;

        if (have == room)
            return -EPROTO;
        n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        for (struct cmsghdr *head = CMSG_FIRSTHDR(&message); head; head = CMSG_NXTHDR(&message, head)) {
            if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
                continue;
            for (size_t i = 0; CMSG_LEN((i + 1) * sizeof(int)) <= head->cmsg_len; i++) {
                int received;

                memcpy(&received, CMSG_DATA(head) + i * sizeof(int), sizeof received);
                if (got < MAX_PASSED)
                    passed[got++] = received;
                else
                    close(received);
            }
        }
        if (n == 0)
            return -EPIPE;
        have += (size_t)n;
        complete = whole(reply, have, room, &left);
        if (complete < 0 || (!left && (size_t)complete != have))
            return -EPROTO;
        if (!left)
            return complete;
    }
}

/* A copy of the mounts below a directory (or of a file's), in no namespace: ".." leads nowhere from its root. */
int rn_detached(int fd) {
    int tree = (int)syscall(SYS_open_tree, fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);

    return tree < 0 ? -errno : tree;
}

/* Leave the host's file tree: a mount namespace of our own, and an empty directory, which can't be written, as root.
 * The working directory stays. */
int rn_leave_tree(void) {
    int context, root, here, result = 0;

    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return -errno;
    context = (int)syscall(SYS_fsopen, "tmpfs", 1);
    if (context < 0)
        return -errno;
    if (syscall(SYS_fsconfig, context, 6 /* FSCONFIG_CMD_CREATE */, NULL, NULL, 0) < 0 ||
        (root = (int)syscall(SYS_fsmount, context, 1, 1 /* MOUNT_ATTR_RDONLY */)) < 0) {
        result = -errno;
        close(context);
        return result;
    }
    close(context);
    here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (here < 0 || fchdir(root) < 0 || chroot(".") < 0 || fchdir(here) < 0)
        result = -errno;
    close(here);
    close(root);
    return result;
}
