"""Programs on devices: which kind runs where, by tcx link where the kernel has them, by clsact filter otherwise.

The tc program is on every port, always: attached first, detached last. XDP comes on top.
"""

from sriov_xdp.datapath.libbpf import XDP_FLAGS_DRV_MODE, AttachType
from sriov_xdp.host import clsact
from sriov_xdp.pf.context import Context
from sriov_xdp.pf.intent import VfAddress


def attach_tc(context: Context, name: str, program: str, ifindex: int) -> None:
    """The tc program on a device."""
    if context.has_tcx:
        context.pins.attach(f"{name}_tc", program, ifindex, AttachType.TCX_INGRESS)
    else:
        clsact.attach(ifindex, context.pins.program_fd(program), program)


def attach_xdp(context: Context, name: str, program: str, ifindex: int) -> None:
    """The XDP program in a device's driver. Raises DataPathError."""
    context.pins.attach(f"{name}_xdp", program, ifindex, AttachType.XDP, flags=XDP_FLAGS_DRV_MODE)


def has_xdp(context: Context, name: str) -> bool:
    """Whether a device runs the XDP program, from an earlier run too."""
    return context.pins.has_link(f"{name}_xdp")


def attach_vf_tc(context: Context, vf: VfAddress, ifindex: int) -> None:
    """The slow path of a VF."""
    attach_tc(context, str(vf), "tc_vf", ifindex)


def attach_vf_xdp(context: Context, vf: VfAddress, ifindex: int) -> None:
    """The XDP path of a VF."""
    attach_xdp(context, str(vf), "xdp_vf", ifindex)


def detach_xdp(context: Context, name: str) -> None:
    """Leaves the tc program alone on the device."""
    context.pins.detach(f"{name}_xdp")


def detach_all(context: Context, name: str, ifindex: int) -> None:
    """Everything off a device. A device that is gone took its programs along; the pins still go."""
    context.pins.detach(f"{name}_xdp")
    context.pins.detach(f"{name}_tc")
    if not context.has_tcx:
        clsact.detach(ifindex)
