"""The reference page says what the rows say."""

from pathlib import Path

from sriov_xdp.api import reference

PAGE = Path(__file__).resolve().parents[2] / "docs" / "policy.md"


def test_the_page_is_made_from_the_rows_of_today() -> None:
    remedy = "make it anew: .venv/bin/python -m sriov_xdp.api.reference > docs/policy.md"
    assert reference.page() == PAGE.read_text(), remedy
