"""Who owns which MAC address on one PF's switch. No address may have two owners within a VLAN, but one that the policies of all its
owners name (allowed_macs): a virtual router's is held by its master and its backups, and leads to the one who spoke last.

Mutable tables without IO: the pf package keeps one a PF, and changes it for what was granted, or met no objections().
"""

from collections.abc import Callable
from dataclasses import dataclass

from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.policy import PrivateVlan

UPLINK_OWNER = "uplink"

Held = tuple[int, MacAddress]
"""An address that several may hold, behind a VLAN in which it is found (Vlan.shared_places)."""

_MEETS_ALL = PrivateVlan()


@dataclass(frozen=True, slots=True)
class _Claim:
    """domains: None = every VLAN; segment: of who would share the address with others, None = it is the owner's alone."""

    owner: str
    domains: frozenset[int] | None
    segment: PrivateVlan | None

    def is_shared_with(self, segment: PrivateVlan | None) -> bool:
        """Whether both would share the address, and meet where they have it."""
        return self.segment is not None and segment is not None and self.segment.meets(segment)


class SharedAddresses:
    """Who holds addresses that several may hold, and who spoke last by each."""

    def __init__(self) -> None:
        self._holders: dict[Held, dict[str, None]] = {}
        self._held: dict[str, frozenset[Held]] = {}
        self._speakers: dict[Held, str] = {}
        self._doubted: set[Held] = set()
        self._led: dict[Held, str] = {}

    def replace(self, holder: str, held: frozenset[Held]) -> None:
        """Makes these what somebody holds."""
        before = self.held_by(holder)
        self._doubted |= before ^ held
        for gone in before - held:
            self._give_up(holder, gone)
        for come in held - before:
            self._holders.setdefault(come, {})[holder] = None
        if held:
            self._held[holder] = held
        else:
            self._held.pop(holder, None)

    def _give_up(self, holder: str, held: Held) -> None:
        del self._holders[held][holder]
        if not self._holders[held]:
            del self._holders[held]
        if self._speakers.get(held) == holder or held not in self._holders:
            self._speakers.pop(held, None)

    def held_by(self, holder: str) -> frozenset[Held]:
        """What somebody holds."""
        return self._held.get(holder, frozenset())

    def holders(self) -> list[str]:
        """Who holds anything."""
        return list(self._held)

    def everything(self) -> list[Held]:
        """What is held."""
        return list(self._holders)

    def is_held(self, holder: str, held: Held) -> bool:
        """Whether somebody holds an address."""
        return held in self.held_by(holder)

    def note_speaker(self, held: Held, speaker: str) -> bool:
        """That somebody spoke by an address: a holder, or the wire (UPLINK_OWNER). Whether that is news."""
        is_holder = speaker == UPLINK_OWNER or self.is_held(speaker, held)
        if held not in self._holders or not is_holder or self._speakers.get(held) == speaker:
            return False
        self._speakers[held] = speaker
        self._doubted.add(held)
        return True

    def speaker(self, held: Held) -> str | None:
        """Who spoke last."""
        return self._speakers.get(held)

    def doubt(self, holder: str) -> None:
        """Whoever is absent or present now: what it holds may lead elsewhere."""
        self._doubted |= self.held_by(holder)

    def moves(self, is_absent: Callable[[str], bool]) -> set[str]:
        """Whose addresses lead to them no more, or do now, since the last time."""
        found = set()
        for held in self._doubted:
            before, after = self._led.pop(held, None), self.leads_to(held, is_absent)
            if after is not None:
                self._led[held] = after
            if before != after:
                found |= {name for name in (before, after) if name is not None}
        self._doubted.clear()
        return found

    def leads_to(self, held: Held, is_absent: Callable[[str], bool]) -> str | None:
        """Whom an address leads to: who spoke last, or where that one is absent the first holder who is not. None for nobody's."""
        holders, speaker = self._holders.get(held, {}), self._speakers.get(held)
        if speaker == UPLINK_OWNER or (speaker is not None and not is_absent(speaker)):
            return speaker
        present = (holder for holder in holders if not is_absent(holder))
        return next(present, speaker or next(iter(holders), None))


class AddressOwners:
    """MAC address → its owners and the VLANs in which they own it. shared: of these addresses, what others may hold too."""

    def __init__(self) -> None:
        self._claims: dict[MacAddress, list[_Claim]] = {}
        self._by_owner: dict[str, set[MacAddress]] = {}
        self.shared = SharedAddresses()

    def replace(
        self,
        owner: str,
        addresses: frozenset[MacAddress],
        domains: frozenset[int] | None,
        shared: frozenset[Held] = frozenset(),
        segment: PrivateVlan = _MEETS_ALL,
    ) -> None:
        """Makes these the owner's addresses, in these VLANs (None: in all). shared: those that others may hold too, which it has in
        the VLANs that stand there; segment: its own."""
        self._release_claims(owner)
        places: dict[MacAddress, set[int]] = {}
        for place, address in shared:
            places.setdefault(address, set()).add(place)
        for address in addresses:
            own = address not in places
            claim = _Claim(owner, domains if own else frozenset(places[address]), None if own else segment)
            self._claims.setdefault(address, []).append(claim)
        self._by_owner[owner] = set(addresses)
        self.shared.replace(owner, shared)

    def release(self, owner: str) -> None:
        """Drops all that the owner has."""
        self._release_claims(owner)
        self.shared.replace(owner, frozenset())

    def _release_claims(self, owner: str) -> None:
        for address in self._by_owner.pop(owner, set()):
            rest = [claim for claim in self._claims[address] if claim.owner != owner]
            if rest:
                self._claims[address] = rest
            else:
                del self._claims[address]

    def other_owner(
        self, asking: str, address: MacAddress, domains: frozenset[int], segment: PrivateVlan | None = None
    ) -> str | None:
        """Who else has the address in one of these VLANs. segment: of an asking one that would share it with others who do, who are
        no reason against it then, if they meet."""
        for claim in self._claims.get(address, ()):
            has_it = claim.owner != asking and (claim.domains is None or claim.domains & domains)
            if has_it and not claim.is_shared_with(segment):
                return claim.owner
        return None
