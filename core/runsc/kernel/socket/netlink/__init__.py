"""AF_NETLINK (netlink(7)): the socket (``socket``), and asking about interfaces, addresses and routes
(``route``)."""
