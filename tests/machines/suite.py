"""Runs tests of this checkout inside a machine: `suite.py RESULT PATH...`. Tells how many passed, and what did not and why."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from sriov_xdp.lab.machines.initramfs import MARK


class Outcomes:
    """What came of each test."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.passed and report.when == "call":
            self.passed += 1
        elif not report.passed:
            self.failed[report.nodeid] = str(report.longrepr)[-500:]


def main() -> None:
    if MARK not in Path("/proc/cmdline").read_text().split():
        sys.exit("suite: this is not one of our virtual machines; run `make test-kernels`")
    os.environ["CI"] = "true"  # a skip is a failure
    outcomes = Outcomes()
    pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:xdist", *sys.argv[2:]], plugins=[outcomes])
    Path(sys.argv[1]).write_text(json.dumps({"passed": outcomes.passed, "failed": outcomes.failed}))


main()
