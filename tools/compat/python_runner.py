"""Runs one module of CPython's tests and tells how each test ended; started by ``python_suite``
with a bare Python.

stdin: JSON {"module": "test.test_os", "done": [ids to leave out], "only": [ids] or null, "seconds": for each
test}. stdout: a JSON object a line: {"start": id}, then {"id":, "status":, "detail":, "seconds":}. What the
tests print goes to stderr. A test that hangs ends the process, after its traceback was printed.
"""

import faulthandler
import json
import os
import sys
import time
import traceback
import unittest
from collections.abc import Iterator
from typing import Any, TextIO


def flatten(suite: unittest.TestSuite) -> Iterator[Any]:
    """The tests of a suite, in order."""
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from flatten(item)
        else:
            yield item


class Lines(unittest.TestResult):
    """Writes each outcome as it comes."""

    def __init__(self, out: TextIO, seconds: float) -> None:
        super().__init__()
        self.out = out
        self.limit = seconds
        self.begun = 0.0
        self.worst: tuple[str, str] | None = None

    def say(self, **line: Any) -> None:
        self.out.write(json.dumps(line) + "\n")
        self.out.flush()

    def startTest(self, test: Any) -> None:  # noqa: N802
        super().startTest(test)
        self.worst = None
        self.say(start=test.id())
        self.begun = time.monotonic()
        faulthandler.dump_traceback_later(self.limit, exit=True, file=2)

    def stopTest(self, test: Any) -> None:  # noqa: N802
        faulthandler.cancel_dump_traceback_later()
        status, detail = self.worst or ("pass", "")
        self.say(id=test.id(), status=status, detail=detail, seconds=round(time.monotonic() - self.begun, 3))
        super().stopTest(test)

    def bad(self, test: Any, err: Any) -> None:
        text = "".join(traceback.format_exception(*err))
        if isinstance(test, unittest.TestCase):
            self.worst = ("fail", text[-1500:])
        else:  # a fixture of a class or module
            self.say(id=test.id(), status="fail", detail=text[-1500:], seconds=0)

    def addError(self, test: Any, err: Any) -> None:  # noqa: N802
        self.bad(test, err)

    def addFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        self.bad(test, err)

    def addSkip(self, test: Any, reason: str) -> None:  # noqa: N802
        if isinstance(test, unittest.TestCase):
            if self.worst is None:
                self.worst = ("skip", reason)
        else:
            self.say(id=test.id(), status="skip", detail=reason, seconds=0)

    def addUnexpectedSuccess(self, test: Any) -> None:  # noqa: N802
        self.worst = ("fail", "unexpected success")

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: N802
        if err is not None:
            self.bad(test, err)


def main() -> None:
    order = json.load(sys.stdin)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    from test import support

    support.use_resources = order.get("resources", [])
    support.verbose = 0
    support.failfast = False
    loader = unittest.TestLoader()
    try:
        suite = loader.loadTestsFromName(order["module"])
    except unittest.SkipTest as skip:
        Lines(out, 0).say(id=order["module"], status="skip", detail=str(skip), seconds=0)
        os._exit(0)
    done, only = set(order["done"]), order["only"]
    chosen = [t for t in flatten(suite) if t.id() not in done and (only is None or t.id() in only)]
    result = Lines(out, order["seconds"])
    unittest.TestSuite(chosen).run(result)
    out.write(json.dumps({"end": True}) + "\n")
    out.flush()
    # Threads and children that a failed test left must not keep us.
    os._exit(0)


if __name__ == "__main__":
    main()
