"""The reference pages say what the rows say, and each row is there."""

from pathlib import Path

import pytest

from sriov_xdp.api import reference
from sriov_xdp.api.verdicts import EXPLANATIONS
from sriov_xdp.datapath.abi import Verdict

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("name", reference.PAGES)
def test_a_page_is_made_from_the_rows_of_today(name: str) -> None:
    remedy = "make it anew: .venv/bin/python -m sriov_xdp.api.reference"
    assert reference.PAGES[name]() == (DOCS / name).read_text(), remedy


def test_every_verdict_is_explained() -> None:
    assert list(Verdict) == list(EXPLANATIONS)
