"""Who owns which MAC address on one PF's switch. No address may have two owners within a VLAN.

A mutable table without IO: the pf package keeps one a PF, and changes it for what was granted, or met no objections().
"""

from dataclasses import dataclass

from sriov_xdp.vswitch.address import MacAddress

UPLINK_OWNER = "uplink"


@dataclass(frozen=True, slots=True)
class _Claim:
    owner: str
    domains: frozenset[int] | None  # None = every VLAN


class AddressOwners:
    """MAC address → its owners and the VLANs in which they own it."""

    def __init__(self) -> None:
        self._claims: dict[MacAddress, list[_Claim]] = {}
        self._by_owner: dict[str, set[MacAddress]] = {}

    def replace(self, owner: str, addresses: frozenset[MacAddress], domains: frozenset[int] | None) -> None:
        """Makes these the owner's addresses, in these VLANs (None: in all)."""
        self.release(owner)
        for address in addresses:
            self._claims.setdefault(address, []).append(_Claim(owner, domains))
        self._by_owner[owner] = set(addresses)

    def release(self, owner: str) -> None:
        """Drops all that the owner has."""
        for address in self._by_owner.pop(owner, set()):
            rest = [claim for claim in self._claims[address] if claim.owner != owner]
            if rest:
                self._claims[address] = rest
            else:
                del self._claims[address]

    def other_owner(self, asking: str, address: MacAddress, domains: frozenset[int]) -> str | None:
        """Who else has the address in one of these VLANs."""
        for claim in self._claims.get(address, ()):
            if claim.owner != asking and (claim.domains is None or claim.domains & domains):
                return claim.owner
        return None
