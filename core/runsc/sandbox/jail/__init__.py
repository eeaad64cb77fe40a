"""The jail: what the sandbox's process can still do on the host once a guest runs.

The process answers untrusted programs. Should one of them take it over, it shall be able to do as little as
possible. Three layers, each of which stands without the others:

1. ``landlock``: before the platform makes anything, the process enters a domain of its own, as far as the
   host's kernel has that. From there it can't signal, trace or read the memory of processes outside, and
   can't change or execute a file. The guest processes are made inside and inherit it.
2. ``capabilities``: all are given up but those that a plugin asks for.
3. ``rules`` and ``bpf``: a seccomp filter, put together from what the core (``core_calls``) and the chosen
   plugins (``host_calls()``) declare. Any other host call ends the process.

``enter`` does it, and ``preload`` sees to it that nothing needs to be imported or opened afterwards.
"""
