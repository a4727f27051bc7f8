"""Kinds of values that settings have: what a person may write, what is stored, and how each is told.

Pure. Values are frozen and comparable; their plain form is what YAML and JSON know. For vswitch/policy.py and those who go through
its rows.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Protocol

from sriov_xdp.vswitch.address import MacAddress

_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")  # without leading zeros, which some take for octal


class Kind(Protocol):
    """What each kind can do."""

    @property
    def words(self) -> str:
        """What is expected, for people."""

    @property
    def choices(self) -> list[str]:
        """All texts that are taken; none where they are not to be counted."""

    def has(self, value: Any) -> bool:
        """Whether it is a value of this kind, and none that only looks so."""

    def parse(self, plain: Any) -> Any:
        """From the plain form. Raises ValueError, TypeError."""

    def plain(self, value: Any) -> Any:
        """As YAML and JSON say it."""

    def read(self, text: str) -> Any:
        """A command's option → the plain form. Raises ValueError."""

    def text(self, value: Any) -> str:
        """As a command's option says it."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    of: type[StrEnum]

    @property
    def words(self) -> str:
        return " or ".join(self.choices)

    @property
    def choices(self) -> list[str]:
        return [member.value for member in self.of]

    def has(self, value: Any) -> bool:
        return type(value) is self.of

    def parse(self, plain: Any) -> StrEnum:
        if plain not in self.choices:
            raise ValueError(f"{plain!r}: expected {self.words}")
        return self.of(plain)

    def plain(self, value: StrEnum) -> str:
        return value.value

    def read(self, text: str) -> str:
        return self.parse(text).value

    def text(self, value: StrEnum) -> str:
        return value.value


@dataclass(frozen=True, slots=True)
class Number:
    """A whole number within bounds."""

    most: int
    least: int = 0

    @property
    def words(self) -> str:
        return f"a number from {self.least} to {self.most}"

    @property
    def choices(self) -> list[str]:
        return []

    def has(self, value: Any) -> bool:
        return type(value) is int

    def parse(self, plain: Any) -> int:
        if type(plain) is not int:
            raise TypeError(f"{plain!r}: expected a number")
        if not self.least <= plain <= self.most:
            raise ValueError(f"{plain}: expected {self.least} to {self.most}")
        return plain

    def plain(self, value: int) -> int:
        return value

    def read(self, text: str) -> int:
        if not _NUMBER.fullmatch(text):
            raise ValueError(f"{text!r}: expected {self.words}")
        return self.parse(int(text))

    def text(self, value: int) -> str:
        return str(value)


@dataclass(frozen=True, slots=True)
class Truth:
    """Whether something is so."""

    @property
    def words(self) -> str:
        return "true or false"

    @property
    def choices(self) -> list[str]:
        return ["true", "false"]

    def has(self, value: Any) -> bool:
        return type(value) is bool

    def parse(self, plain: Any) -> bool:
        if type(plain) is not bool:
            raise TypeError(f"{plain!r}: expected {self.words}")
        return plain

    def plain(self, value: bool) -> bool:
        return value

    def read(self, text: str) -> bool:
        if text not in self.choices:
            raise ValueError(f"{text!r}: expected {self.words}")
        return text == "true"

    def text(self, value: bool) -> str:
        return "true" if value else "false"


@dataclass(frozen=True, slots=True, order=True)
class MacPattern:
    """An address, or all that begin with the same bits."""

    address: MacAddress
    bits: int = 48

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 48:
            raise ValueError(f"{self.bits} bits: expected 1 to 48")
        if int.from_bytes(self.address.octets) & ~self.mask:
            raise ValueError(f"{self}: has bits behind the first {self.bits}")

    @classmethod
    def parse(cls, text: str) -> "MacPattern":
        """From "02:00:5e:00:01:00/40", or an address alone. Raises ValueError."""
        address, slash, bits = text.partition("/")
        if slash and not _NUMBER.fullmatch(bits):
            raise ValueError(f"{text!r}: expected a number of bits behind the slash, from 1 to 48")
        pattern = cls(MacAddress.parse(address), int(bits) if slash else 48)
        if pattern.address.is_multicast or (pattern.address.is_zero and pattern.bits == 48):
            raise ValueError(f"{text!r}: is no address that an interface can have")
        return pattern

    @property
    def mask(self) -> int:
        """Of the address as a number whose highest byte is sent first."""
        return ((1 << self.bits) - 1) << (48 - self.bits)

    def matches(self, address: MacAddress) -> bool:
        """Whether the address is among them."""
        return int.from_bytes(address.octets) & self.mask == int.from_bytes(self.address.octets)

    def __str__(self) -> str:
        return str(self.address) if self.bits == 48 else f"{self.address}/{self.bits}"


@dataclass(frozen=True, slots=True)
class Patterns:
    """A list of addresses and prefixes; its order and repetitions say nothing."""

    most: int

    @property
    def words(self) -> str:
        return f"a list of at most {self.most} addresses or prefixes, as in [02:00:00:00:01:01, 02:00:5e:00:01:00/40]"

    @property
    def choices(self) -> list[str]:
        return []

    def has(self, value: Any) -> bool:
        return type(value) is tuple and all(type(entry) is MacPattern for entry in value)

    def parse(self, plain: Any) -> tuple[MacPattern, ...]:
        if type(plain) is not list or not all(type(text) is str for text in plain):
            raise TypeError(f"{plain!r}: expected {self.words}")
        patterns = tuple(sorted({MacPattern.parse(text) for text in plain[: self.most + 1]}))
        if len(plain) > self.most:
            raise ValueError(f"{len(plain)} entries: expected at most {self.most}")
        return patterns

    def plain(self, value: tuple[MacPattern, ...]) -> list[str]:
        return [str(pattern) for pattern in value]

    def read(self, text: str) -> list[str]:
        return self.plain(self.parse(text.split(",") if text not in ("", "none") else []))

    def text(self, value: tuple[MacPattern, ...]) -> str:
        return ",".join(self.plain(value)) or "none"


@dataclass(frozen=True, slots=True)
class Structure:
    """Several values that are said together: a frozen dataclass whose fields have kinds. What is not said is as its default."""

    of: type[Any]
    kinds: Mapping[str, Kind]

    @property
    def words(self) -> str:
        return ", ".join(f"{name}: {kind.words}" for name, kind in self.kinds.items())

    @property
    def choices(self) -> list[str]:
        return []

    def has(self, value: Any) -> bool:
        return type(value) is self.of

    def parse(self, plain: Any) -> Any:
        if type(plain) is not dict or not plain or not plain.keys() <= self.kinds.keys():
            raise TypeError(f"{plain!r}: expected {self.words}")
        try:
            return self.of(**{name: self.kinds[name].parse(value) for name, value in plain.items()})
        except TypeError as error:
            missing = [field.name for field in fields(self.of) if field.name not in plain]
            raise TypeError(f"{plain!r}: expected {', '.join(missing)} as well ({self.words})") from error

    def plain(self, value: Any) -> dict[str, Any]:
        return {name: self.kinds[name].plain(inner) for name, inner in asdict(value).items()}

    def read(self, text: str) -> dict[str, Any]:
        parts = dict(part.partition("=")[::2] for part in text.split(","))
        if not parts.keys() <= self.kinds.keys():
            names = ", ".join(f"{name}=..." for name in self.kinds)
            raise ValueError(f"{text!r}: expected {names}")
        plain = {name: self.kinds[name].read(value) for name, value in parts.items()}
        self.parse(plain)
        return plain

    def text(self, value: Any) -> str:
        return ",".join(f"{name}={kind.text(getattr(value, name))}" for name, kind in self.kinds.items())
