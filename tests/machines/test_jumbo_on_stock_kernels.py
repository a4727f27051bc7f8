"""Frames of several buffers on stock kernels: job.py does it inside a machine, here is what must come of it.

One boot for each test, minutes each.
"""

import itertools
from pathlib import Path
from typing import Any

import pytest

from sriov_xdp.lab.machines import machine
from sriov_xdp.lab.machines.kernels import Kernel
from sriov_xdp.lab.machines.machine import Ended

JOB = Path(__file__).with_name("job.py")
LIMIT_SECONDS = 1500  # minutes where nothing else runs
ROUNDS, GSO_ROUNDS = 3000, 100
SIZES = [1472, 3464, 3465, 4096, 8000, 8972]
IN_ONE_BUFFER = SIZES[:3]  # all that reaches a guest that runs XDP while the port is on tc
BOTH_BY_XDP = {"vm1": "xdp", "vm2": "xdp", "uplink": "native"}

REFUSED_WHERE_IT_IS_LONG = {"sent": {"long": {"ENOBUFS": ROUNDS}, "short": {"ok": ROUNDS}}, "arrived": {"short": ROUNDS}}
ALL_WHOLE = {"sent": {"long": {"ok": ROUNDS}, "short": {"ok": ROUNDS}}, "arrived": {"long": ROUNDS, "short": ROUNDS}}


def run(kernel: Kernel, job: str) -> Ended:
    return machine.run(kernel, JOB, job, limit_seconds=LIMIT_SECONDS)


def result(ended: Ended) -> dict[str, Any]:
    """Of a machine that lived to its end."""
    assert (None, 0) == (ended.panic, ended.exit_code), ended.describe()
    return dict(ended.result)


def pairs(names: list[str], value: object) -> dict[str, object]:
    return {f"{one} to {two}": value for one, two in itertools.permutations(names, 2)}


def pieces(whole_bytes: int, rest_bytes: int) -> dict[str, dict[str, int]]:
    return {"sent": {"ok": GSO_ROUNDS}, "arrived": {str(whole_bytes): 4 * GSO_ROUNDS, str(rest_bytes): GSO_ROUNDS}}


def only_the_rest(rest_bytes: int) -> dict[str, dict[str, int]]:
    """Of a super frame that is cut into pieces above the MTU, what fits."""
    return {"sent": {"ok": GSO_ROUNDS}, "arrived": {str(rest_bytes): GSO_ROUNDS}}


def test_a_guest_with_a_larger_mtu_of_its_own_sends_nothing_long_into_xdp(unfixed: Kernel) -> None:
    """The representor's MTU keeps out plain frames and what the kernel cuts a super frame into."""
    tcp_rest, udp_rest = 14 + 20 + 20 + 1327, 14 + 20 + 8 + 1327
    expected = {
        "paths": BOTH_BY_XDP,
        "plain, vm1 to vm2": REFUSED_WHERE_IT_IS_LONG,
        "plain, vm1 to wire": REFUSED_WHERE_IT_IS_LONG,
        "plain, wire to vm2": REFUSED_WHERE_IT_IS_LONG,
        "tcp by 1400": pieces(14 + 20 + 20 + 1400, tcp_rest),
        "tcp by 8000": only_the_rest(tcp_rest),
        "udp by 1400": pieces(14 + 20 + 8 + 1400, udp_rest),
        "udp by 8000": only_the_rest(udp_rest),
        "tcp by 8000 with offloads on": only_the_rest(tcp_rest),
        "afterwards": {f"{pair}": [1472] for pair in ("vm1 to vm2", "vm2 to vm1", "wire to vm1", "vm1 to wire")},
    }
    assert expected == result(run(unfixed, "standard_mtu"))


@pytest.mark.parametrize("kernel", ["unfixed", "distribution"])
def test_above_3502_a_switch_stays_on_tc_and_carries_jumbo_frames(request: pytest.FixtureRequest, kernel: str) -> None:
    seen = result(run(request.getfixturevalue(kernel), "jumbo_by_tc"))
    refused = {
        step: (seen[step][0], "MTU 9000 is above 3502" in seen.pop(step)[1]) for step in ("pinned by command", "pinned by file")
    }
    assert {"pinned by command": (4, True), "pinned by file": (1, True)} == refused
    guest = seen.pop("guest with a program")
    assert ("tcx", True, True) == (guest["active"], guest["guest_runs_xdp"], guest["reason"].startswith("auto: no XDP: MTU 9000"))
    names = ["auto1", "auto2", "tcx1", "wire"]
    expected = {
        "paths": {"auto1": "tcx", "auto2": "tcx", "tcx1": "tcx", "uplink": "none"},
        "taken back": [0, ""],
        "udp": pairs(names, SIZES),
        "tcp": pairs(names, value=True),
        "recipe": ALL_WHOLE,
        "udp to it": dict.fromkeys(names[1:], IN_ONE_BUFFER),
        "udp from it": dict.fromkeys(names[1:], SIZES),
        "recipe to it": {**ALL_WHOLE, "arrived": {"short": ROUNDS}},
        "recipe to a guest that sends back": "survived",
        "afterwards": SIZES,
    }
    assert expected == seen


def test_a_live_change_of_mtu_never_lets_long_frames_into_xdp(unfixed: Kernel) -> None:
    jumbo = {"applied": [0, ""], "vm1": "tcx", "vm2": "tcx", "representor": 9000}
    standard = {"applied": [0, ""], "vm1": "xdp", "vm2": "xdp", "representor": 1500}
    steps = {f"{mtu}, time {time}": step for time in (1, 2) for mtu, step in ((9000, jumbo), (1500, standard))}
    assert {**steps, "afterwards": [1472]} == result(run(unfixed, "live_change"))


def test_these_frames_end_an_unfixed_kernel_that_was_told_to_allow_them(unfixed: Kernel) -> None:
    """The control: without it, all that is said of panics above would say nothing."""
    ended = run(unfixed, "recipe_by_xdp")
    assert {"paths": BOTH_BY_XDP} == ended.result
    assert ("Kernel panic - not syncing: Fatal exception in interrupt", True) == (ended.panic, "veth_xdp_rcv" in ended.console)


def test_jumbo_by_xdp_works_on_a_fixed_kernel(fixed: Kernel) -> None:
    names = ["xdp1", "tcx1", "xdp2", "wire"]
    by_xdp = {"xdp1": "xdp", "tcx1": "tcx", "xdp2": "xdp", "uplink": "native"}
    expected = {
        "paths": by_xdp,
        "udp": pairs(names, SIZES),
        "tcp": pairs(names, value=True),
        "broadcast": {name: [other for other in names if other != name] for name in names},
        **{f"recipe, {pair}": ALL_WHOLE for pair in ("xdp1 to xdp2", "xdp2 to xdp1", "wire to xdp1", "xdp1 to wire")},
        "oversize": {"arrived": [9014], "drops": 1},
        "live to 1500": {"applied": [0, ""], "udp": [1472], **by_xdp},
        "live to 9000": {"applied": [0, ""], "udp": [8972], **by_xdp},
    }
    assert expected == result(run(fixed, "jumbo_by_xdp"))
