"""``--network=sandbox``: a TCP/IP stack on the links of a network namespace."""
