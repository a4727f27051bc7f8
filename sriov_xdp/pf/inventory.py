"""What the PF controller knows of its host now: PFs, switches, attached VFs, and who owns which address.

Memory only: no IO, no decisions. The lifecycle and the controller change it after store and maps followed.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from sriov_xdp.datapath.abi import MAX_PFS
from sriov_xdp.pf.errors import Conflict, NotFound
from sriov_xdp.pf.intent import AdapterSpec, Attachment, Datapath, HostIntent, PfSpec, VfAddress
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.decision import Device, PortView
from sriov_xdp.vswitch.owners import UPLINK_OWNER, AddressOwners
from sriov_xdp.vswitch.policy import Policy, PortGroup, Switch, port_vlan, resolve
from sriov_xdp.vswitch.vlan import Vlan

DEFAULT_MTU_BYTES = 1500


class XdpMode(StrEnum):
    """Whether the uplink's XDP program runs in its driver, or there is none and tc serves it alone."""

    NATIVE = "native"
    NONE = "none"


@dataclass(slots=True)
class UplinkState:
    """The netdev on the wire side as found."""

    ifindex: int
    mac: MacAddress
    mtu_bytes: int
    has_carrier: bool
    serves_host: bool
    is_silenced: bool
    xdp_mode: XdpMode
    features_before: dict[str, bool] = field(default_factory=dict)
    was_promiscuous: bool = False


@dataclass(slots=True)
class PhysicalFunction:
    """A PF; number is its slot and its part of the forwarding domain, kept over restarts."""

    spec: PfSpec
    number: int
    uplink: UplinkState | None = None
    owners: AddressOwners = field(default_factory=AddressOwners)


@dataclass(slots=True)
class AttachedVf:
    """A VF in use. active: the program kind that is attached now, and why."""

    attachment: Attachment
    device: Device
    active: Datapath
    active_reason: str
    has_carrier: bool = True
    guest_runs_xdp: bool = False
    guest_features_before: dict[str, bool] = field(default_factory=dict)

    @property
    def address(self) -> VfAddress:
        """pf0vf3."""
        return self.attachment.vf


class Inventory:
    """Everything by name."""

    def __init__(self) -> None:
        self.pfs: dict[str, PhysicalFunction] = {}
        self.switches: dict[str, Switch] = {}
        self.vfs: dict[VfAddress, AttachedVf] = {}

    def pf(self, name: str) -> PhysicalFunction:
        """Raises NotFound."""
        if name not in self.pfs:
            raise NotFound(f"PF {name}: not configured; `sriov-xdp pf list` shows what is")
        return self.pfs[name]

    def free_pf_number(self) -> int:
        """Raises Conflict when all are in use."""
        used = {pf.number for pf in self.pfs.values()}
        for number in range(MAX_PFS):
            if number not in used:
                return number
        raise Conflict(f"PFs: {MAX_PFS} are configured, which is the limit of one host; remove one first")

    def attached(self, vf: VfAddress) -> AttachedVf:
        """Raises NotFound."""
        if vf not in self.vfs:
            self.require_vf(vf)
            raise NotFound(f"VF {vf}: free, nothing is attached; `sriov-xdp vf attach {vf} ...` does that")
        return self.vfs[vf]

    def require_vf(self, vf: VfAddress) -> PhysicalFunction:
        """The VF's PF. Raises NotFound when there is no such VF."""
        pf = self.pf(vf.pf)
        if vf.index >= pf.spec.num_vfs:
            raise NotFound(f"VF {vf}: PF {vf.pf} has VFs 0 to {pf.spec.num_vfs - 1}; raise num_vfs or name another")
        return pf

    def free_vf(self, pf: str) -> VfAddress:
        """The first free VF. Raises Conflict when there is none."""
        count = self.pf(pf).spec.num_vfs
        for index in range(count):
            if VfAddress(pf, index) not in self.vfs:
                return VfAddress(pf, index)
        raise Conflict(f"PF {pf}: all {count} VFs are attached; detach one or raise num_vfs")

    def switch_of_pf(self, pf: str) -> Switch | None:
        """The switch on a PF."""
        return next((switch for switch in self.switches.values() if switch.pf == pf), None)

    def group(self, name: str) -> tuple[Switch, PortGroup]:
        """A port group and its switch. Raises NotFound."""
        for switch in self.switches.values():
            group = switch.group(name)
            if group:
                return switch, group
        raise NotFound(f"port group {name}: not configured; `sriov-xdp port-group list` shows what is")

    def vfs_of_pf(self, pf: str) -> list[AttachedVf]:
        """In order of their numbers."""
        return sorted((vf for vf in self.vfs.values() if vf.address.pf == pf), key=lambda vf: vf.address)

    def vfs_of_group(self, group: str) -> list[AttachedVf]:
        """All ports of a port group."""
        return [vf for vf in self.vfs.values() if vf.attachment.spec.port_group == group]

    def adapter(self, guest: str, interface: str) -> AttachedVf | None:
        """The VF behind an adapter."""
        return next((vf for vf in self.vfs.values() if vf.attachment.spec.key == (guest, interface)), None)

    def mtu_bytes(self, pf: str) -> int:
        """Of every port of the PF."""
        switch = self.switch_of_pf(pf)
        return switch.mtu_bytes if switch else DEFAULT_MTU_BYTES

    def policy(self, vf: AttachedVf) -> Policy:
        """What holds for the VF's port."""
        switch, group = self.group(vf.attachment.spec.port_group)
        return resolve(switch, group, str(vf.address), vf.attachment.overrides)

    def vlan(self, vf: AttachedVf) -> Vlan:
        """Of the VF's port."""
        _switch, group = self.group(vf.attachment.spec.port_group)
        return port_vlan(group, vf.attachment.overrides)

    def port_view(self, vf: AttachedVf) -> PortView:
        """What decide() may see."""
        owners = self.pf(vf.address.pf).owners
        return PortView(name=str(vf.address), policy=self.policy(vf), vlan=self.vlan(vf), device=vf.device, owners=owners)

    def claim(self, vf: AttachedVf) -> None:
        """Records the addresses that the VF has now."""
        owners = self.pf(vf.address.pf).owners
        owners.replace(str(vf.address), vf.device.claimed, self.vlan(vf).domains)

    def claim_uplink(self, pf: PhysicalFunction) -> None:
        """The uplink's own address is nobody else's, in any VLAN."""
        if pf.uplink:
            pf.owners.replace(UPLINK_OWNER, frozenset({pf.uplink.mac}), None)
        else:
            pf.owners.release(UPLINK_OWNER)

    def intent(self) -> HostIntent:
        """What is there, as a configuration."""
        adapters: list[AdapterSpec] = [self.vfs[vf].attachment.spec for vf in sorted(self.vfs)]
        return HostIntent(
            pfs=tuple(pf.spec for _name, pf in sorted(self.pfs.items())),
            switches=tuple(switch for _name, switch in sorted(self.switches.items())),
            adapters=tuple(sorted(adapters, key=lambda spec: spec.key)),
        )
