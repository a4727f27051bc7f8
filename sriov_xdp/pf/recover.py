"""Rebuilds a state that is lost from what still works: devices, their marks, the maps, and a configuration or an export.

Devices say which VF they are, whose, in which namespace and group (device_marks.py); ports of the maps say what the data
path does for them now. A configuration says what neither can: policy, uplinks, what is inherited. Without one, switches and
groups come out with the strict defaults, but for what their ports use already, and the VLANs that are in force. Guests notice
nothing; the next start adopts. For a host where no daemon runs with the damaged state.
"""

import json
import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from sriov_xdp.datapath import libbpf
from sriov_xdp.datapath.abi import MAX_PFS, SLOT_MASK, PortFlag, PortValue
from sriov_xdp.datapath.marks import Marks
from sriov_xdp.datapath.pins import LINKS, Pins
from sriov_xdp.datapath.tables import Tables
from sriov_xdp.host import namespaces
from sriov_xdp.host.features import RX_VLAN, TX_VLAN
from sriov_xdp.host.links import Link, Links, boot_id
from sriov_xdp.pf.commit import device_to_text
from sriov_xdp.pf.device_marks import HostMark, read_host_mark
from sriov_xdp.pf.errors import Conflict, Invalid
from sriov_xdp.pf.hooks import CLSACT, TC_KIND, TCX
from sriov_xdp.pf.intent import (
    AdapterSpec,
    Attachment,
    Datapath,
    HostIntent,
    LinkState,
    PfSpec,
    attachment_to_text,
    switch_to_json,
)
from sriov_xdp.pf.inventory import FoundUplink, PhysicalFunction
from sriov_xdp.pf.places import Places, lock
from sriov_xdp.pf.uplink_text import pf_to_text
from sriov_xdp.pf.validation import MAX_VFS_OF_PF
from sriov_xdp.store.database import Change, Database
from sriov_xdp.store.files import STATE_FILE
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.decision import Device
from sriov_xdp.vswitch.policy import PolicySettings, PortGroup, Security, Switch
from sriov_xdp.vswitch.vlan import NO_VLAN, Vlan

_FILES = (STATE_FILE, f"{STATE_FILE}-wal", f"{STATE_FILE}-shm")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Marked:
    """What one representor and its port say."""

    link: Link
    mark: HostMark
    port: PortValue
    trunk: frozenset[int]


def recover(places: Places, wanted: HostIntent | None) -> list[str]:
    """Lines of what was found and done. Raises Conflict while a daemon runs or where nothing is left to recover from, Invalid
    when the configuration has no place for a guest that is there."""
    held = lock(places)
    links = Links()
    try:
        instance = Marks(places.bpffs).instance()
        if instance is None:
            raise Conflict(f"{places.bpffs}: no pins of a daemon are there, so there is nothing to rebuild; start the daemon")
        found = _marked_devices(places, links, instance)
        intent = wanted or _intent_of(found, _uplinks(places, links))
        attachments = [_attachment(entry, intent) for entry in found]
        lines = _set_aside(places)
        _write(places, instance, intent, found, attachments)
        marks = [entry.mark for entry in found]
        return [*lines, *(f"{mark.vf}: guest {mark.guest}, {mark.interface} in {mark.netns}" for mark in marks)]
    finally:
        links.close()
        for fd in held:
            os.close(fd)


def _marked_devices(places: Places, links: Links, instance: str) -> list[_Marked]:
    pins = Pins(places.bpffs)
    pins.load()
    tables = Tables(pins)
    tables.adopt()
    found = []
    for link in links.dump():
        mark, known = read_host_mark(instance, link), tables.port(link.ifindex & SLOT_MASK)
        if mark and known and known[0].ifindex == link.ifindex:
            found.append(_Marked(link=link, mark=mark, port=known[0], trunk=known[1]))
    pins.close()
    return sorted(found, key=lambda entry: entry.mark.vf)


def _intent_of(found: list[_Marked], uplinks: dict[int, str]) -> HostIntent:
    """From marks and maps alone."""
    numbers = {entry.mark.vf.pf: entry.port.pf for entry in found}
    pfs = {name: PfSpec(name=name, uplink=uplinks.get(number), num_vfs=MAX_VFS_OF_PF) for name, number in numbers.items()}
    switches = []
    for name in sorted(pfs):
        ports = [entry for entry in found if entry.mark.vf.pf == name]
        groups = {
            name: PortGroup(name=name, vlan=_vlan_of(entry), policy=_policy_in_force(name, ports))
            for name, entry in ((entry.mark.port_group, entry) for entry in ports)
        }
        mtu_bytes = ports[0].port.mtu_bytes
        switches.append(
            Switch(
                name=f"recovered-{name}", pf=name, mtu_bytes=mtu_bytes, policy=PolicySettings(), port_groups=tuple(groups.values())
            )
        )
    return HostIntent(pfs=tuple(pfs[name] for name in sorted(pfs)), switches=tuple(switches), adapters=())


def _policy_in_force(group: str, ports: list[_Marked]) -> PolicySettings:
    """What a port of the group has already was allowed to it: the strict default would take it away at the next start."""
    here = [entry for entry in ports if entry.mark.port_group == group]
    has_granted_mac = any(MacAddress(entry.port.mac) != entry.mark.admin_mac for entry in here)
    may_forge = any(entry.port.flags & PortFlag.FORGED_ACCEPT for entry in here)
    return PolicySettings(
        mac_changes=Security.ACCEPT if has_granted_mac else None, forged_transmits=Security.ACCEPT if may_forge else None
    )


def _vlan_of(entry: _Marked) -> Vlan:
    if entry.port.flags & PortFlag.TRUNK:
        return Vlan.trunk(entry.trunk)
    return Vlan.access(entry.port.vlan) if entry.port.vlan else NO_VLAN


def _attachment(entry: _Marked, intent: HostIntent) -> Attachment:
    """Raises Invalid."""
    said = next((spec for spec in intent.adapters if spec.key == (entry.mark.guest, entry.mark.interface)), None)
    spec = said or AdapterSpec(
        guest=entry.mark.guest,
        netns=entry.mark.netns,
        interface=entry.mark.interface,
        port_group=entry.mark.port_group,
        mac=entry.mark.admin_mac,
        datapath=Datapath.AUTO,
        link_state=LinkState.AUTO if entry.port.flags & PortFlag.LINK_UP else LinkState.DISABLE,
    )
    home = next((switch.pf for switch in intent.switches if switch.group(spec.port_group)), None)
    if home != entry.mark.vf.pf:
        text = f"{entry.mark.vf}: guest {entry.mark.guest} is connected in port group {spec.port_group}, which the configuration"
        raise Invalid(f"{text} {'does not have' if home is None else f'has on {home}'}; name one that has it on {entry.mark.vf.pf}")
    return Attachment(
        vf=entry.mark.vf,
        spec=replace(spec, netns=entry.mark.netns),
        admin_mac=entry.mark.admin_mac,
        generation=entry.port.generation,
        representor=entry.link.name,
        ifindex=entry.link.ifindex,
        netns_is_ours=False,  # nobody knows any more, so it is not ours to remove
        netns_id=namespaces.identity(entry.mark.netns) or (0, 0),
    )


def _set_aside(places: Places) -> list[str]:
    """The damaged files are kept, under another name."""
    stamp = datetime.now(tz=UTC).strftime("%Y%m%dT%H%M%SZ")
    lines = []
    for name in _FILES:
        path = places.state_dir / name
        if path.exists():
            kept = path.with_name(f"{name}.{stamp}")
            path.rename(kept)
            lines.append(f"{path} is kept as {kept.name}")
    return lines


def _write(places: Places, instance: str, intent: HostIntent, found: list[_Marked], attachments: list[Attachment]) -> None:
    marks, database = Marks(places.bpffs), Database(places.state_dir)
    numbers = {entry.mark.vf.pf: entry.port.pf for entry in found}
    free = iter(sorted(set(range(MAX_PFS)) - set(numbers.values())))
    documents = [Change(kind="switch", name=switch.name, body=json.dumps(switch_to_json(switch))) for switch in intent.switches]
    for spec in intent.pfs:
        number = numbers[spec.name] if spec.name in numbers else next(free)
        documents.append(Change(kind="pf", name=spec.name, body=pf_to_text(_pf(spec, number))))
    documents += [Change(kind="attachment", name=str(one.vf), body=attachment_to_text(one)) for one in attachments]
    has_tcx = any((places.bpffs / LINKS).glob("*_tc"))
    meta = {
        "instance": instance,
        "boot_id": boot_id(),
        TC_KIND: TCX if has_tcx else CLSACT,
        "generation": str(max([0, *(one.generation for one in attachments)])),
    }
    database.write_intent(documents, [], meta)
    for entry in found:
        effective = MacAddress(entry.port.mac)
        if effective != entry.mark.admin_mac:
            granted = Device(admin_mac=entry.mark.admin_mac, effective_mac=effective)
            database.write_granted(str(entry.mark.vf), entry.port.generation, device_to_text(granted), None)
    marks.write_revision(database.revision())
    database.close()


def _pf(spec: PfSpec, number: int) -> PhysicalFunction:
    return PhysicalFunction(
        spec=spec, number=number, found=FoundUplink.unknown({RX_VLAN: True, TX_VLAN: True}) if spec.uplink else None
    )


def _uplinks(places: Places, links: Links) -> dict[int, str]:
    """PF number → the device that its pinned programs run on."""
    found = {}
    for path in (places.bpffs / LINKS).glob("uplink*_tc"):
        fd = libbpf.open_pin(path)
        link = links.find(libbpf.link_info(fd).ifindex)
        os.close(fd)
        if link:
            found[int(path.name.removeprefix("uplink").removesuffix("_tc"))] = link.name
    return found
