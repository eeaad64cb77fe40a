"""The network that is none: no protocol but local sockets."""
