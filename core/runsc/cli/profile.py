"""``runsc profile``: run a command in a sandbox, and print the OCI seccomp profile that it needs."""

from __future__ import annotations

import os
import sys
import tempfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.config import Config
    from runsc.flags import Flag


def profile(config: Config, flags: tuple[Flag, ...], words: list[str], started: float) -> int:
    """Run the command as ``do`` would, its output going to stderr; the profile goes to stdout.

    The command's exit code. Raises ``RunscError``.
    """
    from runsc.cli.do import do

    with tempfile.TemporaryDirectory(prefix="runsc-profile-") as directory:
        path = os.path.join(directory, "profile.json")
        config.observer = [*config.observer, f"profile:{path}"]
        sys.stdout.flush()
        stdout = os.dup(1)
        # The profile must not be mixed up with what the command prints.
        os.dup2(2, 1)
        try:
            code = do(config, flags, words, started)
        finally:
            os.dup2(stdout, 1)
            os.close(stdout)
        with open(path, encoding="utf-8") as file:
            sys.stdout.write(file.read())
    return code
