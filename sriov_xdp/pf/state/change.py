"""What one verb makes different, and what it was before. Values; for the inventory, which alone carries them out, and who asks for
them by commit().
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sriov_xdp.pf.state.attached_vf import AttachedVf
from sriov_xdp.pf.state.intent import Attachment, VfAddress
from sriov_xdp.pf.state.physical_function import PfEntry, PhysicalFunction
from sriov_xdp.pf.state.port_record import PortRecord
from sriov_xdp.vswitch.decision import VfState
from sriov_xdp.vswitch.ports import PortName, Switch


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What one verb makes different: whole values by name, None = gone. A state of None is that of a fresh VF."""

    pfs: Mapping[str, PfEntry | None] = field(default_factory=dict)
    switches: Mapping[str, Switch | None] = field(default_factory=dict)
    attachments: Mapping[VfAddress, Attachment | None] = field(default_factory=dict)
    states: Mapping[VfAddress, VfState | None] = field(default_factory=dict)
    port_records: Mapping[PortName, PortRecord | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Former:
    """What install() replaced, by name; None = was not there."""

    pfs: dict[str, tuple[PhysicalFunction, PfEntry] | None]
    switches: dict[str, Switch | None]
    port_records: dict[PortName, PortRecord | None]
    vfs: dict[VfAddress, tuple[AttachedVf, Attachment, VfState] | None]
    ports: frozenset[VfAddress]  # whose settings may be others now: those named, and all on the switches named
