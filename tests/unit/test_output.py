"""How values look in tables."""

from types import SimpleNamespace
from typing import Any

import pytest

from sriov_xdp.cli.output import console
from sriov_xdp.cli.tables import Column, lines_of_table, show_table
from sriov_xdp.lab.demo import Stage
from sriov_xdp.shown import cell


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
    show_table([{"mac": text}], [Column("MAC", lambda row: row["mac"])])
    Stage.say(SimpleNamespace(console=console(80)), text)  # type: ignore[arg-type]
    assert ["MAC", text, f"   {text}"] == [line.rstrip() for line in capsys.readouterr().out.splitlines()]


COLUMNS = (
    Column("NAME", lambda row: row["name"]),
    Column("A", lambda row: row["a"], rank=1),
    Column("B", lambda row: row["b"], rank=2),
    Column("LAST", lambda row: ("one", row["b"])),
)
ROWS = [{"name": "n", "a": "aaaa", "b": "bbbbbb"}, {"name": "漢字", "a": None, "b": ""}]
WHOLE = [
    "NAME  A     B       LAST",
    "n     aaaa  bbbbbb  one",
    "                    bbbbbb",
    "漢字  -     -       one",
    "                    -",
]
WITHOUT_B = ["NAME  A     LAST", "n     aaaa  one", "            bbbbbb", "漢字  -     one", "            -"]
WITHOUT_BOTH = ["NAME  LAST", "n     one", "      bbbbbb", "漢字  one", "      -"]


@pytest.mark.parametrize(
    ("width", "lines"), [(None, WHOLE), (26, WHOLE), (25, WITHOUT_B), (18, WITHOUT_B), (17, WITHOUT_BOTH), (1, WITHOUT_BOTH)]
)
def test_columns_that_do_not_fit_go_and_no_value_is_broken(width: int | None, lines: list[str]) -> None:
    assert lines == lines_of_table(ROWS, COLUMNS, width)
