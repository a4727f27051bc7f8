"""VLAN settings of a port: none (external tagging), access (VST) or trunk (VGT with a list of tags)."""

from dataclasses import dataclass, replace
from enum import StrEnum

from sriov_xdp.vswitch.ranges import to_ranges

FIRST_VLAN = 1
LAST_VLAN = 4094
LAST_PRIORITY = 7
MOST_SHARED_VLANS = 64
_OF_TRUNKS = LAST_VLAN + 1
SERVICE_DOMAINS = _OF_TRUNKS + 1


class VlanMode(StrEnum):
    """How a port treats tags."""

    NONE = "none"
    ACCESS = "access"
    TRUNK = "trunk"


class Proto(StrEnum):
    """Whose tags they are: of 802.1Q (0x8100), or the service tags of 802.1ad (0x88a8), behind which a guest may have tags of its
    own. A VLAN of one is another one than the other's of that number."""

    CUSTOMER = "802.1Q"
    SERVICE = "802.1ad"

    @property
    def tpid(self) -> int:
        """What the tag begins with."""
        return 0x88A8 if self is Proto.SERVICE else 0x8100


@dataclass(frozen=True, slots=True)
class Vlan:
    """vlans: empty for none, one for access, one or more for trunk; each 1..4094. qos: priority (PCP, 0..7) of the tag that an
    access port's frames get; native: of a trunk, the VLAN of frames without a tag, one of vlans, 0 = such frames are dropped."""

    mode: VlanMode
    vlans: frozenset[int] = frozenset()
    qos: int = 0
    native: int = 0
    proto: Proto = Proto.CUSTOMER

    def __post_init__(self) -> None:
        wanted = {VlanMode.NONE: range(1), VlanMode.ACCESS: range(1, 2), VlanMode.TRUNK: range(1, LAST_VLAN + 1)}[self.mode]
        if len(self.vlans) not in wanted:
            raise ValueError(f"VLAN mode {self.mode}: {len(self.vlans)} VLANs")
        if any(not FIRST_VLAN <= vlan <= LAST_VLAN for vlan in self.vlans):
            raise ValueError(f"VLAN: {sorted(self.vlans)}: expected {FIRST_VLAN}..{LAST_VLAN}")
        if not 0 <= self.qos <= LAST_PRIORITY or (self.qos and self.mode is not VlanMode.ACCESS):
            raise ValueError(f"VLAN mode {self.mode}: qos {self.qos}: expected 0..{LAST_PRIORITY}, of access only")
        if self.mode is VlanMode.NONE and self.proto is not Proto.CUSTOMER:
            raise ValueError(f"VLAN mode none: proto {self.proto}: expected a VLAN with it")
        if self.native and (self.mode is not VlanMode.TRUNK or self.native not in self.vlans):
            raise ValueError(f"VLAN mode {self.mode}: native {self.native}: expected one of a trunk's VLANs")

    @classmethod
    def access(cls, vlan: int, qos: int = 0, proto: Proto = Proto.CUSTOMER) -> "Vlan":
        """The switch tags; the guest sees untagged frames, and with 802.1ad those that have a tag of its own."""
        return cls(VlanMode.ACCESS, frozenset({vlan}), qos=qos, proto=proto)

    @classmethod
    def trunk(cls, vlans: frozenset[int], native: int = 0, proto: Proto = Proto.CUSTOMER) -> "Vlan":
        """The guest tags, with these only; what it does not tag is in the native VLAN, which is one of its VLANs."""
        return cls(VlanMode.TRUNK, vlans | {native} if native else vlans, native=native, proto=proto)

    @property
    def untagged_vlan(self) -> int:
        """The VLAN of untagged frames of the guest; 0 for none, and for a trunk without a native VLAN, which takes none."""
        return next(iter(self.vlans)) if self.mode is VlanMode.ACCESS else self.native

    @property
    def domains(self) -> frozenset[int]:
        """Every VLAN the port is a member of; 0 = untagged."""
        return self.vlans or frozenset({0})

    @property
    def address_domains(self) -> frozenset[int]:
        """Where an address of the port has no other owner: its VLANs, and, as all trunks of a switch find an address in one
        place, theirs. SERVICE_DOMAINS more where they are 802.1ad's."""
        domains = self.domains | {_OF_TRUNKS} if self.mode is VlanMode.TRUNK else self.domains
        return frozenset(SERVICE_DOMAINS + vlan for vlan in domains) if self.proto is Proto.SERVICE else domains

    @property
    def place(self) -> int:
        """Of address_domains, where an address of the port is found: in its own, or the one that stands for all trunks."""
        vlan = _OF_TRUNKS if self.mode is VlanMode.TRUNK else self.untagged_vlan
        return SERVICE_DOMAINS + vlan if self.proto is Proto.SERVICE else vlan

    def heard(self, asked: frozenset[int] | None) -> frozenset[int]:
        """Of a trunk's VLANs, those whose frames its guest gets. asked: which it asked for, None = it never did. Frames without a
        tag, which are in the native VLAN, no filter holds back."""
        if self.mode is not VlanMode.TRUNK:
            return frozenset()
        return self.vlans if asked is None else self.vlans & (asked | {self.native})

    @property
    def shared_places(self) -> frozenset[int]:
        """Where the port is found by an address that others may hold too: in each of its VLANs by itself, as in each another one
        may have spoken last. None for a trunk of more than MOST_SHARED_VLANS, which shares no address."""
        if len(self.domains) > MOST_SHARED_VLANS:
            return frozenset()
        return frozenset(SERVICE_DOMAINS + vlan for vlan in self.domains) if self.proto is Proto.SERVICE else self.domains

    @property
    def address_place(self) -> str:
        """The same in words, of an address that has an owner."""
        return "in a VLAN of both, or as a trunk too" if self.mode is VlanMode.TRUNK else "in this VLAN"

    def with_one_more(self, vlan: int) -> "Vlan":
        """A trunk that carries it as well. Raises ValueError."""
        self._require_trunk()
        return replace(self, vlans=self.vlans | {vlan})

    def without(self, vlan: int) -> "Vlan":
        """A trunk that carries it no more. Raises ValueError."""
        self._require_trunk()
        if vlan not in self.vlans or vlan == self.native or len(self.vlans) == 1:
            why = (
                "is its native VLAN"
                if vlan == self.native
                else "is its only VLAN"
                if vlan in self.vlans
                else "is none of its VLANs"
            )
            raise ValueError(f"VLAN {vlan}: {why}; expected another of {','.join(map(str, self.ranges()))}")
        return replace(self, vlans=self.vlans - {vlan})

    def _require_trunk(self) -> None:
        if self.mode is not VlanMode.TRUNK:
            raise ValueError(f"VLAN {self}: expected a trunk, whose VLANs come and go one by one; set it whole: --vlan trunk:N,A-B")

    def ranges(self) -> list[int | str]:
        """The VLANs as configuration writes them: single numbers, and "A-B" for runs."""
        return to_ranges(self.vlans)

    def __str__(self) -> str:
        if self.mode is VlanMode.NONE:
            return "none"
        more = f" qos {self.qos}" if self.qos else f" native {self.native}" if self.native else ""
        more += f" {self.proto}" if self.proto is not Proto.CUSTOMER else ""
        return f"{self.mode} {','.join(str(part) for part in self.ranges())}{more}"


@dataclass(frozen=True, slots=True)
class VlanStep:
    """One VLAN of a trunk that comes or goes."""

    vlan: int
    is_added: bool

    @classmethod
    def parse(cls, text: str) -> "VlanStep":
        """From "+30" or "-10". Raises ValueError."""
        if text[:1] not in ("+", "-") or not text[1:].isdecimal() or not FIRST_VLAN <= int(text[1:]) <= LAST_VLAN:
            raise ValueError(f"{text!r}: expected + or - and a VLAN from {FIRST_VLAN} to {LAST_VLAN}")
        return cls(int(text[1:]), text[0] == "+")

    def of(self, before: Vlan) -> Vlan:
        """The trunk after it. Raises ValueError."""
        return before.with_one_more(self.vlan) if self.is_added else before.without(self.vlan)


NO_VLAN = Vlan(VlanMode.NONE)
