"""The main job on the kernels that Debian 12 and 13 have: field.py does it inside a machine, here is what must come of it.

`.ci/run` runs the smoke, two machines of one CPU each side by side.
"""

from pathlib import Path
from typing import Any

import pytest

from sriov_xdp.lab.machines import kernels, machine
from sriov_xdp.lab.machines.kernels import Kernel

JOB = Path(__file__).with_name("job.py")
LIMIT_SECONDS = 900
STOCK = {"distribution": kernels.of_distribution, "6.12": lambda: kernels.of_branch((6, 12))}  # Debian 12's is 6.1
MODES = {"xdp1": "xdp", "tcx1": "tcx", "auto1": "tcx"}
NAMES = [*MODES, "wire"]
SIZES = [18, 1472]


@pytest.fixture(params=STOCK)
def kernel(request: pytest.FixtureRequest) -> Kernel:
    return STOCK[request.param]()


def result(kernel: Kernel, job: str) -> dict[str, Any]:
    ended = machine.run(kernel, JOB, job, limit_seconds=LIMIT_SECONDS, memory_mib=2048)
    assert (None, 0) == (ended.panic, ended.exit_code), ended.describe()
    return dict(ended.result)


def pairs(value: object) -> dict[str, object]:
    return {f"{one} to {two}": value for one in NAMES for two in NAMES if one != two}


def test_smoke(kernel: Kernel) -> None:
    expected = {
        "paths": {**MODES, "uplink": "native"},
        "udp": pairs(SIZES),
        "tcp": pairs(True),
        "broadcast": {name: [other for other in NAMES if other != name] for name in NAMES},
        "without a daemon": SIZES,
        "MAC that is rejected": {"outcome": "pretended", "is_effective": False},
        "MAC that is accepted": {"outcome": "granted", "is_effective": True},
        "frames with it": SIZES,
    }
    assert expected == result(kernel, "smoke")


def test_the_host_keeps_its_vlans_and_lldp(kernel: Kernel) -> None:
    expected = {
        "the wire reaches": {"host": True, "web": True},
        "the host hears the VLAN's broadcasts": True,
        "the guest hears them too": True,
        "LLDP": True,
        "the guest goes on": True,
    }
    assert expected == result(kernel, "host_vlans")


def test_a_guests_bond_over_two_pfs_fails_over_and_back(kernel: Kernel) -> None:
    expected = {"by the first": True, "by the second": True, "by the first again": True}
    assert expected == result(kernel, "guest_bond")


@pytest.mark.parametrize(
    "paths", [("tests/bpf",), ("tests/netns",), ("tests/daemon/test_mac_story.py", "tests/daemon/test_lifecycle.py")], ids=" ".join
)
def test_suites_hold(kernel: Kernel, paths: tuple[str, ...]) -> None:
    ended = machine.run(kernel, Path(__file__).with_name("suite.py"), *paths, limit_seconds=3600)
    assert (None, 0) == (ended.panic, ended.exit_code), ended.describe()
    assert {} == ended.result["failed"]
    assert ended.result["passed"] > 0
