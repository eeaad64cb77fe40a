"""The observer ``measure``: where a sandbox's time goes, system call by system call."""
