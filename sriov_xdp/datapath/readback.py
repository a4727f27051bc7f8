"""What the maps hold, read from them and not from what Tables remembers of its writes. For who compares (pf/invariants), not for
daily work: it reads all of the forwarding database.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from sriov_xdp.datapath import abi, libbpf, port_lists
from sriov_xdp.datapath.fdb import key_of
from sriov_xdp.datapath.floods import Floods
from sriov_xdp.datapath.meters import Guard, Rate
from sriov_xdp.datapath.pins import Pins
from sriov_xdp.datapath.port_image import PortImage
from sriov_xdp.datapath.shared import SharedTable
from sriov_xdp.datapath.subscriptions import Subscriptions
from sriov_xdp.datapath.tables import flood_entry

_KEY = struct.Struct("<I")
_REF = (1 << abi.REF_BITS) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PortAsItIs:
    """All that the maps say of one port. fdb: keys under which it is reached; storm_ns: its guard's intervals; rate: what is set of
    it; device: what its slot in the devmap leads to, 0 = nothing."""

    value: bytes
    trunk: frozenset[int]
    fdb: frozenset[int]
    storm_ns: tuple[int, int]
    device: int
    allowed: frozenset[port_lists.Prefix]
    groups: frozenset[bytes]
    shared: frozenset[int]
    heard: frozenset[int]
    rate: tuple[int, ...]

    @classmethod
    def of(cls, image: PortImage) -> "PortAsItIs":
        """As an image would have it."""
        return cls(
            value=image.value.pack(),
            trunk=image.trunk,
            fdb=image.fdb,
            storm_ns=Guard.intervals_in(image.guard.pack()),
            device=image.value.ifindex,
            allowed=image.allowed,
            groups=image.groups,
            shared=image.shared,
            heard=image.heard,
            rate=Rate.said_in(image.rate.pack()),
        )


def read_ports(pins: Pins) -> dict[int, PortAsItIs]:
    """By slot, of slots with a port or an entry that leads there. Raises DataPathError."""
    fdb: dict[int, set[int]] = {}
    for key, ref in _entries(pins):
        fdb.setdefault(abi.slot_at(ref), set()).add(key)
    packed = pins.words("ports").tobytes()
    size = abi.PORT_LAYOUT.size
    values = {slot: packed[slot * size : (slot + 1) * size] for slot in range(abi.MAX_PORTS)}
    used = {slot for slot, value in values.items() if value != abi.EMPTY_PORT} | set(fdb)
    subscriptions = Subscriptions(pins.map_fd("subscriptions"))
    subscriptions.adopt()
    shared = SharedTable(pins.map_fd("shared"))
    shared.adopt()
    return {
        slot: replace(
            _read_port(pins, slot, values[slot]),
            fdb=frozenset(fdb.get(slot, ())),
            groups=subscriptions.of(slot),
            shared=shared.of(slot),
        )
        for slot in sorted(used)
    }


def _entries(pins: Pins) -> Iterator[tuple[int, int]]:
    for index, word in enumerate(pins.words("fdb").tolist()):
        if word:
            yield key_of(index // abi.FDB_WAYS, word), word & _REF
    overflow = pins.map_fd("fdb_overflow")
    for key in list(libbpf.iterate_keys(overflow, abi.FDB_KEY_LAYOUT.size)):
        value = libbpf.lookup_element(overflow, key, abi.REF_LAYOUT.size)
        if value is not None:
            yield abi.FDB_KEY_LAYOUT.unpack(key)[0], abi.REF_LAYOUT.unpack(value)[0]


def _read_port(pins: Pins, slot: int, value: bytes) -> PortAsItIs:
    """But for what stands in tables of all ports."""
    key = abi.SLOT_LAYOUT.pack(slot)
    trunk = libbpf.lookup_element(pins.map_fd("trunks"), key, abi.TRUNK_LAYOUT.size)
    heard = libbpf.lookup_element(pins.map_fd("heard"), key, abi.TRUNK_LAYOUT.size)
    allowed = libbpf.lookup_element(pins.map_fd("allowed"), key, abi.ALLOWED_LAYOUT.size)
    guard = libbpf.lookup_element(pins.map_fd("guards"), key, abi.GUARD_LAYOUT.size)
    rate = libbpf.lookup_element(pins.map_fd("rates"), key, abi.RATE_LAYOUT.size)
    device = libbpf.lookup_element(pins.map_fd("devices"), key, _KEY.size)
    return PortAsItIs(
        value=value,
        trunk=port_lists.unpack_trunk(trunk) if trunk else frozenset(),
        fdb=frozenset(),
        storm_ns=Guard.intervals_in(guard) if guard else (0, 0),
        device=_KEY.unpack(device)[0] if device else 0,
        allowed=port_lists.unpack_allowed(allowed) if allowed else frozenset(),
        groups=frozenset(),
        shared=frozenset(),
        heard=port_lists.unpack_trunk(heard) if heard else frozenset(),
        rate=Rate.said_in(rate or bytes(abi.RATE_LAYOUT.size)),
    )


def read_members(pins: Pins) -> dict[int, bytes]:
    """Flood lists by domain. Raises DataPathError."""
    members = pins.map_fd("members")
    found = {key: libbpf.lookup_element(members, key, abi.MEMBERS_LAYOUT.size) for key in libbpf.iterate_keys(members, _KEY.size)}
    return {_KEY.unpack(key)[0]: value for key, value in found.items() if value is not None}


def read_receivers(pins: Pins) -> dict[int, frozenset[int]]:
    """Devices of XDP's floods by domain. Raises DataPathError."""
    floods = Floods(pins.map_fd("floods"))
    floods.read()
    return floods.receivers()


def receivers_of(ports: dict[int, PortAsItIs]) -> dict[int, frozenset[int]]:
    """What they should be by the ports."""
    wanted: dict[int, set[int]] = {}
    for domain, ifindex in filter(None, (flood_entry(port.value) for port in ports.values())):
        wanted.setdefault(domain, set()).add(ifindex)
    return {domain: frozenset(ifindexes) for domain, ifindexes in wanted.items()}
