"""Which kind of program serves a port: what is configured, what the guest does, and what its MTU allows. Pure; for the PF.

Above LARGEST_XDP_MTU_BYTES a frame needs several buffers, which XDP on a veth may only take on kernels that are known to
survive it (host/kernel.py). The MTU of a representor is the enforcement point: the kernel refuses a guest's longer frame at
the representor before anything converts it, whatever MTU the guest gave its own end (is_skb_forwardable()).
"""

from sriov_xdp.datapath.abi import BUFFER_BYTES
from sriov_xdp.host.kernel import JumboXdp
from sriov_xdp.pf.state.intent import Datapath

LARGEST_XDP_MTU_BYTES = BUFFER_BYTES - 18  # less Ethernet header and tag: 3502


def xdp_problem(mtu_bytes: int, jumbo: JumboXdp) -> str | None:
    """Why a veth with this MTU must not run XDP; None when it may."""
    if mtu_bytes <= LARGEST_XDP_MTU_BYTES or jumbo.is_allowed:
        return None
    return f"MTU {mtu_bytes} is above {LARGEST_XDP_MTU_BYTES} and {jumbo.because}"


def pinned_problem(subject: str, mode: Datapath, mtu_bytes: int, jumbo: JumboXdp) -> str | None:
    """Why the operator cannot pin a port to XDP; None when it can be had."""
    problem = xdp_problem(mtu_bytes, jumbo) if mode is Datapath.XDP else None
    if problem is None:
        return None
    return f"{subject}: datapath xdp: {problem}; use auto or tcx, lower the switch's mtu, or start with --jumbo-xdp allow"


def active_datapath(mode: Datapath, *, guest_runs_xdp: bool, mtu_bytes: int, jumbo: JumboXdp) -> tuple[Datapath, str]:
    """The program kind for a configured mode, and why."""
    wants_xdp = mode is Datapath.XDP or (mode is Datapath.AUTO and guest_runs_xdp)
    problem = xdp_problem(mtu_bytes, jumbo) if wants_xdp else None
    if problem is not None:
        return Datapath.TCX, f"{mode}: no XDP: {problem}"
    if mode is not Datapath.AUTO:
        return mode, "configured"
    if guest_runs_xdp:
        return Datapath.XDP, "auto: the guest runs an XDP program"
    return Datapath.TCX, "auto: the guest is an ordinary stack"
