"""The ports and frames of the reference model (model.py): what a port is told to be, and a frame taken apart. For it and for tests.
Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from sriov_xdp.datapath.abi import VLAN_MASK, VLAN_NONE, VLAN_SERVICE, PortFlag, PortValue
from sriov_xdp.datapath.port_lists import Prefix

ETH_HEADER_BYTES = 14
TAG_BYTES = 4
XDP_BUFFER_BYTES = 3520
TPID_8021Q, TPID_8021AD = 0x8100, 0x88A8
TAG_TYPES = frozenset({TPID_8021Q, TPID_8021AD, 0x9100})
PROMISCUOUS, ISOLATED = 0, 1  # segments of a private VLAN; any other is a community
BROADCAST = b"\xff" * 6


class Group(StrEnum):
    """Frames for many, as storm guards tell them apart."""

    BROADCAST = "broadcast"
    MULTICAST = "multicast"

    @classmethod
    def of(cls, destination: bytes) -> "Group":
        """Of a frame whose destination is a group."""
        return cls.BROADCAST if destination == BROADCAST else cls.MULTICAST


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A port as the maps describe it. trunk: the tags of a trunk port, or the VLANs that the host has on an
    uplink; unheard: of a trunk's, those whose frames its guest did not ask for; more_macs: addresses beside value.mac by which it
    is reached; storms: of what it has sent so much that its guard lets nothing more in; allowed:
    what its guest may send from beside its own; groups: that its guest asked for; shared: of its addresses, those that others may
    hold too; elsewhere: of these, behind a VLAN, those that lead to another holder there, who spoke last; is_overdrawn: a policed
    port has sent so much that nothing more passes."""

    value: PortValue
    trunk: frozenset[int] = frozenset()
    unheard: frozenset[int] = frozenset()
    more_macs: frozenset[bytes] = frozenset()
    storms: frozenset[Group] = frozenset()
    allowed: frozenset[Prefix] = frozenset()
    groups: frozenset[bytes] = frozenset()
    shared: frozenset[bytes] = frozenset()
    elsewhere: frozenset[tuple[int, bytes]] = frozenset()
    is_overdrawn: bool = False

    def has(self, flag: PortFlag) -> bool:
        """Whether a flag is set."""
        return flag in self.value.flags

    @property
    def is_uplink(self) -> bool:
        """Whether it leads to the wire."""
        return self.has(PortFlag.UPLINK)

    @property
    def host_vlans(self) -> frozenset[int]:
        """Of an uplink, VLANs in which the host hears it."""
        return self.trunk if self.has(PortFlag.HOST_VLANS) else frozenset()

    @property
    def kind(self) -> int:
        """Whose VLANs a VF's port is in: VLAN_SERVICE of 802.1ad, 0 of 802.1Q."""
        return VLAN_SERVICE if self.has(PortFlag.SERVICE) else 0

    @property
    def untagged_vlan(self) -> int:
        """Of frames without a tag; VLAN_NONE."""
        return self.value.vlan and self.value.vlan | self.kind

    def carries(self, vlan: int) -> bool:
        """Whether a trunk port is in a VLAN."""
        return vlan & VLAN_SERVICE == self.kind and vlan & VLAN_MASK in self.trunk

    @property
    def is_access(self) -> bool:
        """A VF in one VLAN, or in none, whose guest sees no tags."""
        return not self.is_uplink and not self.has(PortFlag.TRUNK)

    def is_reached_by(self, mac: bytes, vlan: int) -> bool:
        """Whether a VF's port has this unicast address in a VLAN of its."""
        return not self.is_uplink and (vlan, mac) not in self.elsewhere and (mac == self.value.mac or mac in self.more_macs)

    def may_send_from(self, mac: bytes) -> bool:
        """Whether the policy lets its guest send from an address that is not its own."""
        bits = f"{int.from_bytes(mac):048b}"
        names_it = any(bits.startswith(f"{int.from_bytes(octets):048b}"[:count]) for octets, count in self.allowed)
        return self.has(PortFlag.FORGED_ACCEPT) or (self.has(PortFlag.ALLOWS) and names_it)

    def takes(self, vlan: int) -> bool:
        """Whether frames of this VLAN may leave here."""
        if self.is_access or self.is_uplink:
            is_member = self.is_uplink or vlan == self.untagged_vlan
        else:
            is_member = self.carries(vlan) and vlan & VLAN_MASK not in self.unheard
        return self.has(PortFlag.LINK_UP) and is_member

    @property
    def is_lost(self) -> bool:
        """Whether it is the wire's end, and there is no wire."""
        return self.has(PortFlag.LOST)

    def takes_copies(self, vlan: int) -> bool:
        """Whether floods of this VLAN may leave here."""
        return self.takes(vlan) and not self.is_lost and not self.has(PortFlag.LOOP) and not self.has(PortFlag.BLOCKED)

    def hears(self, destination: bytes) -> bool:
        """Whether it gets what goes to a group: all, or what its guest asked for, and broadcast."""
        return not self.has(PortFlag.SUBSCRIBES) or destination == BROADCAST or destination in self.groups

    def takes_length(self, frame_bytes: int) -> bool:
        """Whether a frame may be given to the guest: one that runs XDP on a kernel that several buffers can panic gets what
        fits into one, a tag that may come on included."""
        return not self.has(PortFlag.ONE_BUFFER) or frame_bytes + TAG_BYTES <= XDP_BUFFER_BYTES

    def device_takes(self, payload_bytes: int, *, with_two_tags: bool) -> bool:
        """Whether the device behind it takes a frame with so much behind its Ethernet header and tags; beside its MTU there is room
        for one."""
        device_mtu_bytes = self.value.device_mtu_bytes or self.value.mtu_bytes
        if with_two_tags:
            return payload_bytes + TAG_BYTES <= device_mtu_bytes
        return not self.has(PortFlag.NARROW) or payload_bytes <= device_mtu_bytes

    def wants_tag(self, vlan: int) -> bool:
        """Whether frames of this VLAN leave with a tag."""
        return vlan != VLAN_NONE and not self.is_access and (self.is_uplink or vlan != self.untagged_vlan)

    def meets(self, other: "Port") -> bool:
        """Whether their segments of a private VLAN let them talk: promiscuous ones with all, a community with itself."""
        segments = {port.value.segment if port.has(PortFlag.PRIVATE) else PROMISCUOUS for port in (self, other)}
        return PROMISCUOUS in segments or (len(segments) == 1 and ISOLATED not in segments)


Ports = Mapping[int, Port]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ethernet:
    """A frame taken apart. tci and tpid are of the outer tag, None without one; type is what stands behind it."""

    destination: bytes
    source: bytes
    tpid: int | None
    tci: int | None
    type: int
    payload: bytes

    @classmethod
    def parse(cls, frame: bytes) -> "Ethernet | None":
        """None when a header that is needed is cut off."""
        is_tagged = int.from_bytes(frame[12:14], "big") in TAG_TYPES
        body = ETH_HEADER_BYTES + (TAG_BYTES if is_tagged else 0)
        if len(frame) < body:
            return None
        return cls(
            destination=frame[:6],
            source=frame[6:12],
            tpid=int.from_bytes(frame[12:14], "big") if is_tagged else None,
            tci=int.from_bytes(frame[14:16], "big") if is_tagged else None,
            type=int.from_bytes(frame[body - 2 : body], "big"),
            payload=frame[body:],
        )

    @property
    def has_inner_tag(self) -> bool:
        """Whether a tag of the guest's own comes before what the frame carries."""
        return self.type in TAG_TYPES

    def with_tag_for_inner(self) -> "Ethernet":
        """The same frame, whose tag is the guest's own, and says no VLAN of the switch."""
        assert self.tpid is not None
        assert self.tci is not None
        payload = self.tci.to_bytes(2, "big") + self.type.to_bytes(2, "big") + self.payload
        return replace(self, tpid=None, tci=None, type=self.tpid, payload=payload)

    @property
    def vid(self) -> int:
        """VLAN number in the tag; a frame without a tag, like one with a priority tag, says none."""
        return (self.tci or 0) & 0x0FFF

    def leaves(self, vlan: int, *, with_tag: bool, priority: int) -> bytes:
        """The bytes at the exit. A tag that the frame came with keeps its priority bits; one that it gets has the port's."""
        tci = priority << 13 | vlan & VLAN_MASK if self.vid == VLAN_NONE else self.tci or 0
        tpid = TPID_8021AD if vlan & VLAN_SERVICE else TPID_8021Q
        tag = tpid.to_bytes(2, "big") + tci.to_bytes(2, "big") if with_tag else b""
        return self.destination + self.source + tag + self.type.to_bytes(2, "big") + self.payload
