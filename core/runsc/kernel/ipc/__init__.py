"""System V IPC and POSIX message queues (ipc/ of Linux): one set of objects for each IPC namespace."""
