"""A reference model of the switch: what becomes of one frame, by the rules and without a program.

It is: the frame rules written down a second time, as plainly as Python can say them, to compare the C programs with. Ports
go in; the forwarding database and the flood lists follow from them, so no map can be stale or inconsistent here.
It is not: a data path, nor a source of policy. It knows no maps, no counters, no time, no GSO, no devices that refuse a frame,
and not which of the two kinds of program finishes a frame. Where it and bpf/ differ, one of them is wrong.
For tests, for people who read, and for api/traces.py, which explains by it what becomes of a frame. Pure: no IO.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from sriov_xdp.datapath.abi import VLAN_NONE, PortFlag, Verdict
from sriov_xdp.datapath.model_passage import Passage
from sriov_xdp.datapath.model_ports import TAG_BYTES, TPID_8021AD, TPID_8021Q, Ethernet, Group, Port, Ports

RESERVED_VLAN = 4095

# Spoken between a station and its switch: no switch passes them on. LACP, EAPOL, LLDP, PTP; and PAUSE and PFC, which nobody hears.
PAUSE_TYPE = 0x8808
LINK_LOCAL_TYPES = frozenset({PAUSE_TYPE, 0x8809, 0x888E, 0x88CC, 0x88F7})
# 01:80:c2:00:00:00..0f of IEEE 802.1Q, and Cisco's CDP, VTP, UDLD (cc) and PVST+ (cd).
LINK_LOCAL_GROUPS = frozenset(
    bytes.fromhex(group) for group in ("01000ccccccc", "01000ccccccd", *(f"0180c200000{last:x}" for last in range(16)))
)
# Configuration Testing Protocol, loopback assistance: what the switch's owner sends into guests to find loops.
PROBE = (bytes.fromhex("cf0000000000"), 0x9000)
UNICAST_PROBE = (bytes.fromhex("ce0000000000"), 0x9000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What became of a frame. left: the bytes that leave, by the slot of the port that they leave through; is_told: that its sender
    spoke by an address that others may hold too."""

    verdict: Verdict
    left: Mapping[int, bytes] = field(default_factory=dict)
    reaches_host: bool = False
    is_told: bool = False


Rule = Callable[[Passage], Verdict | None]


def is_group(mac: bytes) -> bool:
    """Whether the address is of a group of stations."""
    return bool(mac[0] & 1)


def link_is_up(passage: Passage) -> Verdict | None:
    """A port that is off or blocked lets nothing in."""
    return None if passage.port.has(PortFlag.LINK_UP) else Verdict.LINK_DOWN


def port_is_not_blocked(passage: Passage) -> Verdict | None:
    """By the operator, in both directions at once; what leaves is judged where it leaves."""
    return Verdict.BLOCKED if passage.port.has(PortFlag.BLOCKED) else None


def headers_are_whole(passage: Passage) -> Verdict | None:
    """Addresses, the type, and behind a tag's type the tag."""
    return Verdict.MALFORMED if passage.ethernet is None else None


def source_is_a_station(passage: Passage) -> Verdict | None:
    """Nobody sends from a group's address or from none."""
    return Verdict.MALFORMED if is_group(passage.read.source) or not any(passage.read.source) else None


def length_fits(passage: Passage) -> Verdict | None:
    """The MTU is what may follow the Ethernet header and one tag."""
    return Verdict.OVERSIZE if passage.payload_bytes > passage.port.value.mtu_bytes else None


def is_no_control_frame(passage: Passage) -> Verdict | None:
    """Link-local protocols end at the port: a guest's are dropped, the wire's are the host's, but for PAUSE, which is nobody's."""
    is_control = passage.read.type in LINK_LOCAL_TYPES or passage.read.destination in LINK_LOCAL_GROUPS
    if not is_control:
        return None
    return Verdict.TO_HOST if passage.port.is_uplink and passage.read.type != PAUSE_TYPE else Verdict.CONTROL_FRAME


def has_one_tag_at_most(passage: Passage) -> Verdict | None:
    """A tag behind a tag could name another VLAN at the next switch; behind one of 802.1ad it does not."""
    if passage.read.tpid is None or not passage.read.has_inner_tag:
        return None
    is_own = (passage.read.tpid, passage.read.type) == (TPID_8021AD, TPID_8021Q) and passage.takes_service_tags
    return None if is_own else Verdict.DOUBLE_TAG


def vlan_is_allowed(passage: Passage) -> Verdict | None:
    """Uplink: any VLAN. Access: none of its own, but behind 802.1ad's. Trunk: a listed tag. A priority tag counts as untagged."""
    port, tpid, vid = passage.port, passage.read.tpid, passage.read.vid
    is_service = tpid == TPID_8021AD
    if tpid not in (None, TPID_8021Q, TPID_8021AD) or (is_service and (not vid or not passage.takes_service_tags)):
        return Verdict.VLAN_DENIED
    if vid == VLAN_NONE:
        return None if port.is_access or port.is_uplink or port.value.vlan else Verdict.UNTAGGED
    if port.is_uplink:
        return Verdict.VLAN_DENIED if vid == RESERVED_VLAN else None
    if port.is_access:
        return None if port.has(PortFlag.SERVICE) else Verdict.SPOOF_VLAN
    if is_service is not port.has(PortFlag.SERVICE) or vid == RESERVED_VLAN:
        return Verdict.VLAN_DENIED if port.has(PortFlag.SERVICE) else Verdict.SPOOF_VLAN
    return None if vid in port.trunk else Verdict.SPOOF_VLAN


def is_no_probe(passage: Passage) -> Verdict | None:
    """A probe that comes out of a guest went in by another port; it goes no further, whoever made it."""
    probes = {PROBE, UNICAST_PROBE} if passage.is_listened_to or passage.port.has(PortFlag.VEPA) else {PROBE}
    is_probe = (passage.read.destination, passage.read.type) in probes and not passage.port.is_uplink
    return Verdict.LOOP if is_probe else None


def wire_speaks_for_itself(passage: Passage) -> Verdict | None:
    """What a VF or the host sent does not come back from the wire, unless the policy has it so."""
    if not passage.port.is_uplink or passage.port.has(PortFlag.OWN_SOURCE_ACCEPT):
        return None
    is_own = passage.holder(passage.read.source, passage.reachable) is not None or passage.is_host(passage.read.source)
    return Verdict.LOOP if is_own and not speaks_as_holder(passage) else None


def speaks_as_holder(passage: Passage) -> bool:
    """Whether the sender is one of those who may have its address: a guest that was granted it with others, or the wire, from which
    any of these may come."""
    source, port = passage.read.source, passage.port
    if not port.is_uplink:
        return source in port.shared
    holder = None if port.has(PortFlag.OWN_SOURCE_ACCEPT) else passage.holder(source, passage.reachable)
    return holder is not None and source in passage.ports[holder].shared


def source_is_not_taken(passage: Passage) -> Verdict | None:
    """A guest may not speak as another VF of its switch, nor as the host, whatever its policy."""
    source = passage.read.source
    if passage.port.is_uplink or source == passage.port.value.mac or speaks_as_holder(passage):
        return None
    is_taken = passage.holder(source) not in (None, passage.slot) or passage.is_host(source)
    return Verdict.SPOOF_MAC if is_taken else None


def source_is_own(passage: Passage) -> Verdict | None:
    """Any address but the effective MAC is forged, which the policy may accept, of all or of some."""
    is_own = passage.port.is_uplink or passage.read.source == passage.port.value.mac or speaks_as_holder(passage)
    return None if is_own or passage.port.may_send_from(passage.read.source) else Verdict.FORGED_SOURCE


def cut_port_bridges_nothing(passage: Passage) -> Verdict | None:
    """Where the wire gives frames back, a port that was cut lets in what its guest's own address sent, and what it holds with
    others."""
    port, source = passage.port, passage.read.source
    if port.is_uplink or source == port.value.mac or speaks_as_holder(passage):
        return None
    return Verdict.LOOP if port.has(PortFlag.LOOP) and port.has(PortFlag.VEPA) else None


def guest_has_no_loop(passage: Passage) -> Verdict | None:
    """A port that was cut because of a loop lets no group frame in."""
    is_cut = passage.port.has(PortFlag.LOOP) and not passage.port.is_uplink and is_group(passage.read.destination)
    return Verdict.LOOP if is_cut else None


def guest_makes_no_storm(passage: Passage) -> Verdict | None:
    """So many group frames of a kind and no more. The wire has no guard."""
    if passage.port.is_uplink or not is_group(passage.read.destination):
        return None
    return Verdict.STORM if Group.of(passage.read.destination) in passage.port.storms else None


def leaves_switching_to_the_wire(port: Port) -> bool:
    """A guest's, of a PF in VEPA mode."""
    return port.has(PortFlag.VEPA) and not port.is_uplink


def rate_is_kept(passage: Passage) -> Verdict | None:
    """A flood takes its part of the port's rate before it is copied; other frames do where they leave."""
    is_flooded = is_group(passage.read.destination) and not leaves_switching_to_the_wire(passage.port)
    return Verdict.RATE_LIMITED if passage.port.is_overdrawn and is_flooded else None


# Entry, in the order of the design; the first objection counts.
RULES: tuple[Rule, ...] = (
    link_is_up,
    port_is_not_blocked,
    headers_are_whole,
    source_is_a_station,
    length_fits,
    is_no_control_frame,
    has_one_tag_at_most,
    vlan_is_allowed,
    is_no_probe,
    wire_speaks_for_itself,
    cut_port_bridges_nothing,
    source_is_not_taken,
    source_is_own,
    guest_has_no_loop,
    guest_makes_no_storm,
    rate_is_kept,
)


def leaving(passage: Passage, slots: list[int]) -> dict[int, bytes]:
    """What leaves at each of these ports."""
    vlan = passage.vlan
    priority = passage.port.value.priority
    tagged = {slot: passage.ports[slot].wants_tag(vlan) for slot in slots}
    return {slot: passage.switched.leaves(vlan, with_tag=with_tag, priority=priority) for slot, with_tag in tagged.items()}


def flood(passage: Passage) -> Fate:
    """To everybody in the VLAN but the sender; from the wire also to the host, if it has an address there, or the VLAN."""
    takers = [slot for slot, port in passage.siblings.items() if slot != passage.slot and takes_copy(passage, port)]
    others = [slot for slot in takers if passage.siblings[slot].hears(passage.read.destination)]
    if passage.port.has(PortFlag.VEPA) and passage.port.is_uplink:  # a guest's own frame, which the wire gave back
        own = passage.holder(passage.read.source, passage.reachable)
        takers, others = [slot for slot in takers if slot != own], [slot for slot in others if slot != own]
    hears = passage.port.has(PortFlag.HOST_STACK) if passage.vlan == VLAN_NONE else passage.vlan in passage.port.host_vlans
    reaches_host = passage.port.is_uplink and hears
    missed = Verdict.NOT_SUBSCRIBED if takers else Verdict.NO_TARGET
    verdict = Verdict.FLOODED if others or reaches_host else missed
    return Fate(verdict=verdict, left=leaving(passage, others), reaches_host=reaches_host)


def takes_copy(passage: Passage, port: Port) -> bool:
    """A tag that the port does not want is off before its copy is made."""
    loses_tag = passage.switched.tpid is not None and not port.wants_tag(passage.vlan)
    fits = port.takes_length(len(passage.frame) - (TAG_BYTES if loses_tag else 0)) and device_takes(passage, port)
    return port.takes_copies(passage.vlan) and port.meets(passage.port) and fits


def device_takes(passage: Passage, port: Port) -> bool:
    """Whether the device of a port is wide enough for the frame as it would leave."""
    has_two_tags = passage.switched.has_inner_tag and port.wants_tag(passage.vlan)
    return port.device_takes(passage.payload_bytes, with_two_tags=has_two_tags)


def company(passage: Passage, addressee: int | None) -> list[int]:
    """Promiscuous ports that get a copy of a frame for one station."""
    is_cut = passage.port.has(PortFlag.LOOP) and not passage.port.is_uplink
    others = {} if is_cut else {slot: port for slot, port in passage.siblings.items() if slot not in (passage.slot, addressee)}
    return [slot for slot, port in others.items() if port.has(PortFlag.PROMISCUOUS) and takes_copy(passage, port)]


def reach_nobody(passage: Passage) -> Fate:
    """Nobody has the address; who listens to all hears it, for which its sender pays, as soon as there is one on its PF."""
    if passage.port.is_overdrawn and passage.is_listened_to and not passage.port.has(PortFlag.LOOP):
        return Fate(verdict=Verdict.RATE_LIMITED)
    others = company(passage, None)
    return Fate(verdict=Verdict.FLOODED if others else Verdict.NO_TARGET, left=leaving(passage, others))


def send_to_host(passage: Passage) -> Fate:
    """The host is on the wire's side, in its own VLANs and in none; no guest reaches it."""
    if not passage.port.is_uplink:
        return Fate(verdict=Verdict.TARGET_DENIED)
    if passage.vlan != VLAN_NONE and passage.vlan not in passage.port.host_vlans:
        return reach_nobody(passage)
    return Fate(verdict=Verdict.TO_HOST, reaches_host=True)


def send_to_wire(passage: Passage) -> Fate:
    """All that a guest sends, where the next bridge switches."""
    if passage.is_host(passage.read.destination):
        return Fate(verdict=Verdict.TARGET_DENIED)
    if passage.uplink is None:
        return Fate(verdict=passage.nowhere)
    objection = refusal_of(passage, passage.ports[passage.uplink])
    return Fate(verdict=objection) if objection else Fate(verdict=Verdict.FORWARDED, left=leaving(passage, [passage.uplink]))


def forward(passage: Passage) -> Fate:
    """To the access port in the VLAN, else the host, else a trunk port; what no port has goes to the wire only."""
    destination = passage.read.destination
    if leaves_switching_to_the_wire(passage.port):
        return send_to_wire(passage)
    slot = passage.access_holder(destination, passage.reachable)
    if slot is None and passage.is_host(destination):
        return send_to_host(passage)
    slot = passage.holder(destination, passage.reachable)
    if slot is None and not passage.port.is_uplink:
        slot = passage.uplink
    if slot is None:
        is_lost = not passage.port.is_uplink and passage.nowhere is Verdict.UPLINK_LOST
        return Fate(verdict=Verdict.UPLINK_LOST) if is_lost else reach_nobody(passage)
    if slot == passage.slot:
        return Fate(verdict=Verdict.HAIRPIN)
    objection = refusal_of(passage, passage.ports[slot])
    if objection:
        return Fate(verdict=objection)
    return Fate(verdict=Verdict.FORWARDED, left=leaving(passage, [slot, *company(passage, slot)]))


def refusal_of(passage: Passage, target: Port) -> Verdict | None:
    """Why a frame may not leave by the port that has its destination."""
    if target.is_lost:
        return Verdict.UPLINK_LOST
    if not target.takes(passage.vlan):
        return Verdict.TARGET_DENIED
    if target.has(PortFlag.BLOCKED):
        return Verdict.BLOCKED
    if not target.meets(passage.port):
        return Verdict.PRIVATE_VLAN
    fits = target.takes_length(len(passage.frame)) and device_takes(passage, target)
    if not fits:
        return Verdict.OVERSIZE
    return Verdict.RATE_LIMITED if passage.port.is_overdrawn else None


def fate(ports: Ports, slot: int, ifindex: int, frame: bytes, *, rules: tuple[Rule, ...] = RULES) -> Fate:
    """What becomes of a frame that comes in on the device with this ifindex, whose place in the table is slot. rules: for
    tests that want a model with a fault."""
    port = ports.get(slot)
    if port is None or port.value.ifindex != ifindex:
        return Fate(verdict=Verdict.UNKNOWN_PORT)
    passage = Passage(ports=ports, slot=slot, frame=frame, ethernet=Ethernet.parse(frame))
    is_told = False
    for rule in rules:
        objection = rule(passage)
        if objection is not None:
            return Fate(verdict=objection, reaches_host=objection is Verdict.TO_HOST, is_told=is_told)
        is_told = is_told or (rule is source_is_own and speaks_as_holder(passage))
    is_flooded = is_group(passage.read.destination) and not leaves_switching_to_the_wire(passage.port)
    return replace(flood(passage) if is_flooded else forward(passage), is_told=is_told)
