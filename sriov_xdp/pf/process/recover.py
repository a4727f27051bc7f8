"""Rebuilds a state that is lost from what still works: devices, their marks, the maps, and a configuration or an export.

Devices say which VF they are, whose, in which namespace and group (device_marks.py); ports of the maps say what the data
path does for them now (in_force.py). Both hold whatever a configuration says: it says what neither can, as policies, uplinks, and
what is inherited; where it differs, ports override their groups. Guests notice nothing; the next start adopts, and applies no file
that this one is not made from until the operator does. For a host where no daemon runs with the damaged state.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from sriov_xdp.datapath import libbpf
from sriov_xdp.datapath.abi import FIRST_VF_SLOT, MAX_PFS, PortFlag, PortValue
from sriov_xdp.datapath.libbpf import AttachType
from sriov_xdp.datapath.marks import Marks
from sriov_xdp.datapath.pins import Pins
from sriov_xdp.datapath.tables import Tables
from sriov_xdp.host import clsact, namespaces, tbf
from sriov_xdp.host.features import RX_VLAN, TX_VLAN
from sriov_xdp.host.kernel import JumboXdp
from sriov_xdp.host.links import Link, Links, boot_id
from sriov_xdp.pf.errors import Conflict, Invalid
from sriov_xdp.pf.hands.commit import vf_state_to_text
from sriov_xdp.pf.hands.instances import claim_instance
from sriov_xdp.pf.hands.representors import shaping_of
from sriov_xdp.pf.process import orphans, own_uplinks
from sriov_xdp.pf.process.folders import Folders, lock
from sriov_xdp.pf.process.guest_places import made_for, namespace_of
from sriov_xdp.pf.process.presence import is_sound, stored_instance
from sriov_xdp.pf.state.change import Change
from sriov_xdp.pf.state.device_marks import HostMark, read_host_mark
from sriov_xdp.pf.state.in_force import MarkedPort, group_of, overrides_of, pf_in_force
from sriov_xdp.pf.state.intent import (
    AdapterSpec,
    Attachment,
    Datapath,
    HostIntent,
    LinkState,
    PfSpec,
)
from sriov_xdp.pf.state.inventory import Inventory
from sriov_xdp.pf.state.physical_function import FoundUplink, PfEntry
from sriov_xdp.pf.state.port_numbers import with_numbers
from sriov_xdp.pf.state.stored import all_documents
from sriov_xdp.pf.state.uplink_text import found_from_mark
from sriov_xdp.pf.state.validation import MAX_VFS_OF_PF
from sriov_xdp.pf.verbs import applied_files
from sriov_xdp.pf.verbs.lifecycle import default_mac
from sriov_xdp.store.database import Database
from sriov_xdp.store.files import STATE_FILE
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.decision import VfState
from sriov_xdp.vswitch.policy import Override, PolicySettings
from sriov_xdp.vswitch.ports import PortOverrides, Switch
from sriov_xdp.vswitch.shaping import IngressShaping, ShapingMode
from sriov_xdp.vswitch.values import MacPattern

_FILES = (STATE_FILE, f"{STATE_FILE}-wal", f"{STATE_FILE}-shm")


def recover(folders: Folders, wanted: HostIntent | None, fingerprint: str, *, is_meant: bool) -> list[str]:
    """Lines of what was found and done. fingerprint: of the configuration. is_meant: also where the state is sound. Raises
    Conflict while a daemon runs, where nothing is left to recover from or nothing needs it, Invalid when the configuration has no
    place for a guest that is there."""
    held = lock(folders)
    links, claimed = Links(), None
    try:
        instance = Marks(folders.bpffs).instance()
        if instance is None:
            return _from_marks_alone(folders, links, wanted, fingerprint)
        claimed = claim_instance(instance)
        found, of_pfs = _marked_devices(folders, links, instance)
        unmapped = _unmapped(links, instance, found, wanted)
        if not is_meant and is_sound(folders, {str(vf) for vf in [*(entry.mark.vf for entry in found), *orphans.vfs(unmapped)]}):
            text = f"{folders.state_dir}: the state is sound, a start needs no recovery"
            raise Conflict(f"{text}; --yes rebuilds it all the same, without policies, overrides and audit")
        on_uplinks = own_uplinks.find(folders, links)
        uplinks = {number: link.name for number, link in on_uplinks.items()}
        intent = _with_pfs_in_force(wanted, found, uplinks) if wanted else _intent_of(found, uplinks)
        intent = _with_rules_in_force(intent, orphans.numbers(unmapped) | _numbers(intent, found, uplinks), of_pfs)
        intent, attachments = _held_to_what_is_in_force(found, intent)
        attachments += orphans.attachments(unmapped, intent)
        numbers = orphans.numbers(unmapped) | _numbers(intent, found, uplinks)
        kept = _set_aside(folders)
        with _put_back(kept):
            _write(folders, instance, intent, found, attachments, numbers, fingerprint, on_uplinks)
        lines = [f"{path} is kept as {aside.name}" for path, aside in kept.items()]
        if unmapped:
            text = "maps of another build served these, or none do, so only their devices and the configuration tell of them"
            lines.append(f"{', '.join(link.name for link in unmapped)}: {text}")
        specs = [(attachment.vf, attachment.spec) for attachment in attachments]
        return [*lines, *(f"{vf}: guest {spec.guest}, {spec.interface} in {spec.netns}" for vf, spec in specs)]
    finally:
        links.close()
        if claimed:
            claimed.close()
        for fd in held:
            os.close(fd)


def _from_marks_alone(folders: Folders, links: Links, wanted: HostIntent | None, fingerprint: str) -> list[str]:
    """Where the pins are gone too: guests are given back what the configuration says, with the next start."""
    if stored_instance(folders.state_dir) is not None:
        raise Conflict(f"{folders.bpffs}: no pins of a daemon are there, and a state is; start the daemon, which makes them anew")
    found = orphans.find(links)
    instance = orphans.instance_of_all(found)
    if wanted is None:
        text = f"{folders.bpffs}: no pins are there, so nothing tells VLANs and policies of the guests of instance {instance}"
        raise Conflict(f"{text}; name a configuration (-f)")
    attachments = orphans.attachments(found, wanted)
    kept = _set_aside(folders)
    with _put_back(kept):
        _write(folders, instance, wanted, [], attachments, orphans.numbers(found), fingerprint, {})
    lines = [f"{one.vf}: guest {one.spec.guest}, {one.spec.interface} in {one.spec.netns}" for one in attachments]
    return [*(f"{path} is kept as {aside.name}" for path, aside in kept.items()), *lines]


def _marked_devices(folders: Folders, links: Links, instance: str) -> tuple[list[MarkedPort], dict[int, PortValue]]:
    """Every port of a guest that the data path has, by its device; and the ports of PFs themselves, by number. Raises Conflict for
    one that would be left behind."""
    pins = Pins(folders.bpffs)
    pins.load()
    tables = Tables(pins)
    tables.adopt()
    devices = {link.ifindex: link for link in links.dump()}
    found, gone = [], 0
    for slot in sorted(tables.slots()):
        known = tables.port(slot)
        if slot < FIRST_VF_SLOT or known is None:
            continue
        link = devices.get(known[0].ifindex)
        if link is None:
            gone += 1  # its guest, or somebody else, deleted it meanwhile
            continue
        mark = read_host_mark(instance, link)
        if mark is None:
            text = f"device {link.name}: leads to a guest, and its alias, which said to whom, was changed to {link.alias!r}"
            raise Conflict(f"{text}; put it back, or remove the device, with which that guest loses its VF")
        found.append(_marked_port(tables, slot, known, link, mark))
    of_pfs = {number: known[0] for number in range(MAX_PFS) if (known := tables.port(number))}
    pins.close()
    if gone and not found:
        text = f"{folders.bpffs}: the data path has {gone} ports of guests, and none of their devices is here"
        raise Conflict(f"{text}; run this where the daemon runs, or remove what is left with `sriov-xdp teardown`")
    return sorted(found, key=lambda entry: entry.mark.vf), of_pfs


def _marked_port(tables: Tables, slot: int, known: tuple[PortValue, frozenset[int]], link: Link, mark: HostMark) -> MarkedPort:
    """known: as tables.port() says it."""
    port, trunk = known
    of_pf = tables.port(port.pf)
    return MarkedPort(
        link=link,
        mark=mark,
        port=port,
        trunk=trunk,
        heard=tables.heard_of(slot),
        storm_ns=tables.storm_ns(slot),
        addresses=frozenset(MacAddress(mac) for mac in tables.addresses_of(slot)),
        allowed=tuple(sorted(MacPattern(MacAddress(octets), bits) for octets, bits in tables.allowed_of(slot))),
        groups=frozenset(MacAddress(group) for group in tables.groups_of(slot)),
        shaping_egress=shaping_of(tbf.read(link.ifindex)),
        shaping_ingress=_ingress_of(tables, slot, port),
        of_pf=of_pf[0] if of_pf else None,
        has_tc_program=_has_tc_program(link.ifindex),
    )


def _has_tc_program(ifindex: int) -> bool:
    return bool(libbpf.attached_programs_if_any(ifindex, AttachType.TCX_INGRESS) or clsact.program_ids(ifindex))


def _ingress_of(tables: Tables, slot: int, port: PortValue) -> IngressShaping:
    """What a port's guest sends, by the queue of its hop, or the data path's rate."""
    if port.flags & PortFlag.SHAPED:
        found = shaping_of(tbf.read(port.hop_ifindex))
        return IngressShaping(found.average_kbps, found.peak_kbps, found.burst_bytes)
    said = tables.rate_said(slot)
    return IngressShaping(*said, ShapingMode.POLICE) if said[0] else IngressShaping()


def _unmapped(links: Links, instance: str, found: list[MarkedPort], wanted: HostIntent | None) -> list[Link]:
    """Devices of guests about which the maps of this build say nothing: another build served them, or its maps were removed. Raises
    Conflict without a configuration, which alone tells their policy."""
    mapped = {entry.link.ifindex for entry in found}
    devices = [link for link in links.dump() if read_host_mark(instance, link) and link.ifindex not in mapped]
    if devices and wanted is None:
        names = ", ".join(link.name for link in devices[:4])
        text = f"device {names}: leads to a guest, and the maps of this build say nothing of it, so nothing tells its policy"
        raise Conflict(f"{text}; name a configuration (-f), or run the build that served it")
    return devices


def _intent_of(found: list[MarkedPort], uplinks: dict[int, str]) -> HostIntent:
    """From marks and maps alone."""
    numbers = {entry.mark.vf.pf: entry.port.pf for entry in found}
    pfs = {name: PfSpec(name=name, uplink=uplinks.get(number), num_vfs=MAX_VFS_OF_PF) for name, number in numbers.items()}
    for number in sorted(uplinks.keys() - numbers.values()):  # nothing says what they are called
        name = next(name for name in (f"pf{other}" for other in range(number, number + MAX_PFS + 1)) if name not in pfs)
        pfs[name] = PfSpec(name=name, uplink=uplinks[number], num_vfs=MAX_VFS_OF_PF)
    switches = []
    for name in sorted(numbers):
        ports = [entry for entry in found if entry.mark.vf.pf == name]
        names = dict.fromkeys(entry.mark.port_group for entry in ports)
        groups = {name: group_of(name, [entry for entry in ports if entry.mark.port_group == name]) for name in names}
        mtu_bytes = ports[0].switch_mtu_bytes
        switches.append(
            Switch(
                name=f"recovered-{name}", pf=name, mtu_bytes=mtu_bytes, policy=PolicySettings(), port_groups=tuple(groups.values())
            )
        )
    return HostIntent(pfs=tuple(pfs[name] for name in sorted(pfs)), switches=tuple(switches), adapters=())


def _with_pfs_in_force(intent: HostIntent, found: list[MarkedPort], uplinks: dict[int, str]) -> HostIntent:
    """With uplinks by the programs that are on them, as many VFs as are there, and MTUs of the ports. Raises Invalid for an uplink
    that belongs to no PF of the configuration."""
    numbers = _numbers(intent, found, uplinks)
    nobodys = sorted(name for number, name in uplinks.items() if number not in numbers.values())
    if nobodys:
        text = f"uplink {', '.join(nobodys)}: is in service for a PF that the configuration does not name"
        raise Invalid(f"{text}; give each a PF with that uplink")
    taken = set(uplinks.values())
    pfs = []
    for pf in intent.pfs:
        own = uplinks.get(numbers.get(pf.name, -1))
        most = max([pf.num_vfs, *(entry.mark.vf.index + 1 for entry in found if entry.mark.vf.pf == pf.name)])
        uplink = own or (None if pf.uplink in taken else pf.uplink)
        pfs.append(replace(pf, uplink=uplink, num_vfs=most))
    mtus = {entry.mark.vf.pf: entry.switch_mtu_bytes for entry in found}
    switches = (replace(switch, mtu_bytes=mtus.get(switch.pf, switch.mtu_bytes)) for switch in intent.switches)
    return replace(intent, pfs=tuple(pfs), switches=tuple(switches))


def _with_rules_in_force(intent: HostIntent, numbers: dict[str, int], of_pfs: dict[int, PortValue]) -> HostIntent:
    """What a PF's own port holds all of its guests to."""
    ports = {name: of_pfs.get(number) for name, number in numbers.items()}
    return replace(intent, pfs=tuple(pf_in_force(pf, ports.get(pf.name)) for pf in intent.pfs))


def _numbers(intent: HostIntent, found: list[MarkedPort], uplinks: dict[int, str]) -> dict[str, int]:
    """Of the PFs that work: by their VFs, or, without any, by their uplink."""
    numbers = {entry.mark.vf.pf: entry.port.pf for entry in found}
    by_uplink = {name: number for number, name in uplinks.items() if number not in numbers.values()}
    without_vfs = {pf.name: pf.uplink for pf in intent.pfs if pf.name not in numbers and pf.uplink}
    return numbers | {name: by_uplink[uplink] for name, uplink in without_vfs.items() if uplink in by_uplink}


def _held_to_what_is_in_force(found: list[MarkedPort], intent: HostIntent) -> tuple[HostIntent, list[Attachment]]:
    """The intent with groups that let their ports say what they must, and the attachments. Raises Invalid."""
    attachments, kinds = [], dict[str, frozenset[Override]]()
    for entry in found:
        attachment, needed = _attachment(entry, intent)
        attachments.append(attachment)
        name = entry.mark.port_group
        kinds[name] = kinds.get(name, frozenset()) | needed
    switches = tuple(
        replace(
            switch,
            port_groups=tuple(
                replace(group, overrides_allowed=group.overrides_allowed | kinds.get(group.name, frozenset()))
                for group in switch.port_groups
            ),
        )
        for switch in intent.switches
    )
    return replace(intent, switches=switches), attachments


def _attachment(entry: MarkedPort, intent: HostIntent) -> tuple[Attachment, frozenset[Override]]:
    """Raises Invalid, Conflict."""
    mark = entry.mark
    switch = next((switch for switch in intent.switches if switch.group(mark.port_group)), None)
    if switch is None or switch.pf != mark.vf.pf:
        text = f"{mark.vf}: guest {mark.guest} is connected in port group {mark.port_group}, which the configuration"
        where = f"has on {switch.pf}" if switch else "does not have"
        raise Invalid(f"{text} {where}; name one that has it on {mark.vf.pf}")
    pf = next(pf for pf in intent.pfs if pf.name == switch.pf)
    group = switch.group(mark.port_group)
    assert group is not None
    said = next((spec for spec in intent.adapters if spec.key == (mark.guest, mark.interface)), None)
    netns, netns_id = namespace_of(mark, entry.link, said.netns if said else None)
    is_ours = made_for(mark, entry.link) == netns
    own, kept = (said.overrides, group.settings_of(said.port)) if said else (PortOverrides(), PortOverrides())
    overrides, needed = overrides_of(entry, switch, group, own, kept)
    spec = AdapterSpec(
        guest=mark.guest,
        netns=netns,
        interface=mark.interface,
        port_group=mark.port_group,
        mac=said.mac if said else mark.admin_mac,
        datapath=entry.datapath(said.datapath if said else Datapath.AUTO),
        link_state=entry.link_state(said.link_state if said else LinkState.AUTO, pf),
        overrides=overrides,
        port=said.port if said else None,
        number=said.port if said else None,
    )
    if (spec.mac or default_mac(spec)) != mark.admin_mac:
        spec = replace(spec, mac=mark.admin_mac)
    attachment = Attachment(
        vf=entry.mark.vf,
        spec=spec,
        admin_mac=entry.mark.admin_mac,
        generation=entry.port.generation,
        representor=entry.link.name,
        ifindex=entry.link.ifindex,
        netns_is_ours=is_ours,
        netns_id=netns_id,
        netns_cookie=namespaces.cookie(netns) if is_ours else 0,
    )
    return attachment, needed


def _set_aside(folders: Folders) -> dict[Path, Path]:
    """The files that are there are kept, under other names."""
    stamp = datetime.now(tz=UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    moved = {}
    for name in _FILES:
        path = folders.state_dir / name
        if path.exists():
            moved[path] = path.rename(path.with_name(f"{name}.{stamp}"))
    return moved


@contextlib.contextmanager
def _put_back(kept: dict[Path, Path]) -> Iterator[None]:
    """What was set aside stands again where it was when nothing could be written in its place."""
    try:
        yield
    except BaseException:
        for path, aside in kept.items():
            aside.replace(path)
        raise


def _write(
    folders: Folders,
    instance: str,
    intent: HostIntent,
    found: list[MarkedPort],
    attachments: list[Attachment],
    numbers: dict[str, int],
    fingerprint: str,
    on_uplinks: Mapping[int, Link],
) -> None:
    intent, attachments = _with_ports(intent, attachments)
    marks, database = Marks(folders.bpffs), Database(folders.state_dir)
    free = iter(sorted(set(range(MAX_PFS)) - set(numbers.values())))
    with_numbers = [(spec, numbers[spec.name] if spec.name in numbers else next(free)) for spec in intent.pfs]
    inventory = Inventory(JumboXdp(is_allowed=False, because="nothing is served here"))
    inventory.install(
        Change(
            pfs={spec.name: _entry(marks, spec, ours, on_uplinks.get(ours)) for spec, ours in with_numbers},
            switches={switch.name: switch for switch in intent.switches},
            attachments={one.vf: one for one in attachments},
        )
    )
    meta = {
        "instance": instance,
        "boot_id": boot_id(),
        "generation": str(max([0, *(one.generation for one in attachments)])),
        applied_files.STARTED_WITH: applied_files.RECOVERED,
        applied_files.APPLIED: fingerprint,
    }
    grants = {
        str(entry.mark.vf): (entry.port.generation, vf_state_to_text(entry.state))
        for entry in found
        if entry.state != VfState.fresh(entry.mark.admin_mac)
    }
    database.write_intent(all_documents(inventory), [], meta, grants)
    if marks.instance():
        marks.write_revision(database.revision())
    database.close()


def _with_ports(intent: HostIntent, attachments: list[Attachment]) -> tuple[HostIntent, list[Attachment]]:
    """With the numbers of ports. Raises Invalid where a static group has fewer than there are guests."""
    specs = tuple(one.spec for one in attachments)
    numbered, problems = with_numbers(HostIntent(pfs=(), switches=(), adapters=()), replace(intent, adapters=specs))
    if problems:
        raise Invalid("\n".join(problems))
    return numbered, [replace(one, spec=spec) for one, spec in zip(attachments, numbered.adapters, strict=True)]


def _entry(marks: Marks, spec: PfSpec, number: int, link: Link | None) -> PfEntry:
    """link: the device that the PF's programs are on."""
    found = found_from_mark(marks.found(number), link, boot_id()) if link else None
    unknown = FoundUplink.unknown({RX_VLAN: True, TX_VLAN: True}) if spec.uplink else None
    return PfEntry(spec=spec, number=number, found=found or unknown)
