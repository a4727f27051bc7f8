"""The data path's limits, numbers and layouts as Python sees them.

bpf/abi/ is the truth; this file repeats it, and tests/unit/test_abi.py compiles the headers and compares every number, size and
offset. Pure: no IO. For the datapath package and for readers of its values.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag

MAX_PFS = 16
MAX_PORTS = 1024
MAX_MEMBERS = 256
FLOOD_CHUNK = 32
MAX_VLANS = 1024
MAX_FDB_ENTRIES = 16384
MAX_SEGMENTS, MAX_ALLOWED = 512, 16
PRIORITY_SHIFT = 13
SEGMENT_PROMISCUOUS, SEGMENT_ISOLATED = 0, 1
FDB_BUCKET_BITS = 14
FDB_BUCKETS = 1 << FDB_BUCKET_BITS
FDB_WAYS = 4
REF_SLOT_BITS = 10
REF_GENERATION_BITS = 4
REF_BITS = REF_SLOT_BITS + REF_GENERATION_BITS
FLOW_BITS = 11
FLOWS = 1 << FLOW_BITS
SAMPLES, SAMPLE_BYTES, SAMPLE_SERVICE = 128, 128, 1 << 15
PF_IS_WATCHED, PF_HAS_SERVICE = 1 << 0, 1 << 1
SLOT_MASK = MAX_PORTS - 1
FIRST_VF_SLOT = MAX_PFS
NOBODY = MAX_PORTS
VLAN_NONE = 0
VLAN_TRUNKS = 4095
VLAN_MASK = 0x0FFF
VLAN_SERVICE = 1 << 16  # beside the number: of 802.1ad
VLAN_WHOLE = VLAN_SERVICE | VLAN_MASK
VERDICT_ROOM = 32
STAGES = 8  # room
GUARD_BURST_NS = 100_000_000
BUFFER_BYTES = 3520  # of an XDP buffer
PROBE_GROUP = bytes.fromhex("cf0000000000")
PROBE_STATION = bytes.fromhex("ce0000000000")
PROBE_TYPE = 0x9000  # SXDP_ETH_LOOPBACK
PROBE_MAGIC = 0x7064787300010000

# Every member of every struct that both sides know, with its format in Python's struct; what Python only passes over is "x".
_PORT_BYTES, _COUNTERS_BYTES, _FLOW_BYTES = 64, 8 * (VERDICT_ROOM + 8), 32
_SAMPLE_BYTES = 32 + SAMPLE_BYTES
LAYOUTS: dict[str, dict[str, str]] = {
    "sxdp_port": {
        "ifindex": "I",
        "generation": "I",
        "mac": "Q",
        "flags": "I",
        "vlan": "H",
        "mtu_bytes": "H",
        "pf": "H",
        "device_mtu_bytes": "H",
        "ref": "I",
        "segment": "H",
        "priority": "H",
        "of_pf": "H",
        "spare": "2x",
        "hop_ifindex": "I",
        "shaped_ifindex": "I",
        "room": "16x",
    },
    "sxdp_ports": {"at": f"{_PORT_BYTES * MAX_PORTS}x", "epoch": "Q", "last_epoch": "Q"},
    "sxdp_trunk": {"vlans": "64Q"},
    "sxdp_pattern": {"address": "Q", "mask": "Q"},
    "sxdp_allowed": {"patterns": f"{2 * MAX_ALLOWED}Q"},
    "sxdp_shared": {"holders": f"{MAX_PORTS // 64}Q", "speaker": "I", "spare": "4x"},
    "sxdp_meter": {"interval_ns": "Q", "due_ns": "Q"},
    "sxdp_guard": {"broadcast": "QQ", "multicast": "QQ"},
    "sxdp_bucket": {"byte_cost": "Q", "burst": "Q", "full_at": "Q"},
    "sxdp_rate": {"average": "QQQ", "peak": "QQQ", "average_kbps": "I", "peak_kbps": "I", "burst_bytes": "Q"},
    "sxdp_probe": {"magic": "Q", "nonce": "Q", "sender": "I", "vlan": "I"},
    "sxdp_return": {"nonce": "Q", "time_ns": "Q", "sender": "I", "vlan": "I"},
    "sxdp_fdb": {"way": f"{8 * FDB_WAYS * FDB_BUCKETS}x"},
    "sxdp_members": {"count": "I", "slots": f"{MAX_MEMBERS + FLOOD_CHUNK}H", "of_tc": "I"},
    "sxdp_counters": {
        "ingress_bytes": "Q",
        "egress_frames": "Q",
        "egress_bytes": "Q",
        "egress_errors": "Q",
        "verdict": f"{VERDICT_ROOM}Q",
        "ingress_multicast": "Q",
        "ingress_broadcast": "Q",
        "egress_multicast": "Q",
        "egress_broadcast": "Q",
    },
    "sxdp_flow": {"head": "Q", "tail": "Q", "epoch": "Q", "ingress": "I", "longest_bytes": "H", "target_slot": "H"},
    "sxdp_sample": {
        "time_ns": "Q",
        "slot": "I",
        "target_slot": "I",
        "verdict": "H",
        "vlan": "H",
        "length_bytes": "I",
        "kept_bytes": "I",
        "tpid": "H",
        "tci": "H",
        "bytes": f"{SAMPLE_BYTES}s",
    },
    "sxdp_samples": {"written": "Q", "is_open": "Q", "at": f"{_SAMPLE_BYTES * SAMPLES}x"},
    "sxdp_cpu": {
        "of": f"{_COUNTERS_BYTES * MAX_PORTS}x",
        "flows": f"{_FLOW_BYTES * FLOWS}x",
        "handed_slot": "I",
        "handed_vlan": "I",
    },
}


def _layout(name: str) -> struct.Struct:
    return struct.Struct("<" + "".join(LAYOUTS[name].values()))


def offset_bytes(name: str, member: str) -> int:
    """Where a member stands in its struct."""
    members = LAYOUTS[name]
    before = list(members)[: list(members).index(member)]
    return struct.calcsize("<" + "".join(members[other] for other in before))


STRUCT_BYTES = {name: _layout(name).size for name in LAYOUTS}
PORT_LAYOUT = _layout("sxdp_port")
TRUNK_LAYOUT = _layout("sxdp_trunk")
ALLOWED_LAYOUT = _layout("sxdp_allowed")
GUARD_LAYOUT = _layout("sxdp_guard")
RATE_LAYOUT = _layout("sxdp_rate")
SHARED_LAYOUT = _layout("sxdp_shared")
SAMPLE_LAYOUT = _layout("sxdp_sample")
PROBE_LAYOUT = _layout("sxdp_probe")
RETURN_LAYOUT = _layout("sxdp_return")
MEMBERS_LAYOUT = _layout("sxdp_members")
COUNTERS_LAYOUT = _layout("sxdp_counters")
FLOW_LAYOUT = _layout("sxdp_flow")
EPOCH_AT_BYTES = offset_bytes("sxdp_ports", "epoch")
FLOWS_AT_BYTES = offset_bytes("sxdp_cpu", "flows")
CPU_BYTES = STRUCT_BYTES["sxdp_cpu"]
FDB_KEY_LAYOUT = struct.Struct("<Q")
REF_LAYOUT = struct.Struct("<I")
SLOT_LAYOUT = struct.Struct("<I")


class Verdict(IntEnum):
    """What became of a frame that entered the switch through a port (enum sxdp_verdict)."""

    FORWARDED = 0
    FLOODED = 1
    TO_HOST = 2
    UNKNOWN_PORT = 3
    LINK_DOWN = 4
    MALFORMED = 5
    OVERSIZE = 6
    CONTROL_FRAME = 7
    VLAN_DENIED = 8
    DOUBLE_TAG = 9
    SPOOF_MAC = 10
    FORGED_SOURCE = 11
    NO_TARGET = 12
    TARGET_DENIED = 13
    REDIRECT_ERROR = 14
    HAIRPIN = 15
    STORM = 16
    LOOP = 17
    MISSED_STAGE = 18
    UNTAGGED = 19
    BLOCKED = 20
    SPOOF_VLAN = 21
    PRIVATE_VLAN = 22
    NOT_SUBSCRIBED = 23
    QUEUE_FULL = 24
    RATE_LIMITED = 25
    UPLINK_LOST = 26

    @property
    def label(self) -> str:
        """The name in tables, JSON and metrics."""
        return self.name.lower()


DELIVERED = (Verdict.FORWARDED, Verdict.FLOODED)
DROPS = tuple(verdict for verdict in Verdict if verdict > Verdict.TO_HOST)


class PortFlag(IntFlag):
    """enum sxdp_port_flag."""

    LINK_UP = 1 << 0
    TRUNK = 1 << 1
    FORGED_ACCEPT = 1 << 2
    PEER = 1 << 3
    UPLINK = 1 << 4
    HOST_STACK = 1 << 5
    JUMBO = 1 << 6
    PF_HAS_TRUNKS = 1 << 7
    NO_CARRIER = 1 << 8
    NATIVE_XDP = 1 << 9
    OWN_SOURCE_ACCEPT = 1 << 10
    LOOP = 1 << 11
    ONE_BUFFER = 1 << 12
    AWAY = 1 << 13
    HOST_VLANS = 1 << 14
    NARROW = 1 << 15
    BLOCKED = 1 << 16
    ALLOWS = 1 << 17
    PRIVATE = 1 << 18
    SUBSCRIBES = 1 << 19
    QUEUED = 1 << 20
    POLICED = 1 << 21
    SHAPED = 1 << 22
    PROMISCUOUS = 1 << 23
    COPIED = 1 << 24
    VEPA = 1 << 25
    LOST = 1 << 26
    SHARES = 1 << 27
    SPEAKS = 1 << 28
    SERVICE = 1 << 29
    WATCHED = 1 << 30


class Stage(IntEnum):
    """enum sxdp_stage: programs that others jump to, by their place in a hook's array."""

    LONG = 0
    FLOOD = 1


def mac_word(mac: bytes) -> int:
    """The six bytes as the programs compare them: first byte lowest."""
    return int.from_bytes(mac, "little")


def domain(pf: int, vlan: int) -> int:
    """Forwarding domain of a VLAN of a PF (sxdp_domain). vlan: with VLAN_SERVICE where it is 802.1ad's."""
    return pf << 12 | vlan


def fdb_key(pf: int, vlan: int, mac: bytes) -> int:
    """Key of the forwarding database (sxdp_fdb_key, sxdp_kept_mac). vlan: with VLAN_SERVICE where it is 802.1ad's."""
    kept = mac_word(mac) | 1 if vlan & VLAN_SERVICE else mac_word(mac)
    return domain(pf, vlan & VLAN_MASK) << 48 | kept


def mac_of_fdb_key(key: int) -> bytes:
    """The address in a key, which is a station's."""
    return (key & (1 << 48) - 2).to_bytes(6, "little")


def vlan_of_fdb_key(key: int) -> int:
    """The VLAN in a key, with VLAN_SERVICE where it is 802.1ad's."""
    return key >> 48 & VLAN_MASK | (VLAN_SERVICE if key & 1 else 0)


def group_of_subscription(key: int) -> bytes:
    """The address in a key of the subscriptions."""
    return (key & (1 << 48) - 1).to_bytes(6, "little")


def ref(slot: int, generation: int) -> int:
    """Where an address is (sxdp_ref)."""
    return (generation & ((1 << REF_GENERATION_BITS) - 1)) << REF_SLOT_BITS | slot


def subscription(slot: int, group: bytes) -> int:
    """Key of a group that the guest of a port asked for (sxdp_subscription)."""
    return slot << 48 | mac_word(group)


def slot_at(ref: int) -> int:
    """The port of a ref (fdb_slot)."""
    return ref & SLOT_MASK


@dataclass(frozen=True, slots=True, kw_only=True)
class PortValue:
    """struct sxdp_port. mac is six bytes; vlan: of frames without a tag of their own, 0 = none; device_mtu_bytes: of an uplink, and
    with the flag NARROW; segment: with PRIVATE only; priority: of the tag that the switch gives; hop_ifindex, shaped_ifindex: with
    SHAPED only, the device whose queue its guest's frames wait in, and the one that they come out of; of_pf: of a PF's own port,
    PF_IS_WATCHED, PF_HAS_SERVICE."""

    ifindex: int
    generation: int
    mac: bytes
    flags: PortFlag
    vlan: int
    mtu_bytes: int
    pf: int
    device_mtu_bytes: int = 0
    segment: int = 0
    priority: int = 0
    hop_ifindex: int = 0
    shaped_ifindex: int = 0
    of_pf: int = 0

    def pack(self) -> bytes:
        """The map value."""
        reached_at = 0 if PortFlag.UPLINK in self.flags else ref(self.ifindex & SLOT_MASK, self.generation)
        words = (self.ifindex, self.generation, mac_word(self.mac), self.flags, self.vlan, self.mtu_bytes, self.pf)
        more = (self.device_mtu_bytes, reached_at, self.segment, self.priority << PRIORITY_SHIFT)
        return PORT_LAYOUT.pack(*words, *more, self.of_pf, self.hop_ifindex, self.shaped_ifindex)

    @classmethod
    def unpack(cls, packed: bytes) -> "PortValue":
        """The reverse of pack()."""
        words = PORT_LAYOUT.unpack(packed)
        ifindex, generation, mac, flags, vlan, mtu_bytes, pf, device_mtu_bytes, _ref, segment, tci, of_pf, *hop = words
        return cls(
            ifindex=ifindex,
            generation=generation,
            mac=mac.to_bytes(8, "little")[:6],
            flags=PortFlag(flags),
            vlan=vlan,
            mtu_bytes=mtu_bytes,
            pf=pf,
            device_mtu_bytes=device_mtu_bytes,
            segment=segment,
            priority=tci >> PRIORITY_SHIFT,
            hop_ifindex=hop[0],
            shaped_ifindex=hop[1],
            of_pf=of_pf,
        )


EMPTY_PORT = bytes(PORT_LAYOUT.size)


@dataclass(frozen=True, slots=True)
class Members:
    """Struct sxdp_members, who gets the floods of a VLAN. of_tc: how many of the slots XDP cannot serve."""

    slots: tuple[int, ...]
    of_tc: int = 0

    def pack(self) -> bytes:
        """As the map holds it. Raises ValueError above MAX_MEMBERS."""
        if len(self.slots) > MAX_MEMBERS:
            raise ValueError(f"a VLAN has {len(self.slots)} members; a flood list holds {MAX_MEMBERS}")
        room = [0] * (MAX_MEMBERS + FLOOD_CHUNK - len(self.slots))
        return MEMBERS_LAYOUT.pack(len(self.slots), *self.slots, *room, self.of_tc)

    @classmethod
    def unpack(cls, packed: bytes) -> "Members":
        """The reverse of pack()."""
        count, *slots, of_tc = MEMBERS_LAYOUT.unpack(packed)
        return cls(tuple(slots[:count]), of_tc)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """Struct sxdp_counters, summed over CPUs. Ingress = into the switch = what a guest transmits."""

    verdicts: tuple[int, ...] = field(default=(0,) * VERDICT_ROOM)
    ingress_bytes: int = 0
    ingress_multicast: int = 0
    ingress_broadcast: int = 0
    egress_frames: int = 0
    egress_bytes: int = 0
    egress_multicast: int = 0
    egress_broadcast: int = 0
    egress_errors: int = 0

    @classmethod
    def sum_of(cls, blocks: Sequence[bytes]) -> "Counters":
        """From the blocks of each CPU that counted anything."""
        if not blocks:
            return cls()
        totals = [sum(column) for column in zip(*(COUNTERS_LAYOUT.unpack(block) for block in blocks), strict=True)]
        rest = 4 + VERDICT_ROOM
        return cls(
            ingress_bytes=totals[0],
            egress_frames=totals[1],
            egress_bytes=totals[2],
            egress_errors=totals[3],
            verdicts=tuple(totals[4:rest]),
            ingress_multicast=totals[rest],
            ingress_broadcast=totals[rest + 1],
            egress_multicast=totals[rest + 2],
            egress_broadcast=totals[rest + 3],
        )

    @property
    def ingress_frames(self) -> int:
        """Frames that entered here and went on to another port."""
        return sum(self.verdicts[verdict] for verdict in DELIVERED)

    @property
    def delivered_frames(self) -> int:
        """Frames that the device of this port took."""
        return max(0, self.egress_frames - self.egress_errors)

    def drops(self) -> dict[str, int]:
        """Drops by verdict, without the zeros; what this port's device refused counts as redirect_error."""
        counted = {verdict.label: self.verdicts[verdict] for verdict in DROPS}
        counted[Verdict.REDIRECT_ERROR.label] += self.egress_errors
        return {label: count for label, count in counted.items() if count}
