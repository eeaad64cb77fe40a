"""Sockets: what they have in common (``file``), ancillary data (``scm``), and local sockets (``unix``)."""
