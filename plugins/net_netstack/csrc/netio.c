#define _GNU_SOURCE
#include "netio.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

int ns_receive(int fd, unsigned char *arena, size_t slot, unsigned count, uint32_t *lengths)
{
    struct mmsghdr messages[NS_BATCH];
    struct iovec io[NS_BATCH];
    if (count > NS_BATCH)
        count = NS_BATCH;
    memset(messages, 0, count * sizeof messages[0]);
    for (unsigned i = 0; i < count; i++) {
        io[i].iov_base = arena + i * slot;
        io[i].iov_len = slot;
        messages[i].msg_hdr.msg_iov = &io[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    int n = recvmmsg(fd, messages, count, MSG_DONTWAIT | MSG_TRUNC, 0);
    if (n < 0)
        return -errno;
    for (int i = 0; i < n; i++)
        lengths[i] = messages[i].msg_len;
    return n;
}

int ns_send(int fd, const unsigned char *data, const uint32_t *lengths, unsigned count)
{
    struct mmsghdr messages[NS_BATCH];
    struct iovec io[NS_BATCH];
    if (count > NS_BATCH)
        count = NS_BATCH;
    memset(messages, 0, count * sizeof messages[0]);
    for (unsigned i = 0; i < count; i++) {
        io[i].iov_base = (void *)data;
        io[i].iov_len = lengths[i];
        data += lengths[i];
        messages[i].msg_hdr.msg_iov = &io[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    int n = sendmmsg(fd, messages, count, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n < 0 ? -errno : n;
}

uint32_t ns_sum(const unsigned char *data, size_t length, uint32_t initial)
{
    /* Added up in the processor's own byte order, 64 bits at a time with the carry coming around, and turned
     * in the end: the sum doesn't depend on the order of bytes (RFC 1071, 2. (B)). */
    uint64_t sum = 0, word, carry = 0;
    while (length >= 8) {
        memcpy(&word, data, 8);
        sum += word;
        carry += sum < word;
        data += 8;
        length -= 8;
    }
    word = 0;
    memcpy(&word, data, length);
    sum += word;
    carry += sum < word;
    sum = (sum >> 32) + (sum & 0xFFFFFFFF) + carry;
    while (sum >> 16)
        sum = (sum >> 16) + (sum & 0xFFFF);
    sum = ((sum & 0xFF) << 8 | sum >> 8) + initial;
    while (sum >> 16)
        sum = (sum >> 16) + (sum & 0xFFFF);
    return (uint32_t)sum;
}

int ns_disconnect(int fd)
{
    struct sockaddr none;
    memset(&none, 0, sizeof none);
    none.sa_family = AF_UNSPEC;
    return connect(fd, &none, sizeof none) < 0 ? -errno : 0;
}

int ns_shutdown(int fd) { return shutdown(fd, SHUT_WR) < 0 ? -errno : 0; }
