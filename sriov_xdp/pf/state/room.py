"""Whether the tables of a host have room for more than its share that a guest asks for. The tables are everybody's, so each guest
is assured of what quotas are by default, and more is only given out of what nobody's share needs. Pure.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sriov_xdp.datapath.abi import MAX_FDB_ENTRIES
from sriov_xdp.vswitch.decision import VfState
from sriov_xdp.vswitch.policy import Policy, Quotas
from sriov_xdp.vswitch.vlan import Vlan

SHARE = Quotas().macs


@dataclass(frozen=True, slots=True)
class Needs:
    """Entries for the addresses that frames can be for, with the effective MAC, and for groups."""

    addresses: int
    groups: int

    @classmethod
    def of(cls, state: VfState, policy: Policy, vlan: Vlan) -> "Needs":
        """Of a guest. What it may share with others stands in each of its VLANs by itself."""
        shared = len(state.shared(policy, vlan))
        addresses = len(state.unicast) - shared + shared * len(vlan.shared_places)
        return cls(addresses, sum(1 for address in state.filters if address.is_multicast))


def room_problem(others: Callable[[], Iterable[Needs]], before: Needs, after: Needs) -> str | None:
    """Why a guest cannot have what it would be granted; None when it can. others: the needs of all other guests of the host, which
    are asked for only where it is more than a share."""
    pairs = (("addresses", after.addresses, before.addresses), ("multicast groups", after.groups, before.groups))
    greater = [(what, wanted) for what, wanted, had in pairs if wanted > SHARE and wanted > had]
    if not greater:
        return None
    needs = list(others())
    for what, wanted in greater:
        theirs = [one.addresses if what == "addresses" else one.groups for one in needs]
        if wanted + sum(max(count, SHARE) for count in theirs) > MAX_FDB_ENTRIES:
            text = f"{what}: {wanted} for one guest: of the {MAX_FDB_ENTRIES} entries of this host {SHARE} are each guest's"
            return f"{text}, and what is left is too little; remove filters here or elsewhere"
    return None
