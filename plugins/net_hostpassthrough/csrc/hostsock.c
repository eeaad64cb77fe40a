#define _GNU_SOURCE
#include "hostsock.h"

#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define ALWAYS (MSG_DONTWAIT | MSG_NOSIGNAL)

static inline int checked(int result) { return result < 0 ? -errno : result; }

int nh_socket(int family, int type, int protocol)
{
    return checked(socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol));
}

int nh_bind(int fd, const void *address, unsigned len) { return checked(bind(fd, address, len)); }

int nh_connect(int fd, const void *address, unsigned len) { return checked(connect(fd, address, len)); }

int nh_listen(int fd, int backlog) { return checked(listen(fd, backlog)); }

int nh_accept(int fd, struct nh_received *r)
{
    socklen_t len = sizeof r->address;
    int new = accept4(fd, (struct sockaddr *)r->address, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
    r->address_len = len < sizeof r->address ? len : sizeof r->address;
    return checked(new);
}

int nh_shutdown(int fd, int how) { return checked(shutdown(fd, how)); }

static int name_of(int (*call)(int, struct sockaddr *, socklen_t *), int fd, struct nh_received *r)
{
    socklen_t len = sizeof r->address;
    if (call(fd, (struct sockaddr *)r->address, &len) < 0)
        return -errno;
    r->address_len = len < sizeof r->address ? len : sizeof r->address;
    return (int)r->address_len;
}

static int own_name(int fd, struct sockaddr *a, socklen_t *len) { return getsockname(fd, a, len); }
static int peer_name(int fd, struct sockaddr *a, socklen_t *len) { return getpeername(fd, a, len); }

int nh_getsockname(int fd, struct nh_received *r) { return name_of(own_name, fd, r); }

int nh_getpeername(int fd, struct nh_received *r) { return name_of(peer_name, fd, r); }

int nh_getsockopt(int fd, int level, int name, void *value, unsigned len)
{
    socklen_t room = len;
    if (getsockopt(fd, level, name, value, &room) < 0)
        return -errno;
    return room < len ? (int)room : (int)len;
}

int nh_setsockopt(int fd, int level, int name, const void *value, unsigned len)
{
    return checked(setsockopt(fd, level, name, value, len));
}

int nh_ioctl(int fd, unsigned long request, void *arg) { return checked(ioctl(fd, request, arg)); }

int nh_ifconf(int fd, void *buffer, int len)
{
    struct ifconf conf;
    memset(&conf, 0, sizeof conf);
    conf.ifc_len = buffer ? len : 0;
    conf.ifc_buf = buffer;
    if (ioctl(fd, SIOCGIFCONF, &conf) < 0)
        return -errno;
    return conf.ifc_len;
}

int nh_poll(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN | POLLPRI | POLLOUT | POLLRDHUP | POLLRDNORM | POLLRDBAND |
                                           POLLWRNORM | POLLWRBAND};
    return poll(&p, 1, 0) < 0 ? -errno : (int)(uint16_t)p.revents;
}

int64_t nh_recv(int fd, void *buffer, uint64_t len, int flags)
{
    ssize_t n = recv(fd, buffer, len, flags | MSG_DONTWAIT);
    return n < 0 ? -errno : n;
}

int64_t nh_send(int fd, const void *data, uint64_t len, int flags)
{
    ssize_t n = send(fd, data, len, flags | ALWAYS);
    return n < 0 ? -errno : n;
}

int64_t nh_recvmsg(int fd, void *buffer, uint64_t len, int flags, struct nh_received *r)
{
    struct iovec io = {.iov_base = buffer, .iov_len = len};
    struct msghdr m = {.msg_name = r->address, .msg_namelen = sizeof r->address, .msg_iov = &io, .msg_iovlen = 1,
                       .msg_control = r->control, .msg_controllen = sizeof r->control};
    ssize_t n = recvmsg(fd, &m, flags | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0)
        return -errno;
    r->address_len = m.msg_namelen < sizeof r->address ? m.msg_namelen : sizeof r->address;
    r->control_len = m.msg_controllen < sizeof r->control ? m.msg_controllen : sizeof r->control;
    r->flags = (uint32_t)m.msg_flags;
    return n;
}

int64_t nh_sendmsg(int fd, const void *data, uint64_t len, int flags, const void *address, unsigned address_len,
                   const void *control, unsigned control_len)
{
    struct iovec io = {.iov_base = (void *)data, .iov_len = len};
    struct msghdr m = {.msg_name = address_len ? (void *)address : 0, .msg_namelen = address_len, .msg_iov = &io,
                       .msg_iovlen = 1, .msg_control = control_len ? (void *)control : 0,
                       .msg_controllen = control_len};
    ssize_t n = sendmsg(fd, &m, flags | ALWAYS);
    return n < 0 ? -errno : n;
}
