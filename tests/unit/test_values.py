"""Kinds of values: what a person may write comes back as it was, and what is wrong is told."""

from enum import StrEnum
from typing import Any

import pytest

from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.policy import SETTINGS, PrivateVlan, SegmentKind
from sriov_xdp.vswitch.shaping import IngressShaping, Shaping, ShapingMode
from sriov_xdp.vswitch.values import Choice, Kind, MacPattern, Number, Patterns, Truth


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


PATTERNS = (MacPattern.parse("00:00:5e:00:01:0a"), MacPattern.parse("02:00:5e:00:01:00/40"))
# kind, text of an option, plain form, value
SAID = [
    (Choice(Colour), "red", "red", Colour.RED),
    (Number(most=9, least=3), "7", 7, 7),
    (Truth(), "true", True, True),
    (Truth(), "false", False, False),
    (Patterns(most=4), "00:00:5e:00:01:0a,02:00:5e:00:01:00/40", ["00:00:5e:00:01:0a", "02:00:5e:00:01:00/40"], PATTERNS),
    (Patterns(most=4), "none", [], ()),
    (SETTINGS["private_vlan"].values, "isolated", {"kind": "isolated"}, PrivateVlan(SegmentKind.ISOLATED)),
    (
        SETTINGS["private_vlan"].values,
        "community:7",
        {"kind": "community", "community": 7},
        PrivateVlan(SegmentKind.COMMUNITY, 7),
    ),
    (SETTINGS["shaping_egress"].values, "average_kbps=5", {"average_kbps": 5}, Shaping(average_kbps=5)),
    (
        SETTINGS["shaping_ingress"].values,
        "average_kbps=5,mode=police",
        {"average_kbps": 5, "mode": "police"},
        IngressShaping(average_kbps=5, mode=ShapingMode.POLICE),
    ),
    (
        SETTINGS["shaping_ingress"].values,
        "average_kbps=5,mode=shape",
        {"average_kbps": 5, "mode": "shape"},
        IngressShaping(average_kbps=5),
    ),
    (SETTINGS["shaping_ingress"].values, "average_kbps=0", {"average_kbps": 0}, IngressShaping()),
    (SETTINGS["shaping_egress"].values, "average_kbps=0", {"average_kbps": 0}, Shaping()),
]


@pytest.mark.parametrize(("kind", "text", "plain", "value"), SAID, ids=[said[1] for said in SAID])
def test_text_plain_form_and_value_say_the_same(kind: Kind, text: str, plain: Any, value: Any) -> None:
    assert plain == kind.read(text)
    assert value == kind.parse(plain)
    assert (plain, text) == (kind.plain(value), kind.text(value))
    assert kind.has(value)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Choice(Colour), "green"),
        (Number(most=9, least=3), "2"),
        (Number(most=9, least=3), "10"),
        (Number(most=9), "07"),
        (Number(most=9), "-1"),
        (Truth(), "yes"),
        (Patterns(most=4), "02:00:00:00:00"),
        (Patterns(most=1), "02:00:00:00:00:01,02:00:00:00:00:02"),
        (SETTINGS["private_vlan"].values, "community"),
        (SETTINGS["private_vlan"].values, "isolated:7"),
        (SETTINGS["private_vlan"].values, "community:0"),
        (SETTINGS["shaping_egress"].values, "average_kbps"),
        (SETTINGS["shaping_egress"].values, "average_kbps=100,peak_kbps=100"),
        (SETTINGS["shaping_egress"].values, "average_kbps=1,burst_bytes=30001"),
        (SETTINGS["shaping_ingress"].values, "average_kbps=100,mode=drop"),
        (SETTINGS["shaping_ingress"].values, "average_kbps=0,mode=police"),
        (SETTINGS["quotas"].values, "macs=1,vlans=x"),
    ],
)
def test_a_text_that_says_no_value_is_refused(kind: Kind, text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        kind.read(text)


@pytest.mark.parametrize("kind", [Choice(Colour), Number(most=9), Truth(), Patterns(most=4), SETTINGS["quotas"].values])
@pytest.mark.parametrize("plain", [None, 1.5, {"x": 1}, [7], b"red"], ids=repr)
def test_a_plain_form_of_another_type_is_refused(kind: Kind, plain: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        kind.parse(plain)


@pytest.mark.parametrize(
    ("text", "matched", "others"),
    [
        ("02:00:5e:00:01:00/40", ["02:00:5e:00:01:00", "02:00:5e:00:01:ff"], ["02:00:5e:00:02:00", "03:00:5e:00:01:00"]),
        ("02:00:00:00:00:01", ["02:00:00:00:00:01"], ["02:00:00:00:00:02", "02:00:00:00:00:00"]),
        ("02:80:00:00:00:00/9", ["02:ff:ff:ff:ff:ff"], ["02:7f:ff:ff:ff:ff"]),
        ("00:00:00:00:00:00/1", ["7e:00:00:00:00:00"], ["80:00:00:00:00:00"]),
    ],
)
def test_a_prefix_is_all_that_begin_with_its_bits(text: str, matched: list[str], others: list[str]) -> None:
    pattern = MacPattern.parse(text)
    assert [True] * len(matched) == [pattern.matches(MacAddress.parse(mac)) for mac in matched]
    assert [False] * len(others) == [pattern.matches(MacAddress.parse(mac)) for mac in others]
    assert text == str(pattern)


@pytest.mark.parametrize(
    "text",
    [
        "02:00:5e:00:01:01/40",
        "02:00:5e:00:01:00/0",
        "02:00:5e:00:01:00/49",
        "02:00:5e:00:01:00/",
        "01:00:5e:00:00:01",
        "00:00:00:00:00:00",
    ],
)
def test_what_no_interface_has_and_bits_behind_a_prefix_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"bits|address"):
        MacPattern.parse(text)
