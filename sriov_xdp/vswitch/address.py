"""MAC addresses."""

import hashlib
import re
from dataclasses import dataclass

_TEXT = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_LOCAL_UNICAST = 0x02
_LINK_LOCAL, _LAST_LINK_LOCAL = bytes.fromhex("0180c20000"), 0x0F


@dataclass(frozen=True, slots=True, order=True)
class MacAddress:
    """Six bytes, in the order they are sent."""

    octets: bytes

    def __post_init__(self) -> None:
        if len(self.octets) != 6:
            raise ValueError(f"MAC address: {len(self.octets)} bytes, expected 6")

    @classmethod
    def parse(cls, text: str) -> "MacAddress":
        """From "02:00:00:00:01:01", any case. Raises ValueError."""
        if not _TEXT.fullmatch(text.lower()):
            raise ValueError(f"MAC address {text!r}: expected six hexadecimal bytes, as in 02:00:00:00:01:01")
        return cls(bytes.fromhex(text.replace(":", "")))

    @classmethod
    def stable_local(cls, seed: str) -> "MacAddress":
        """A locally administered unicast address that is always the same for the same seed."""
        digest = hashlib.sha256(seed.encode()).digest()
        return cls(bytes([digest[0] & 0xFC | _LOCAL_UNICAST]) + digest[1:6])

    @property
    def is_multicast(self) -> bool:
        """Group bit set, broadcast included."""
        return bool(self.octets[0] & 1)

    @property
    def is_link_local_group(self) -> bool:
        """01:80:c2:00:00:00 to 0f, where LLDP and the like are spoken (IEEE 802.1Q, table 8-1)."""
        return self.octets[:5] == _LINK_LOCAL and self.octets[5] <= _LAST_LINK_LOCAL

    @property
    def is_zero(self) -> bool:
        """00:00:00:00:00:00."""
        return not any(self.octets)

    @property
    def is_broadcast(self) -> bool:
        """ff:ff:ff:ff:ff:ff."""
        return self.octets == b"\xff" * 6

    def __str__(self) -> str:
        return self.octets.hex(":")
