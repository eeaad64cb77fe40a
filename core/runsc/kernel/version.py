"""The Linux version that guests are told they run on (uname(2), /proc/version)."""

from runsc import __version__

#: A long-term release whose calls are the ones we follow; programs that compare versions know it.
RELEASE = "6.1.0-runsc"
VERSION = f"#1 SMP runsc {__version__}"
MACHINE = "x86_64"
