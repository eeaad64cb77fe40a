"""The file system that reaches the host's files by the sandbox's own system calls (``--fs=direct``)."""
