"""Comparing configurations: one command under several of them, in turn, and what the difference is worth."""
