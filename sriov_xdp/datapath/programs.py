"""The programs of the switch: which there are, of which file and kind, and which others jump to. For the datapath package."""

from dataclasses import dataclass

from sriov_xdp.datapath import abi, libbpf
from sriov_xdp.datapath.libbpf import AttachType, ProgramType


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramKind:
    """How a program is loaded."""

    type: ProgramType
    attach: AttachType = AttachType.NONE
    flags: int = 0


# Every XDP program accepts multi-buffer frames: one devmap serves them all, and the kernel wants them alike.
_XDP = ProgramKind(type=ProgramType.XDP, attach=AttachType.XDP, flags=libbpf.BPF_F_XDP_HAS_FRAGS)
_TC = ProgramKind(type=ProgramType.SCHED_CLS)
_RAW = ProgramKind(type=ProgramType.RAW_TRACEPOINT)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramSpec:
    """One program. stages, stage: the array by which others jump to it, and its place there."""

    name: str
    file: str
    kind: ProgramKind
    stages: str = ""
    stage: int = 0


SINGLE_PROGRAMS = (
    ProgramSpec(name="xdp_vf", file="xdp.c", kind=_XDP),
    ProgramSpec(name="xdp_long", file="xdp.c", kind=_XDP, stages="xdp_stages", stage=abi.Stage.LONG),
    ProgramSpec(name="xdp_flood", file="xdp.c", kind=_XDP, stages="xdp_stages", stage=abi.Stage.FLOOD),
    ProgramSpec(name="tc_vf", file="tc.c", kind=_TC),
    ProgramSpec(name="tc_flood", file="tc.c", kind=_TC, stages="tc_stages", stage=abi.Stage.FLOOD),
    ProgramSpec(name="on_devmap_xmit", file="watch.c", kind=_RAW),
    ProgramSpec(name="on_redirect_error", file="watch.c", kind=_RAW),
)
# Each uplink has its own copies, which know its slot.
UPLINK_PROGRAMS = (
    ProgramSpec(name="xdp_uplink", file="xdp.c", kind=_XDP),
    ProgramSpec(name="tc_uplink", file="tc.c", kind=_TC),
)
FILES = tuple(dict.fromkeys(spec.file for spec in (*SINGLE_PROGRAMS, *UPLINK_PROGRAMS)))


def copy_of(spec: ProgramSpec, pf: int) -> str:
    """The name of a PF's own copy."""
    return f"{spec.name}_{pf}"
