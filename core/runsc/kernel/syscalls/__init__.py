"""The system calls, a module for each family of manual pages; ``table`` puts them together."""
