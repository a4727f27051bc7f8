"""Whether the tables of a host have room for more than its share that a guest asks for. The tables are everybody's, so each guest
is assured of what quotas are by default, and more is only given out of what nobody's share needs. Pure.
"""

from collections.abc import Callable, Iterable

from sriov_xdp.datapath.abi import MAX_FDB_ENTRIES
from sriov_xdp.vswitch.decision import VfState
from sriov_xdp.vswitch.policy import Quotas

SHARE = Quotas().macs


def room_problem(others: Callable[[], Iterable[VfState]], before: VfState, after: VfState) -> str | None:
    """Why a guest cannot have what it would be granted; None when it can. others: the states of all other guests of the host, which
    are asked for only where it is more than a share."""
    if after.filters <= before.filters or len(after.filters) <= SHARE:
        return None
    states = list(others())
    for what, count in (("addresses", _addresses), ("multicast groups", _groups)):
        wanted = count(after)
        if wanted > SHARE and wanted + sum(max(count(state), SHARE) for state in states) > MAX_FDB_ENTRIES:
            text = f"{what}: {wanted} for one guest: of the {MAX_FDB_ENTRIES} entries of this host {SHARE} are each guest's"
            return f"{text}, and what is left is too little; remove filters here or elsewhere"
    return None


def _addresses(state: VfState) -> int:
    """Those that a frame can be for, with the effective MAC."""
    return len(state.unicast)


def _groups(state: VfState) -> int:
    return sum(1 for address in state.filters if address.is_multicast)
