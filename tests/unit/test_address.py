"""MAC addresses as text and bytes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sriov_xdp.vswitch.address import MacAddress

BROADCAST = MacAddress(b"\xff" * 6)
ZERO = MacAddress(bytes(6))
MAC_VM1 = MacAddress(bytes([0x02, 0, 0, 0, 0x01, 0xAB]))


@pytest.mark.parametrize("text", ["02:00:00:00:01:ab", "02:00:00:00:01:AB"])
def test_an_address_is_read_in_either_case(text: str) -> None:
    assert MAC_VM1 == MacAddress.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "02:00:00:00:01",
        "02:00:00:00:01:ab:cd",
        "02-00-00-00-01-ab",
        "0200000001ab",
        "2:0:0:0:1:ab",
        "02:00:00:00:01:ag",
        "02:00:00:00:01:ab\n",
        " 02:00:00:00:01:ab",
    ],
)
def test_anything_else_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="expected six hexadecimal bytes"):
        MacAddress.parse(text)


@pytest.mark.parametrize("count", [0, 5, 7])
def test_an_address_has_six_bytes(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} bytes, expected 6"):
        MacAddress(bytes(count))


@settings(deadline=None, max_examples=100)
@given(octets=st.binary(min_size=6, max_size=6))
def test_text_and_back_is_the_same_address(octets: bytes) -> None:
    assert octets == MacAddress.parse(str(MacAddress(octets))).octets


@pytest.mark.parametrize(
    ("octets", "is_multicast"),
    [("020000000101", False), ("030000000101", True), ("01005e000001", True), ("fe0000000000", False), ("ffffffffffff", True)],
)
def test_the_lowest_bit_of_the_first_byte_makes_a_group(octets: str, is_multicast: bool) -> None:
    assert is_multicast == MacAddress(bytes.fromhex(octets)).is_multicast


def test_only_all_zeros_is_zero() -> None:
    assert [True, False] == [ZERO.is_zero, MacAddress(bytes([0, 0, 0, 0, 0, 1])).is_zero]


def test_only_all_ones_is_broadcast() -> None:
    assert [True, False] == [BROADCAST.is_broadcast, MacAddress(b"\xff" * 5 + b"\xfe").is_broadcast]


@settings(deadline=None, max_examples=100)
@given(seed=st.text(max_size=40))
def test_a_chosen_address_is_unicast_and_locally_administered(seed: str) -> None:
    first = MacAddress.stable_local(seed).octets[0]
    assert 0b10 == first & 0b11


def test_a_chosen_address_is_always_the_same_for_the_same_adapter() -> None:
    assert MacAddress.stable_local("vm1/eth0") == MacAddress.stable_local("vm1/eth0")
    assert MacAddress.stable_local("vm1/eth0") != MacAddress.stable_local("vm1/eth1")
