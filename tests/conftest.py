"""Common to all tests: a skip is a failure in CI; programs are compiled once for all daemons, and commands imported once."""

import os
import shutil
import tempfile
from collections.abc import Generator
from typing import Any

import pytest
from forks import Forks

from sriov_xdp.lab.host import CACHE_VARIABLE
from sriov_xdp.lab.launching import launch_by


def pytest_configure(config: pytest.Config) -> None:
    """Workers and daemons have it from their environment."""
    launch_by(Forks())
    if CACHE_VARIABLE not in os.environ:
        os.environ[CACHE_VARIABLE] = tempfile.mkdtemp(prefix="sriov-xdp-compiled-")
        config.add_cleanup(lambda: shutil.rmtree(os.environ.pop(CACHE_VARIABLE)))


# Whole files go to one process; those that take minutes go first, so that no process is left with one at the end.
_LONG_FILES = (
    "test_model_parity.py",
    "test_port_policy.py",
    "test_programs_parity.py",
    "test_many_rounds.py",
    "test_failing_hands.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All others in their order."""
    rank = {name: number for number, name in enumerate(_LONG_FILES)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: skipped, which counts as a failure in CI: {report.longrepr}"
    return report
