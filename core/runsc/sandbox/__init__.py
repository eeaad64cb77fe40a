"""The processes of a sandbox: how they are started, watched and ended."""
