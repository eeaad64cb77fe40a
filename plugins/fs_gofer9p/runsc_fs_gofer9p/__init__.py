"""Host files through a process that makes the calls: the gofer (``--fs=gofer9p``)."""
