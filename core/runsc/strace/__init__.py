"""Printing the guest's system calls and signals the way strace(1) does."""
