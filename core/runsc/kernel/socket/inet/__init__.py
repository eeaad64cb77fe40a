"""AF_INET and AF_INET6 over a loopback inside the kernel.

A socket's data goes straight into the queue of the socket at the other end; no packets are built. What a
program can see of a connection (states, errors, ports, options) is as Linux shows it on 127.0.0.0/8 and ::1.
"""
