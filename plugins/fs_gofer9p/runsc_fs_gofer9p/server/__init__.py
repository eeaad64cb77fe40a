"""The gofer's side: a 9P2000.L server on the host's files. It imports nothing of the kernel's."""
