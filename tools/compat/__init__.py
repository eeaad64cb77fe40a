"""Runs what other people wrote natively and in a sandbox, in one run, and compares test by test.

    make compat                                   everything, on every platform (an hour or two)
    make compat ARGS="python:test_os stress:pipe" one part of it
    make compat ARGS="--list"                     what there is

The parts: a ``Suite`` names ``Unit``s (a module of CPython's own tests, a stressor of stress-ng); a ``Place``
(native, or one platform) runs a unit and gives an outcome for each test in it; ``report`` compares them and
writes JSON, text and docs/compatibility.md.
"""
