"""How values look in tables."""

from typing import Any

import pytest

from sriov_xdp.cli.output import cell


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        ("", "-"),
        ({}, "-"),
        ([], "-"),
        (0, "0"),
        (False, "False"),
        ({"access": 100}, "access=100"),
        ({"spoof_mac": 2, "forged_source": 1}, "spoof_mac=2 forged_source=1"),
        ({"mac_changes": {"value": "reject", "set_by": "default"}}, "mac_changes=value=reject set_by=default"),
        ({"trunk": [10, "20-29"]}, "trunk=10,20-29"),
    ],
)
def test_a_cell_says_what_is_there(value: Any, text: str) -> None:
    assert text == cell(value)


@pytest.mark.parametrize(("text", "shown"), [("plain é", "plain é"), ("a\x1b[7mb", "a\\x1b[7mb"), ("\r\u202e", "\\r\\u202e")])
def test_what_a_terminal_would_act_on_is_shown_as_text(text: str, shown: str) -> None:
    assert shown == cell(text)
