"""The observer ``profile``: which system calls a program needs."""
