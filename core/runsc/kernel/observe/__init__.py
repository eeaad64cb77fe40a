"""Watching a kernel at work: dispatch-table entries that tell, and events that are no system call's."""
