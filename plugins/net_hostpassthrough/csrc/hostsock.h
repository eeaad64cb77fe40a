/* Socket calls on host descriptors, with addresses and control messages as raw bytes.
 *
 * Python's own socket module takes addresses as text and can't say everything that connect(2) can. Each function
 * answers what the call answers, or -errno. None blocks: descriptors are O_NONBLOCK, and MSG_DONTWAIT is added.
 */
#ifndef HOSTSOCK_H
#define HOSTSOCK_H

#include <stdint.h>

#define NH_ADDRESS_MAX 128
#define NH_CONTROL_MAX 4096

/* What comes with a message besides its data. */
struct nh_received {
    uint32_t address_len;
    uint32_t control_len;
    uint32_t flags;
    unsigned char address[NH_ADDRESS_MAX];
    _Alignas(8) unsigned char control[NH_CONTROL_MAX];
};

int nh_socket(int family, int type, int protocol);
int nh_bind(int fd, const void *address, unsigned len);
int nh_connect(int fd, const void *address, unsigned len);
int nh_listen(int fd, int backlog);
/* The new descriptor; the peer's address goes to r. */
int nh_accept(int fd, struct nh_received *r);
int nh_shutdown(int fd, int how);
/* The length of the address, which goes to r. */
int nh_getsockname(int fd, struct nh_received *r);
int nh_getpeername(int fd, struct nh_received *r);
/* The length of the value. */
int nh_getsockopt(int fd, int level, int name, void *value, unsigned len);
int nh_setsockopt(int fd, int level, int name, const void *value, unsigned len);
int nh_ioctl(int fd, unsigned long request, void *arg);
/* SIOCGIFCONF: the length of what was, or (buffer NULL) would be written. */
int nh_ifconf(int fd, void *buffer, int len);
/* The events of poll(2) that hold now. */
int nh_poll(int fd);
int64_t nh_recv(int fd, void *buffer, uint64_t len, int flags);
int64_t nh_send(int fd, const void *data, uint64_t len, int flags);
int64_t nh_recvmsg(int fd, void *buffer, uint64_t len, int flags, struct nh_received *r);
int64_t nh_sendmsg(int fd, const void *data, uint64_t len, int flags, const void *address, unsigned address_len,
                   const void *control, unsigned control_len);

#endif
