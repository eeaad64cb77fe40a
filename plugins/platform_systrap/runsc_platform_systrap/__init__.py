"""The systrap platform: a seccomp filter turns guests' system calls into signals, handled in shared memory."""
