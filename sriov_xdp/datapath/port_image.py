"""What the maps shall say of a port, as a value. Whoever knows what is wanted makes it; Tables writes it. Pure."""

from dataclasses import dataclass

from sriov_xdp.datapath import port_lists
from sriov_xdp.datapath.abi import PortValue
from sriov_xdp.datapath.meters import NO_GUARD, NO_RATE, Guard, Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class PortImage:
    """All that the maps say of one port. fdb: keys (abi.fdb_key) under which it is reached; allowed: addresses that its guest may
    send from beside its own, by the first bits of each; groups: that it gets, where it does not get all; shared: keys of addresses
    that others may hold too, of which fdb has those that lead here; heard: of a trunk's VLANs, those that its guest gets."""

    value: PortValue
    trunk: frozenset[int]
    fdb: frozenset[int]
    guard: Guard = NO_GUARD
    rate: Rate = NO_RATE
    allowed: frozenset[port_lists.Prefix] = frozenset()
    groups: frozenset[bytes] = frozenset()
    shared: frozenset[int] = frozenset()
    heard: frozenset[int] = frozenset()
