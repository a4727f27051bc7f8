"""Which kernels may take frames of several buffers through XDP, and what that does to a port's mode."""

import pytest

from sriov_xdp.host import kernel
from sriov_xdp.host.kernel import JumboXdp
from sriov_xdp.pf.state import modes
from sriov_xdp.pf.state.intent import Datapath

LOSES_THEM = JumboXdp(
    is_allowed=False, because="kernel 6.1.192 loses frames of several buffers that XDP redirects, as all before 6.3"
)
UNFIXED = JumboXdp(is_allowed=False, because="kernel 6.12.100 is not known to carry the page_pool fix, without which it can panic")
FIXED = JumboXdp(is_allowed=True, because="kernel 6.12.117 carries the page_pool fix of 6.12.115")


@pytest.mark.parametrize(
    ("release", "build", "expected"),
    [
        ("6.1.0-52-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-1 (2026-11-01)", (6, 1, 192)),
        ("6.12.117+deb13-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.12.117-1 (2026-11-10)", (6, 12, 117)),
        ("6.12.95+deb12-amd64", "#1 SMP Debian 6.12.95-1~bpo12+1 (2026-06-01)", (6, 12, 95)),
        ("6.18.44-fc-v595", "#1 SMP PREEMPT_DYNAMIC @0", (6, 18, 44)),
        ("6.8.0-45-generic", "#45-Ubuntu SMP", (6, 8, 0)),
        ("7.0-rc1", "#1 SMP", None),
        ("strange", "", None),
    ],
)
def test_the_stable_release_behind_what_uname_says(release: str, build: str, expected: tuple[int, int, int] | None) -> None:
    assert expected == kernel.version(release, build)


@pytest.mark.parametrize(
    ("release", "build", "is_allowed"),
    [
        ("6.1.0-56-amd64", "#1 SMP Debian 6.1.192-2", False),
        ("6.2.16", "#1 SMP", False),
        ("6.3.0", "#1 SMP", False),
        ("6.12.999+deb12-amd64", "#1 SMP Debian 6.12.114-1~deb12u1", False),
        ("6.12.114", "#1 SMP", False),
        ("6.12.115", "#1 SMP", True),
        ("6.18.15+deb13-amd64", "#1 SMP Debian 6.18.15-1", False),
        ("6.18.999", "#1 SMP", False),
        ("7.3.4", "#1 SMP", False),
        ("strange", "", False),
    ],
)
def test_a_kernel_that_is_not_known_to_be_fixed_is_unfixed(release: str, build: str, is_allowed: bool) -> None:
    assert is_allowed == kernel.jumbo_xdp(release, build).is_allowed


def test_the_observation_names_the_kernel() -> None:
    assert UNFIXED == kernel.jumbo_xdp("6.12.100", "")
    assert FIXED == kernel.jumbo_xdp("6.12.117+deb13-amd64", "#1 SMP Debian 6.12.117-1")
    assert LOSES_THEM == kernel.jumbo_xdp("6.1.0-56-amd64", "#1 SMP Debian 6.1.192-2")


@pytest.mark.parametrize(
    ("mode", "guest_runs_xdp", "mtu_bytes", "jumbo", "expected"),
    [
        (Datapath.AUTO, False, 1500, UNFIXED, (Datapath.TCX, "auto: the guest is an ordinary stack")),
        (Datapath.AUTO, True, 1500, UNFIXED, (Datapath.XDP, "auto: the guest runs an XDP program")),
        (Datapath.AUTO, True, 3502, UNFIXED, (Datapath.XDP, "auto: the guest runs an XDP program")),
        (Datapath.AUTO, True, 3503, UNFIXED, (Datapath.TCX, f"auto: no XDP: MTU 3503 is above 3502 and {UNFIXED.because}")),
        (Datapath.AUTO, False, 9000, UNFIXED, (Datapath.TCX, "auto: the guest is an ordinary stack")),
        (Datapath.XDP, False, 9000, UNFIXED, (Datapath.TCX, f"xdp: no XDP: MTU 9000 is above 3502 and {UNFIXED.because}")),
        (Datapath.TCX, True, 9000, UNFIXED, (Datapath.TCX, "configured")),
        (Datapath.XDP, False, 9000, FIXED, (Datapath.XDP, "configured")),
        (Datapath.AUTO, True, 9000, FIXED, (Datapath.XDP, "auto: the guest runs an XDP program")),
    ],
)
def test_the_mode_of_a_port(
    mode: Datapath, guest_runs_xdp: bool, mtu_bytes: int, jumbo: JumboXdp, expected: tuple[Datapath, str]
) -> None:
    assert expected == modes.active_datapath(mode, guest_runs_xdp=guest_runs_xdp, mtu_bytes=mtu_bytes, jumbo=jumbo)


@pytest.mark.parametrize(
    ("mode", "mtu_bytes", "jumbo", "is_refused"),
    [
        (Datapath.XDP, 3502, UNFIXED, False),
        (Datapath.XDP, 3503, UNFIXED, True),
        (Datapath.XDP, 9000, FIXED, False),
        (Datapath.AUTO, 9000, UNFIXED, False),
        (Datapath.TCX, 9000, UNFIXED, False),
    ],
)
def test_only_a_pinned_port_is_refused(mode: Datapath, mtu_bytes: int, jumbo: JumboXdp, is_refused: bool) -> None:
    assert is_refused == (modes.pinned_problem("VF pf0vf1", mode, mtu_bytes, jumbo) is not None)
