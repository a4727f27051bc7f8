"""What the operator wants of this host, and what is attached: values and their JSON form for the store.

Pure. The api package makes a HostIntent from a configuration file; the inventory makes one from what is there; the plan is
their difference.
"""

import re
from dataclasses import dataclass, field, replace
from enum import StrEnum

from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.ports import PortGroup, PortOverrides, Switch

NAMESPACE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")
PF_NAME = re.compile(r"[a-z][a-z0-9]{0,6}")
_VF_ADDRESS = re.compile(r"(?P<pf>[a-z][a-z0-9]{0,6}?)vf(?P<index>0|[1-9][0-9]{0,2})")


class Datapath(StrEnum):
    """How a VF's frames enter the switch. AUTO chooses."""

    AUTO = "auto"
    XDP = "xdp"
    TCX = "tcx"


class PlugKind(StrEnum):
    """What a guest is plugged in by: a veth pair into its network namespace."""

    VETH = "veth"


class LinkState(StrEnum):
    """As `ip link set PF vf N state`: AUTO follows the uplink, as the PF's uplink_loss says; ENABLE is up (VF to VF goes on without
    the uplink), DISABLE cuts the VF off."""

    AUTO = "auto"
    ENABLE = "enable"
    DISABLE = "disable"


class WireOwnSource(StrEnum):
    """What becomes of frames from the wire whose source is the uplink's own address, or one of a VF of the PF in that VLAN."""

    DROP = "drop"
    ACCEPT = "accept"


class Switching(StrEnum):
    """Who switches between the VFs of a PF (IEEE 802.1Qbg): VEB = the PF; VEPA = the next bridge on the wire, which gives back what
    is for another VF."""

    VEB = "veb"
    VEPA = "vepa"


class UplinkLoss(StrEnum):
    """What becomes of a PF's VFs whose link state is AUTO while its uplink has no carrier. ISOLATE: they have none either, and
    nothing passes between them; KEEP_LOCAL: they go on among themselves."""

    ISOLATE = "isolate"
    KEEP_LOCAL = "keep_local"


@dataclass(frozen=True, slots=True, order=True)
class VfAddress:
    """pf0vf3."""

    pf: str
    index: int

    @classmethod
    def parse(cls, text: str) -> "VfAddress":
        """Raises ValueError."""
        match = _VF_ADDRESS.fullmatch(text)
        if not match:
            raise ValueError(f"VF address {text!r}: expected a PF's name, vf and a number, as in pf0vf3")
        return cls(match["pf"], int(match["index"]))

    def __str__(self) -> str:
        return f"{self.pf}vf{self.index}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PfSpec:
    """A PF as configured. uplink None: a switch without a wire."""

    name: str
    uplink: str | None
    num_vfs: int
    wire_own_source: WireOwnSource = WireOwnSource.DROP
    switching: Switching = Switching.VEB
    uplink_loss: UplinkLoss = UplinkLoss.ISOLATE


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterSpec:
    """An adapter as configured, with all that an operator can set for its port. netns: a name or an absolute path. mac None: the
    host chooses, always the same. port: the number of the port that it asks for, None = the switch chooses; number: the one that
    it has."""

    guest: str
    netns: str
    interface: str
    port_group: str
    mac: MacAddress | None
    datapath: Datapath
    link_state: LinkState = LinkState.AUTO
    overrides: PortOverrides = field(default_factory=PortOverrides)
    port: int | None = None
    number: int | None = field(default=None, compare=False)

    @property
    def key(self) -> tuple[str, str]:
        """What makes it the same adapter in two configurations."""
        return self.guest, self.interface

    @property
    def plug(self) -> PlugKind:
        """What its guest needs."""
        return PlugKind.VETH

    def overrides_in(self, group: PortGroup) -> PortOverrides:
        """All that its port says: what is set for the port of that number, and what the adapter brings, which counts more."""
        return group.settings_of(self.number).below(self.overrides)

    def effective(self, group: PortGroup) -> "AdapterSpec":
        """Without what its group does not let it override (any more), which has no effect; and with the port of a static group
        that it has, as what is set there would meet another adapter."""
        port = self.number if group.is_static else self.port
        return replace(self, overrides=self.overrides.only(group.overrides_allowed), port=port)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostIntent:
    """A whole host."""

    pfs: tuple[PfSpec, ...]
    switches: tuple[Switch, ...]
    adapters: tuple[AdapterSpec, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A VF given to a guest. ifindex is the representor's: its low bits are the slot, its high ones come from the generation, so
    that no number is used again soon. netns_id tells a namespace from a later one of the same name; netns_cookie, of one that is
    ours to remove, also from one that got its numbers; 0: nobody asked."""

    vf: VfAddress
    spec: AdapterSpec
    admin_mac: MacAddress
    generation: int
    representor: str
    ifindex: int
    netns_is_ours: bool
    netns_id: tuple[int, int]
    netns_cookie: int = 0
