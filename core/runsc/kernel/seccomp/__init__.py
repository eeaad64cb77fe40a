"""Seccomp inside the sandbox (seccomp(2)): filters that guests put on themselves, or that a container starts
with."""
