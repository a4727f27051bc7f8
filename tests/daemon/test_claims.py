"""A name that one process has at a time, and that nobody without rights can keep from it."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from sriov_xdp.host.claim import Claimed, claim, is_claimed

NOBODY = 65534
HOLDER = """
import socket, sys
holding = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
holding.bind(chr(0) + sys.argv[1])
print(flush=True)
sys.stdin.read()
"""


@pytest.fixture
def name() -> str:
    return f"sriov-xdp-test/{os.getpid()}"


@pytest.fixture
def holder(request: pytest.FixtureRequest, name: str) -> Iterator[subprocess.Popen[str]]:
    """A process of the uid that the test says, which has the name."""
    command = [sys.executable, "-c", HOLDER, name]
    user = {"user": request.param, "group": request.param}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/", **user)
    assert process.stdout
    process.stdout.readline()
    yield process
    process.communicate()


@pytest.mark.parametrize("holder", [0], indirect=True)
def test_a_name_that_a_process_of_root_has(holder: subprocess.Popen[str], name: str) -> None:
    with pytest.raises(Claimed, match=f"is the name of process {holder.pid}$"):
        claim(name)
    assert is_claimed(name)
    holder.communicate()
    assert not is_claimed(name)
    claim(name).close()


@pytest.mark.parametrize("holder", [NOBODY], indirect=True)
@pytest.mark.usefixtures("holder")
def test_a_name_that_somebody_else_took_is_in_nobodys_way(name: str) -> None:
    assert not is_claimed(name)
    claim(name).close()


def test_a_name_is_free_when_it_is_let_go(name: str) -> None:
    held = claim(name)
    with pytest.raises(Claimed, match=f"process {os.getpid()}$"):
        claim(name)
    held.close()
    claim(name).close()
