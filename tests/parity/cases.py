"""Random networks and random frames, biased to what the rules look at."""

from dataclasses import dataclass, replace

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from programs import BROADCAST, DEVICES, SHORTEST_FRAME_BYTES, UPLINKS, dot1q, ethernet, no_uplink, uplink, vf, with_flags

from sriov_xdp.datapath import abi, model
from sriov_xdp.datapath.abi import VLAN_TRUNKS, PortFlag, Verdict
from sriov_xdp.datapath.model import PROBE, UNICAST_PROBE, Fate, Rule
from sriov_xdp.datapath.model_ports import TPID_8021AD, Ethernet, Group, Port

FRAMES = 4  # in each network, as that takes several times longer to draw than a frame
COMPARED = settings(deadline=None, max_examples=5000 // FRAMES, suppress_health_check=[HealthCheck.too_slow])
VFS = range(16, 22)
SLOT_TENANT = 22  # of PF 1
VLANS = (10, 20, 30)
MOVABLE_MACS = [bytes([0x02, 0, 0, 0, 1, last]) for last in range(3)]  # each VLAN may have one owner of each
HELD_MACS = [bytes([0x02, 0, 0, 0, 4, last]) for last in range(2)]  # and several holders of each of these
UPLINK_MACS = [bytes([0x02, 0, 0, 0, 2, pf]) for pf in UPLINKS]
STRANGER = bytes.fromhex("020000000301")
GROUPS = [BROADCAST, *(bytes.fromhex(group) for group in ("01005e010203", "333300000001", "0180c2000000", "0180c200000f"))]
ORDINARY_GROUPS = GROUPS[:3]
GROUPS.append(PROBE[0])
NEARLY_GROUPS = [bytes.fromhex(group) for group in ("0180c2000010", "01000ccccccc", "01000ccccccd", "01000cccccce", "0080c2000000")]
SMALL_MTU_BYTES = 60


def mac_of(slot: int) -> bytes:
    return bytes([0x02, 0, 0, 0, 0, slot])


MACS = [*(mac_of(slot) for slot in (*VFS, SLOT_TENANT)), *MOVABLE_MACS, *HELD_MACS, *UPLINK_MACS, STRANGER]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A frame on a device of a network."""

    ports: dict[int, Port]
    slot: int
    frame: bytes

    def fate(self, rules: tuple[Rule, ...] = model.RULES) -> Fate:
        return model.fate(self.ports, self.slot, DEVICES[self.slot], self.frame, rules=rules)


FLAGS = st.sets(st.sampled_from([PortFlag.FORGED_ACCEPT, PortFlag.PEER, PortFlag.NO_CARRIER])).map(
    lambda flags: PortFlag(sum(flags))
)
# Of strangers and of others' addresses: one alone, and prefixes that cover some of both.
ALLOWED = st.sampled_from(
    [
        (),
        (),
        (),
        ((STRANGER, 48),),
        ((MOVABLE_MACS[1], 48), (mac_of(16), 48)),
        ((STRANGER[:5] + bytes(1), 40),),
        ((STRANGER[:1] + bytes(5), 9),),
    ]
)
AWAY = st.sampled_from([PortFlag(0), PortFlag(0), PortFlag.AWAY])
ONE_BUFFER = st.sampled_from([PortFlag(0), PortFlag(0), PortFlag.ONE_BUFFER])
ASKED = st.sampled_from([None, None, (), (GROUPS[1],), (GROUPS[2], GROUPS[3])])
SEGMENTS = st.sampled_from([0, 0, 1, 1, 1, 2, 3])  # promiscuous, isolated, two communities
PRIORITIES_GIVEN = st.sampled_from([0, 0, 5, 7])
PROMISCUOUS = st.sampled_from([PortFlag(0)] * 5 + [PortFlag.PROMISCUOUS])
BLOCKED = st.sampled_from([PortFlag(0)] * 7 + [PortFlag.BLOCKED])
LOOPS = st.sampled_from([PortFlag(0), PortFlag(0), PortFlag.LOOP])
STORMS = st.sampled_from([(), (), (), (Group.BROADCAST,), (Group.MULTICAST,), tuple(Group)])
MTUS = st.sampled_from([1500, 1500, SMALL_MTU_BYTES])
DRIVERS = [PortFlag.NATIVE_XDP, PortFlag.NATIVE_XDP, PortFlag(0)]
MOSTLY = st.sampled_from([True] * 7 + [False])
ALMOST_ALWAYS = st.sampled_from([True] * 15 + [False])
SELDOM = st.sampled_from([False] * 3 + [True])


@dataclass(frozen=True, slots=True, kw_only=True)
class Kinds:
    """What a network may have: trunk ports, VLANs of 802.1ad, addresses that several hold. All of it would leave little of each."""

    trunks: bool
    service: bool
    shared: bool


@st.composite
def uplinks(draw: st.DrawFn) -> Port:
    if not draw(MOSTLY):
        return with_flags(no_uplink(0), draw(st.sampled_from([PortFlag(0), PortFlag.LOST])))
    flags = draw(st.sampled_from([PortFlag(0), PortFlag.HOST_STACK, PortFlag.NO_CARRIER])) | draw(st.sampled_from(DRIVERS))
    flags |= draw(st.sampled_from([PortFlag(0), PortFlag.OWN_SOURCE_ACCEPT]))
    flags |= PortFlag(0) if draw(MOSTLY) else PortFlag.LOST
    host_vlans = draw(st.sampled_from([frozenset(), frozenset(VLANS[:1]), frozenset(VLANS)]))
    return uplink(
        0,
        UPLINK_MACS[0],
        flags=flags,
        is_up=draw(MOSTLY),
        mtu_bytes=draw(MTUS),
        host_vlans=host_vlans,
        device_mtu_bytes=draw(st.sampled_from([0, 0, 0, SMALL_MTU_BYTES])),
    )


@st.composite
def vfs(draw: st.DrawFn, slot: int, taken: set[tuple[int, bytes]], kinds: Kinds) -> Port:
    """taken: whom addresses lead to, in which VLAN; an address that several may hold leads to one of them, or to the wire."""
    trunk = draw(st.frozensets(st.sampled_from(VLANS))) if kinds.trunks and draw(st.booleans()) else frozenset()
    vlan = draw(st.sampled_from([0, *sorted(trunk)])) if trunk else draw(st.sampled_from([0, 0, *VLANS]))
    unheard = draw(st.frozensets(st.sampled_from(sorted(trunk)))) if trunk and draw(SELDOM) else frozenset()
    is_service = kinds.service and bool(vlan or trunk) and draw(st.booleans())
    domain = (VLAN_TRUNKS if trunk else vlan) + (abi.VLAN_SERVICE if is_service else 0)
    macs = [mac for mac in draw(st.permutations(MOVABLE_MACS))[: draw(st.integers(0, 2))] if (domain, mac) not in taken]
    held = draw(st.sets(st.sampled_from(HELD_MACS), max_size=2)) if kinds.shared else set()
    kind = abi.VLAN_SERVICE if is_service else 0
    everywhere = {(each | kind, mac) for each in sorted(trunk or {vlan}) for mac in sorted(held)}
    elsewhere = {one for one in sorted(everywhere) if one in taken or draw(st.booleans())}
    taken.update((domain, mac) for mac in macs)
    taken.update(everywhere - elsewhere)
    macs += sorted(held)
    own = macs.pop() if macs and draw(st.booleans()) else mac_of(slot)
    port = vf(
        slot,
        own,
        vlan=vlan,
        trunk=trunk,
        unheard=unheard,
        is_service=is_service,
        more_macs=macs,
        flags=draw(FLAGS),
        is_up=draw(ALMOST_ALWAYS),
        shared=held,
        elsewhere=elsewhere,
    )
    return draw(settings_of(port, is_trunk=bool(trunk))) if draw(st.booleans()) else port


@st.composite
def settings_of(draw: st.DrawFn, port: Port, *, is_trunk: bool) -> Port:
    """A port with all that an operator, or its guest, may have made different."""
    value = port.value
    return vf(
        abi.slot_at(value.ifindex),
        value.mac,
        vlan=value.vlan,
        trunk=port.trunk,
        unheard=port.unheard,
        is_service=port.has(PortFlag.SERVICE),
        more_macs=port.more_macs,
        storms=draw(STORMS),
        allowed=draw(ALLOWED),
        groups=draw(ASKED),
        shared=port.shared,
        elsewhere=port.elsewhere,
        device_mtu_bytes=draw(st.sampled_from([0, 0, SMALL_MTU_BYTES])),
        segment=draw(SEGMENTS),
        priority=0 if is_trunk else draw(PRIORITIES_GIVEN),
        has_room=draw(st.sampled_from([None, None, None, True, False, False])),
        flags=draw(FLAGS) | draw(PROMISCUOUS) | draw(LOOPS) | draw(ONE_BUFFER) | draw(AWAY) | draw(BLOCKED),
        is_up=PortFlag.LINK_UP in value.flags,
        mtu_bytes=draw(MTUS),
    )


@st.composite
def networks(draw: st.DrawFn) -> dict[int, Port]:
    """Half of them have no trunk ports: to those alone what nobody has goes by a fast way."""
    taken: set[tuple[int, bytes]] = set()
    kinds = Kinds(trunks=draw(st.booleans()), service=draw(SELDOM), shared=draw(SELDOM))
    ports = {0: draw(uplinks()), 1: uplink(1, UPLINK_MACS[1]), SLOT_TENANT: vf(SLOT_TENANT, mac_of(SLOT_TENANT), pf=1)}
    for slot in VFS:
        if draw(ALMOST_ALWAYS):
            ports[slot] = draw(vfs(slot, taken, kinds))
    return draw(st.sampled_from([in_vepa_mode, without_subscribers, *[lambda same: same] * 6]))(ports)


def without_subscribers(ports: dict[int, Port]) -> dict[int, Port]:
    """No guest asked for any group."""
    return {
        slot: replace(with_flags(port, PortFlag.SUBSCRIBES), groups=frozenset()) if slot in VFS else port
        for slot, port in ports.items()
    }


def in_vepa_mode(ports: dict[int, Port]) -> dict[int, Port]:
    """PF 0 leaves switching to the wire, which then may give back what it got."""
    flags = {slot: PortFlag.VEPA | (PortFlag.OWN_SOURCE_ACCEPT if port.is_uplink else PortFlag(0)) for slot, port in ports.items()}
    return {slot: with_flags(port, flags[slot]) if port.value.pf == 0 else port for slot, port in ports.items()}


ORDINARY_TYPES = st.sampled_from([0x0800, 0x88B5, 0x0000, 0x05DC, 0xFFFF])
ODD_TYPES = st.sampled_from([0x8808, 0x8809, 0x888E, 0x88CC, 0x88F7, 0x88FF, 0x8100, 0x88A8, 0x9100, PROBE[1]])
PRIORITIES = st.sampled_from([0, 3, 7])
TAGS = st.builds(lambda vlan, priority: dot1q(vlan, priority=priority), st.sampled_from([*VLANS, 0, 40, 4095]), PRIORITIES)
SERVICE_TAGS = st.tuples(st.sampled_from([0x88A8, 0x9100]), st.sampled_from([0, *VLANS]))
INNER_TAGS = st.sampled_from([(), (), (dot1q(40),), (dot1q(20, priority=3),), (dot1q(0),), ((0x88A8, 10),)])
ODD_TAGGINGS = st.lists(TAGS | SERVICE_TAGS, max_size=2).map(tuple)
PAYLOAD_BYTES = [0, 1, *[46] * 12, *range(SMALL_MTU_BYTES - 1, SMALL_MTU_BYTES + 6), 1500, 1501, 1504, 1505]
ODD_DESTINATIONS = st.sampled_from([*MACS, *NEARLY_GROUPS, bytes(6)])
FOREIGN_SOURCES = st.sampled_from([*MACS, *MACS, BROADCAST, bytes(6), b"\x03" + STRANGER[1:]])
SHORTEST_BYTES_OF_TYPE = {b"\x08\x00": 34, b"\x86\xdd": 54}  # the kernel's test run wants the whole IP header


@st.composite
def taggings(draw: st.DrawFn, sender: Port | None) -> tuple[tuple[int, int], ...]:
    """What such a port may well send; sometimes anything."""
    if not draw(MOSTLY):
        return draw(ODD_TAGGINGS)
    if sender is not None and sender.is_access and sender.has(PortFlag.SERVICE):
        return draw(INNER_TAGS)
    if sender is None or sender.is_access or (sender.is_uplink and draw(st.booleans())):
        return ()
    tag = dot1q(draw(st.sampled_from(sorted(sender.trunk) or VLANS)), priority=draw(PRIORITIES))
    if sender.has(PortFlag.SERVICE) or (sender.is_uplink and draw(SELDOM)):
        return ((0x88A8, tag[1]), *draw(INNER_TAGS))
    return (tag,)


def neighbours(ports: dict[int, Port], slot: int) -> list[bytes]:
    """Addresses of VFs in the VLAN of a port that has one."""
    own = ports.get(slot)
    others = [port for other, port in ports.items() if other != slot and not port.is_uplink]
    return [port.value.mac for port in others if own and (port.value.vlan == own.value.vlan or own.value.vlan in port.trunk)]


@st.composite
def destinations(draw: st.DrawFn, ports: dict[int, Port], slot: int) -> bytes:
    """Those that lead somewhere first."""
    kind = draw(st.sampled_from(["neighbour", "neighbour", "neighbour", "port", "group", "group", "stranger", "odd"]))
    if kind == "stranger":
        return STRANGER
    if kind == "odd":
        return draw(ODD_DESTINATIONS)
    if kind == "neighbour" and (near := neighbours(ports, slot)):
        return draw(st.sampled_from(near))
    known = [mac for port in ports.values() for mac in (port.value.mac, *sorted(port.more_macs))]
    return draw(st.sampled_from([*ORDINARY_GROUPS, *GROUPS] if kind == "group" else known))


@st.composite
def frames(draw: st.DrawFn, ports: dict[int, Port], slot: int) -> bytes:
    sender = ports.get(slot)
    has_inner_tags = sender is not None and sender.is_access and sender.has(PortFlag.SERVICE)
    kind = draw(st.sampled_from(["whole"] * 8 + ["cut", "raw", "probe"] + ["probe"] * 4 * has_inner_tags))
    if kind == "raw":
        return draw(st.binary(min_size=SHORTEST_FRAME_BYTES, max_size=90))
    own = sender.value.mac if sender and not sender.is_uplink else STRANGER
    held = sorted({mac for port in ports.values() for mac in port.shared})
    source = draw(st.one_of(st.just(own), st.just(own), st.sampled_from(held) if held else st.just(own), FOREIGN_SOURCES))
    payload = bytes(index & 0xFF for index in range(draw(st.sampled_from(PAYLOAD_BYTES))))
    ether_type = draw(ORDINARY_TYPES if draw(MOSTLY) else ODD_TYPES)
    if kind == "probe":
        destination, probe_type = draw(st.sampled_from([PROBE, UNICAST_PROBE]))
        return ethernet(destination, source, payload, tags=draw(taggings(sender) | ODD_TAGGINGS), ether_type=probe_type)
    whole = ethernet(draw(destinations(ports, slot)), source, payload, tags=draw(taggings(sender)), ether_type=ether_type)
    return whole if kind == "whole" else whole[: draw(st.integers(SHORTEST_FRAME_BYTES, 24))]


def is_runnable(frame: bytes) -> bool:
    if frame[12:14] == b"\x81\x00" and len(frame) in (18, 19):
        return False  # whole for us, but no stack takes a frame that ends with its tag, so copies of it are seen nowhere
    return len(frame) >= SHORTEST_BYTES_OF_TYPE.get(frame[12:14], SHORTEST_FRAME_BYTES)


@st.composite
def cases(draw: st.DrawFn) -> list[Case]:
    """Several in one network."""
    ports = draw(networks())
    slots = [draw(st.sampled_from([0, 0, *VFS])) for _frame in range(FRAMES)]
    return [Case(ports=ports, slot=slot, frame=draw(frames(ports, slot).filter(is_runnable))) for slot in slots]


def some(count: int) -> tuple[Case, ...]:
    """The same ones each time."""
    found: list[Case] = []

    @given(drawn=cases())
    @settings(
        deadline=None,
        max_examples=count // FRAMES,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def collect(drawn: list[Case]) -> None:
        found.extend(drawn)

    collect()
    return tuple(found)


def is_flooded_by_xdp(case: Case) -> bool:
    """From a native uplink that does not give guests their own frames back, not for the host, in a VLAN of access ports only, all
    of which take all."""
    wanted, sender = case.fate(), case.ports.get(case.slot)
    if sender is not None and sender.has(PortFlag.VEPA):
        return False
    if wanted.verdict is not Verdict.FLOODED or wanted.reaches_host or sender is None or not sender.has(PortFlag.NATIVE_XDP):
        return False
    ethernet = Ethernet.parse(case.frame)
    siblings = [port for port in case.ports.values() if port.value.pf == sender.value.pf and not port.is_uplink]
    if ethernet is None:
        return False
    vlan = ethernet.vid | (abi.VLAN_SERVICE if ethernet.tpid == TPID_8021AD and ethernet.vid else 0)
    if any(port.has(PortFlag.TRUNK) and port.carries(vlan) for port in siblings):
        return False
    of_vlan = [port for port in siblings if port.is_access and port.untagged_vlan == vlan]
    return not any(port.has(PortFlag.SUBSCRIBES) or port.has(PortFlag.NARROW) for port in of_vlan)
