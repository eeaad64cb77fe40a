"""Host files as a file system of the kernel's: what the file-system plugins have in common.

A plugin says how the host is asked (``ops.HostOps``: by system calls of our own, by messages to a process
that makes them); here is what is done with the answers: inodes, descriptors that are shared and reused, and
what is known of names and attributes, for how long, and how changes by others are noticed.
"""
