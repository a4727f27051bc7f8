"""VLAN settings of a port: none (external tagging), access (VST) or trunk (VGT with a list of tags)."""

from dataclasses import dataclass
from enum import StrEnum

FIRST_VLAN = 1
LAST_VLAN = 4094


class VlanMode(StrEnum):
    """How a port treats tags."""

    NONE = "none"
    ACCESS = "access"
    TRUNK = "trunk"


@dataclass(frozen=True, slots=True)
class Vlan:
    """vlans: empty for none, one for access, one or more for trunk; each 1..4094."""

    mode: VlanMode
    vlans: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        wanted = {VlanMode.NONE: range(1), VlanMode.ACCESS: range(1, 2), VlanMode.TRUNK: range(1, LAST_VLAN + 1)}[self.mode]
        if len(self.vlans) not in wanted:
            raise ValueError(f"VLAN mode {self.mode}: {len(self.vlans)} VLANs")
        if any(not FIRST_VLAN <= vlan <= LAST_VLAN for vlan in self.vlans):
            raise ValueError(f"VLAN: {sorted(self.vlans)}: expected {FIRST_VLAN}..{LAST_VLAN}")

    @classmethod
    def access(cls, vlan: int) -> "Vlan":
        """The switch tags; the guest sees untagged frames."""
        return cls(VlanMode.ACCESS, frozenset({vlan}))

    @classmethod
    def trunk(cls, vlans: frozenset[int]) -> "Vlan":
        """The guest tags, with these only."""
        return cls(VlanMode.TRUNK, vlans)

    @property
    def access_vlan(self) -> int:
        """The VLAN of untagged frames of the guest; 0 for none (and for a trunk, which takes no untagged frame)."""
        return next(iter(self.vlans)) if self.mode is VlanMode.ACCESS else 0

    @property
    def domains(self) -> frozenset[int]:
        """Every VLAN the port is a member of; 0 = untagged."""
        return self.vlans or frozenset({0})

    def ranges(self) -> list[int | str]:
        """The VLANs as configuration writes them: single numbers, and "A-B" for runs."""
        runs: list[list[int]] = []
        for vlan in sorted(self.vlans):
            if runs and runs[-1][1] == vlan - 1:
                runs[-1][1] = vlan
            else:
                runs.append([vlan, vlan])
        return [first if first == last else f"{first}-{last}" for first, last in runs]

    def __str__(self) -> str:
        if self.mode is VlanMode.NONE:
            return "none"
        return f"{self.mode} {','.join(str(part) for part in self.ranges())}"


NO_VLAN = Vlan(VlanMode.NONE)
