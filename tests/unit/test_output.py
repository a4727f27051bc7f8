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
