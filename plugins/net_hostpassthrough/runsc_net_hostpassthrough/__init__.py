"""The host's own network stack: guest sockets are host sockets."""
