"""Terminals: the line discipline, job control, and pseudoterminals (tty(4), pty(7))."""
