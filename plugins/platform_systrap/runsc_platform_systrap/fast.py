"""The engine's functions for what happens at every event (csrc/python.c)."""

from __future__ import annotations

from runsc_platform_systrap._engine import lib

if lib.sy_python_install() < 0:
    raise ImportError("no memory for the engine's functions")

from runsc_platform_systrap._fast import bind_engine, bind_space, bind_thread

__all__ = ["bind_engine", "bind_space", "bind_thread"]
