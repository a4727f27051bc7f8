"""How values look in tables."""

from types import SimpleNamespace
from typing import Any

import pytest

from sriov_xdp.cli.output import cell, console, show_table
from sriov_xdp.lab.demo import Stage


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


def test_an_address_is_not_taken_for_a_picture_nor_brackets_for_a_style(capsys: pytest.CaptureFixture[str]) -> None:
    text = "46:cd:f0:ab:48:bb [red] :a:"
    show_table([{"mac": text}], {"MAC": lambda row: row["mac"]})
    Stage.say(SimpleNamespace(console=console(80)), text)  # type: ignore[arg-type]
    assert ["MAC", text, f"   {text}"] == [line.rstrip() for line in capsys.readouterr().out.splitlines()]
