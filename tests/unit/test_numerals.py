"""What is said of a number in another form than digits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sriov_xdp.api.numerals import NUMBER, remedy

REMEDIES = {
    "0100": "0100 is octal for some readers: write 100 or 64",
    "007": "007 is octal for some readers: write 7",
    "089": "089 is a text for some readers: write 89",
    "00": "00 is octal for some readers: write 0",
    "0o17": "0o17 is octal for some readers: write 15",
    "0x64": "0x64 is hexadecimal for some readers: write 100",
    "0b101": "0b101 is binary for some readers: write 5",
    "1_500": "1_500 is not written with digits only: write 1500",
    "0_100": "0_100 is octal for some readers: write 100 or 64",
    "+5": "+5 is not written with digits only: write 5",
    "+0x10": "+0x10 is hexadecimal for some readers: write 16",
    "1:40": "1:40 is a number to the base of 60 for some readers: write 100",
    "1:00:00": "1:00:00 is a number to the base of 60 for some readers: write 3600",
    "1e3": "1e3 is a fraction for some readers: write 1000",
    "1.0": "1.0 is a fraction for some readers: write 1",
    "1.5": "write a whole number",
    ".5": "write a whole number",
    "1e99": "write a whole number",
    "-5": "no number here is negative: write it without a sign",
    "-0x5": "no number here is negative: write it without a sign",
}
NO_NUMBERS = [
    "", "0", "8", "1500", "eight", "0x", "0xg", "0b2", "0o8", "1:60", "1:", ":1", "-", "+", "-x", "_1", ".", "e3", "1e", "1e999",
    "٣", "02:00:00:00:01:01a", "9" * 25, "0" + "1" * 30,
]  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), REMEDIES.items(), ids=REMEDIES)
def test_a_number_in_another_form_has_a_remedy(text: str, wanted: str) -> None:
    assert wanted == remedy(text)


@pytest.mark.parametrize("text", NO_NUMBERS, ids=repr)
def test_what_is_no_number_or_has_the_right_form_has_none(text: str) -> None:
    assert None is remedy(text)


@given(text=st.text("0123456789xob_+-.:eE ", max_size=30) | st.text(max_size=8))
def test_a_number_that_is_to_be_written_has_the_right_form(text: str) -> None:
    said = remedy(text)
    if said and ": write " in said and "negative" not in said:
        for number in said.rpartition(": write ")[2].split(" or "):
            assert NUMBER.fullmatch(number)
