/* Packets in and out of a host descriptor in batches, and the Internet checksum.
 *
 * Nothing here decides anything: which bytes are a packet, and what is done with it, is Python's business.
 */
#ifndef NETIO_H
#define NETIO_H

#include <stddef.h>
#include <stdint.h>

/* The most packets of one batch. */
#define NS_BATCH 64

/* Receive up to count packets without waiting, each into its slot of arena; lengths[i] is the whole length of
 * the i-th, which is more than slot if it was cut off. How many came, or -errno. */
int ns_receive(int fd, unsigned char *arena, size_t slot, unsigned count, uint32_t *lengths);

/* Send count packets that stand behind each other in data. How many went out, or -errno if the first did not. */
int ns_send(int fd, const unsigned char *data, const uint32_t *lengths, unsigned count);

/* The one's complement sum of big-endian 16-bit words, folded to 16 bits, begun with initial (RFC 1071). An odd
 * byte at the end counts as the high one of a word. */
uint32_t ns_sum(const unsigned char *data, size_t length, uint32_t initial);

/* Dissolve a connection of a TCP socket, which can then be connected anew; and end its sending direction. 0 or
 * -errno. */
int ns_disconnect(int fd);
int ns_shutdown(int fd);

#endif
