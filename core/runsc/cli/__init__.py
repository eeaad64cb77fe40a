"""The command line. It parses and prints; what is done is done by the packages beside it."""
