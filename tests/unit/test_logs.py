"""The log's lines, on their way to the journal or to anybody else."""

import json
import logging
import os
from pathlib import Path

import pytest

from sriov_xdp.logs import _JournalLines, _JsonLines, goes_to_the_journal


def record(level: int) -> logging.LogRecord:
    return logging.LogRecord("sriov_xdp.pf", level, "", 0, "%s: \x1b[7m", ("pf0vf0",), None)


@pytest.mark.parametrize(
    ("level", "priority"),
    [(logging.DEBUG, 7), (logging.INFO, 6), (logging.WARNING, 4), (logging.ERROR, 3), (logging.CRITICAL, 2)],
)
def test_a_line_for_the_journal_begins_with_its_priority(level: int, priority: int) -> None:
    line = _JournalLines().format(record(level))
    assert f"<{priority}>" == line[:3]
    document = json.loads(line[3:])
    assert (logging.getLevelName(level).lower(), "pf0vf0: \x1b[7m") == (document["level"], document["message"])


def test_a_line_for_anybody_else_is_one_document() -> None:
    assert "warning" == json.loads(_JsonLines().format(record(logging.WARNING)))["level"]


def test_the_journals_stream_is_known_by_its_numbers(tmp_path: Path) -> None:
    with (tmp_path / "stream").open("w") as stream:
        found = os.fstat(stream.fileno())
        numbers = f"{found.st_dev}:{found.st_ino}"
        assert goes_to_the_journal({"JOURNAL_STREAM": numbers}, stream.fileno())
        assert not goes_to_the_journal({"JOURNAL_STREAM": f"{numbers}1"}, stream.fileno())
        assert not goes_to_the_journal({}, stream.fileno())
