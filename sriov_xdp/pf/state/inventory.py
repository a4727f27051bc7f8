"""What the PF controller knows of its host now: PFs, switches, attached VFs, and who owns which address.

Memory only: no IO, no decisions. What the operator and the guests want changes by install(), which commit() alone calls;
what is merely observed (carrier, programs) is set where it is seen.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from sriov_xdp.datapath.abi import MAX_PFS
from sriov_xdp.host.kernel import JumboXdp
from sriov_xdp.pf.errors import Conflict, NotFound
from sriov_xdp.pf.state.attached_vf import AttachedVf
from sriov_xdp.pf.state.change import Change, Former
from sriov_xdp.pf.state.intent import AdapterSpec, Attachment, Datapath, HostIntent, LinkState, UplinkLoss, VfAddress
from sriov_xdp.pf.state.modes import pinned_problem
from sriov_xdp.pf.state.physical_function import PfEntry, PhysicalFunction
from sriov_xdp.pf.state.port_record import PortRecord
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.decision import PortView, VfState
from sriov_xdp.vswitch.owners import UPLINK_OWNER, Held
from sriov_xdp.vswitch.policy import Policy, Security
from sriov_xdp.vswitch.ports import PortGroup, PortName, Switch, port_vlan, resolve
from sriov_xdp.vswitch.shaping import Queue
from sriov_xdp.vswitch.vlan import Vlan

DEFAULT_MTU_BYTES = 1500
Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class _Resolved:
    """What holds for a port, as long as its switch and its adapter say the same."""

    switch: Switch
    spec: AdapterSpec
    policy: Policy
    vlan: Vlan


class Inventory:
    """Everything by name."""

    def __init__(self, jumbo_xdp: JumboXdp) -> None:
        self.jumbo_xdp = jumbo_xdp
        self.pfs: dict[str, PhysicalFunction] = {}
        self.switches: dict[str, Switch] = {}
        self.vfs: dict[VfAddress, AttachedVf] = {}
        self.port_records: dict[PortName, PortRecord] = {}
        self._resolved: dict[VfAddress, tuple[_Resolved, ...]] = {}
        self._listened: dict[str, frozenset[int]] = {}
        self._addresses: dict[str, VfAddress] = {}  # by their texts, which owners of MAC addresses go by

    def install(self, change: Change) -> Former:
        """Makes memory say what the change says; returns what restore() needs."""
        if change.pfs or change.switches or change.attachments:
            self._listened = {}
        named = {**change.attachments, **change.states}
        former = Former(
            pfs={name: (self.pfs[name], self.pfs[name].entry) if name in self.pfs else None for name in change.pfs},
            switches={name: self.switches.get(name) for name in change.switches},
            port_records={name: self.port_records.get(name) for name in change.port_records},
            vfs={vf: self._kept(vf) for vf in named},
            ports=self.ports_of(change),
        )
        for name, entry in change.pfs.items():
            self._put_pf(name, entry)
        _put_all(self.switches, change.switches)
        _put_all(self.port_records, change.port_records)
        for vf, attachment in change.attachments.items():
            self._put_attachment(vf, attachment)
        for vf, state in change.states.items():
            attached = self.vfs[vf]
            attached.state = state or VfState.fresh(attached.attachment.admin_mac)
        self._claim_all(former.ports)
        return former

    def restore(self, former: Former) -> None:
        """Undoes install()."""
        self._listened = {}
        for name, kept_pf in former.pfs.items():
            if kept_pf is None:
                self._put_pf(name, None)
            else:  # in its place, as somebody may be going through all of them
                self.pfs[name] = kept_pf[0]
                kept_pf[0].entry = kept_pf[1]
        _put_all(self.switches, former.switches)
        _put_all(self.port_records, former.port_records)
        for vf, kept in former.vfs.items():
            if kept is None:
                self._remove(vf)
            else:
                attached, attachment, state = kept
                attached.attachment, attached.state = attachment, state
                self.vfs[vf] = attached
        self._claim_all(former.ports)

    def ports_of(self, change: Change) -> frozenset[VfAddress]:
        """Whose settings may be others after a change: those named, and all on the switches and PFs named."""
        named = frozenset({**change.attachments, **change.states})
        return named | self._ports_on(change.switches) | {vf for vf in self.vfs if vf.pf in change.pfs}

    def objections(self, ports: Iterable[VfAddress]) -> list[str]:
        """Addresses that two ports of one VLAN own, and ports pinned to a data path that they cannot have, a line each."""
        found = []
        for address in sorted(ports):
            vf = self.vfs.get(address)
            if vf is None:
                continue
            mode = vf.attachment.spec.datapath
            pinned = pinned_problem(f"VF {address}", mode, self.port_mtu_bytes(vf), self.jumbo_xdp)
            found += [pinned] if pinned else []
            for mac, owner in self._owned_by_others(vf):
                text = f"VF {address}: {mac} belongs to {owner} {self.vlan(vf).address_place}"
                found.append(f"{text}; choose another or release it first")
        return found

    def meetings(self, vf: AttachedVf) -> list[tuple[AttachedVf, MacAddress]]:
        """Other VFs that own addresses of a VF in one of its VLANs, and do not share them."""
        met = list(self._owned_by_others(vf))
        owners = {str(other.address): other for other in self.vfs.values()} if met else {}
        return [(owners[owner], mac) for mac, owner in met if owner in owners]

    def _owned_by_others(self, vf: AttachedVf) -> Iterator[tuple[MacAddress, str]]:
        owners, vlan, policy, name = self.pf(vf.address.pf).owners, self.vlan(vf), self.policy(vf), str(vf.address)
        shared = vf.state.shared(policy, vlan)
        for mac in sorted(vf.state.claimed):
            if mac in shared:
                owner = owners.other_owner(name, mac, vlan.shared_places, policy.private_vlan)
            else:
                owner = owners.other_owner(name, mac, vlan.address_domains)
            if owner is not None:
                yield mac, owner

    def _kept(self, vf: VfAddress) -> tuple[AttachedVf, Attachment, VfState] | None:
        attached = self.vfs.get(vf)
        return (attached, attached.attachment, attached.state) if attached else None

    def _ports_on(self, switches: Iterable[str]) -> frozenset[VfAddress]:
        pfs = {self.switches[name].pf for name in switches if name in self.switches}
        return frozenset(vf for vf in self.vfs if vf.pf in pfs)

    def _put_pf(self, name: str, entry: PfEntry | None) -> None:
        if entry is None:
            self.pfs.pop(name, None)
        elif name in self.pfs:
            self.pfs[name].entry = entry
        else:
            self.pfs[name] = PhysicalFunction(spec=entry.spec, number=entry.number, found=entry.found)

    def _put_attachment(self, vf: VfAddress, attachment: Attachment | None) -> None:
        if attachment is None:
            self._remove(vf)
            return
        attached = self.vfs.get(vf)
        if attached is None:
            self.vfs[vf] = AttachedVf(
                attachment=attachment,
                state=VfState.fresh(attachment.admin_mac),
                active=Datapath.TCX,
                active_reason="not in service yet",
            )
            return
        attached.attachment = attachment
        if attached.state.admin_mac != attachment.admin_mac:
            attached.state = VfState.fresh(attachment.admin_mac)

    def _remove(self, vf: VfAddress) -> None:
        self.vfs.pop(vf, None)
        self._resolved.pop(vf, None)
        if vf.pf in self.pfs:
            self.pfs[vf.pf].owners.release(str(vf))

    def _claim_all(self, ports: Iterable[VfAddress]) -> None:
        for address in ports:
            if address in self.vfs and self.has_group(self.vfs[address].attachment.spec.port_group):
                self.claim(self.vfs[address])

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

    def free_vf(self, pf: str, taken: Container[VfAddress] = ()) -> VfAddress:
        """The first free VF that is not among those taken. Raises Conflict when there is none."""
        count = self.pf(pf).spec.num_vfs
        for vf in (VfAddress(pf, index) for index in range(count)):
            if vf not in self.vfs and vf not in taken:
                return vf
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

    def has_group(self, name: str) -> bool:
        """Whether there is such a port group."""
        return any(switch.group(name) for switch in self.switches.values())

    def vfs_of_pf(self, pf: str) -> list[AttachedVf]:
        """In order of their numbers."""
        return sorted((vf for vf in self.vfs.values() if vf.address.pf == pf), key=lambda vf: vf.address)

    def vfs_of_group(self, group: str) -> list[AttachedVf]:
        """All ports of a port group."""
        return [vf for vf in self.vfs.values() if vf.attachment.spec.port_group == group]

    def adapter(self, guest: str, interface: str) -> AttachedVf | None:
        """The VF behind an adapter."""
        return next((vf for vf in self.vfs.values() if vf.attachment.spec.key == (guest, interface)), None)

    def ports_in_use(self, switch: Switch) -> dict[int, AttachedVf]:
        """Who is connected at which port of a switch, by number."""
        found = {vf.attachment.spec.number: vf for vf in self.vfs.values() if vf.address.pf == switch.pf}
        return {number: vf for number, vf in found.items() if number is not None}

    def port_name(self, vf: AttachedVf) -> PortName | None:
        """Of the port that a VF is connected at; None for one that has no number yet."""
        switch, number = self.switch_of_pf(vf.address.pf), vf.attachment.spec.number
        return None if switch is None or number is None else PortName(switch.name, number)

    def vf_with_ifindex(self, ifindex: int) -> AttachedVf | None:
        """The VF behind a representor."""
        return next((vf for vf in self.vfs.values() if vf.attachment.ifindex == ifindex), None)

    def port_mtu_bytes(self, vf: AttachedVf) -> int:
        """Of the VF's port."""
        return self.policy(vf).mtu

    def egress_queue(self, vf: AttachedVf) -> Queue | None:
        """What holds that which the guest receives to its port's rate."""
        policy = self.policy(vf)
        return policy.shaping_egress.queue(policy.mtu)

    def ingress_queue(self, vf: AttachedVf) -> Queue | None:
        """What holds that which the guest sends to it, where that may wait."""
        policy = self.policy(vf)
        return policy.shaping_ingress.queue(policy.mtu)

    def listened_vlans(self, pf: str) -> frozenset[int]:
        """VLANs of a PF in which a port is promiscuous."""
        if pf not in self._listened:
            ports = (vf for vf in self.vfs.values() if vf.address.pf == pf)
            listening = (vf for vf in ports if self.policy(vf).promiscuous is Security.ACCEPT)
            self._listened[pf] = frozenset().union(*(self.vlan(vf).domains for vf in listening))
        return self._listened[pf]

    def hop_devices(self) -> set[int]:
        """Ifindexes of both ends of all hops."""
        return {ifindex for vf in self.vfs.values() if vf.hop for ifindex in (vf.hop.near, vf.hop.far)}

    def vf_with_hop(self, ifindex: int) -> AttachedVf | None:
        """The VF that one of a hop's devices belongs to."""
        return next((vf for vf in self.vfs.values() if vf.hop and ifindex in (vf.hop.near, vf.hop.far)), None)

    def mtu_bytes(self, pf: str) -> int:
        """The most that a port of the PF may have, and its uplink has."""
        switch = self.switch_of_pf(pf)
        return switch.mtu_bytes if switch else DEFAULT_MTU_BYTES

    def has_lost_wire(self, name: str) -> bool:
        """Whether a PF that shall have an uplink is without a carrier there, and its VFs shall know; also at a start, before the
        uplink is taken. One without an uplink has nothing to lose."""
        pf = self.pf(name)
        if pf.spec.uplink is None or pf.spec.uplink_loss is UplinkLoss.KEEP_LOCAL:
            return False
        if pf.is_awaited:
            return pf.awaits_carrier
        return pf.uplink is None or not pf.uplink.has_carrier

    def is_open(self, vf: AttachedVf) -> bool:
        """Whether a port's link shall be up."""
        match vf.attachment.spec.link_state:
            case LinkState.ENABLE:
                return True
            case LinkState.DISABLE:
                return False
            case LinkState.AUTO:
                return not self.has_lost_wire(vf.address.pf)

    def policy(self, vf: AttachedVf) -> Policy:
        """What holds for the VF's port."""
        return self._resolve(vf).policy

    def vlan(self, vf: AttachedVf) -> Vlan:
        """Of the VF's port."""
        return self._resolve(vf).vlan

    def _resolve(self, vf: AttachedVf) -> "_Resolved":
        """Once for what a switch and an adapter say: each attach asks for all ports. What held before is known as well, as a change
        is looked at, and taken back, before it is made."""
        spec, known = vf.attachment.spec, self._resolved.get(vf.address, ())
        for one in known:
            if one.spec is spec and self.switches.get(one.switch.name) is one.switch:
                return one
        switch, group = self.group(spec.port_group)
        said = spec.overrides_in(group)
        found = _Resolved(switch, spec, resolve(switch, group, str(vf.address), said), port_vlan(group, said))
        self._resolved[vf.address] = (found, *known[:1])
        return found

    def port_view(self, vf: AttachedVf) -> PortView:
        """What decide() may see."""
        owners = self.pf(vf.address.pf).owners
        return PortView(name=str(vf.address), policy=self.policy(vf), vlan=self.vlan(vf), state=vf.state, owners=owners)

    def claim(self, vf: AttachedVf) -> None:
        """Records the addresses that the VF has now."""
        owners, vlan, policy = self.pf(vf.address.pf).owners, self.vlan(vf), self.policy(vf)
        shared = frozenset((place, mac) for mac in vf.state.shared(policy, vlan) for place in vlan.shared_places)
        owners.replace(str(vf.address), vf.state.claimed, vlan.address_domains, shared, policy.private_vlan)

    def moved_of_pf(self, pf: str) -> list[AttachedVf]:
        """VFs to which an address leads now, or does no more, since this was asked last."""
        if pf not in self.pfs:
            return []
        moved = self.pfs[pf].owners.shared.moves(self._is_absent)
        return [vf for vf in map(self._named, moved) if vf] if moved else []

    def shared_of(self, vf: AttachedVf) -> dict[Held, str]:
        """Of a VF's addresses, those that others may hold too, and whom each leads to in a VLAN: a VF, or UPLINK_OWNER."""
        shared, name = self.pf(vf.address.pf).owners.shared, str(vf.address)
        return {held: shared.leads_to(held, self._is_absent) or name for held in shared.held_by(name)}

    def _is_absent(self, name: str) -> bool:
        """Whether a station there cannot be reached now."""
        vf = self._named(name)
        return vf is None or not (self.is_open(vf) and vf.has_carrier)

    def _named(self, name: str) -> AttachedVf | None:
        address = self._addresses.get(name)
        if address is None and name != UPLINK_OWNER:
            address = self._addresses[name] = VfAddress.parse(name)
        return self.vfs.get(address) if address else None

    def claim_uplink(self, pf: PhysicalFunction) -> None:
        """The uplink's own address is nobody else's, in any VLAN."""
        if pf.uplink:
            pf.owners.replace(UPLINK_OWNER, frozenset({pf.uplink.mac}), None)
        else:
            pf.owners.release(UPLINK_OWNER)

    def intent(self) -> HostIntent:
        """What is there, as a configuration. Adapters in the order of their VFs, in which a new host gives them out."""
        specs = [self.vfs[vf].attachment.spec for vf in sorted(self.vfs)]
        adapters = [spec.effective(self.group(spec.port_group)[1]) for spec in specs]
        return HostIntent(
            pfs=tuple(pf.spec for _name, pf in sorted(self.pfs.items())),
            switches=tuple(switch for _name, switch in sorted(self.switches.items())),
            adapters=tuple(adapters),
        )


def _put_all(place: dict[Key, Value], values: Mapping[Key, Value | None]) -> None:
    for key, value in values.items():
        if value is None:
            place.pop(key, None)
        else:
            place[key] = value
