"""`sriov-xdp validate`: a file is checked where no daemon runs, by anybody, and all that is wrong with it is said."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from host_example import EXAMPLE

from sriov_xdp.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
WRONG = EXAMPLE.replace("num_vfs: 8 ", "num_vfs: 0100 ").replace("    pf: pf0", "    pf: pf9")
LINES = [
    "5: pfs[0].num_vfs: 0100; expected a number from 1 to 256; 0100 is octal for some readers: write 100 or 64",
    "9: switches[0].pf: pf9: no such PF; expected pf0; correct it or add the PF",
]


def validate(*arguments: str, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["validate", *arguments], input=stdin)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "host.yaml"


def test_a_file_that_is_right_is_valid(file: Path) -> None:
    file.write_text(EXAMPLE)
    done = validate("-f", str(file))
    assert (0, "valid\n", "") == (done.exit_code, done.stdout, done.stderr)


@pytest.mark.parametrize("name", ["host-lab.yaml", "host-edge.yaml"])
def test_the_examples_are_valid(name: str) -> None:
    done = validate("-f", str(ROOT / "deploy" / name))
    assert (0, "valid\n", "") == (done.exit_code, done.stdout, done.stderr)


def test_each_problem_has_a_line_that_begins_with_file_and_line(file: Path) -> None:
    file.write_text(WRONG)
    done = validate("-f", str(file))
    assert (1, "", [f"{file}:{line}" for line in LINES]) == (done.exit_code, done.stdout, done.stderr.splitlines())


def test_standard_input_is_read_for_a_dash() -> None:
    assert (0, "valid\n") == ((done := validate("-f", "-", stdin=EXAMPLE)).exit_code, done.stdout)
    done = validate("-f", "-", stdin=WRONG)
    assert (1, [f"<stdin>:{line}" for line in LINES]) == (done.exit_code, done.stderr.splitlines())


def test_problems_are_json_for_programs(file: Path) -> None:
    file.write_text(WRONG)
    done = validate("-f", str(file), "-j")
    problems = [
        {"line": 5, "path": "pfs[0].num_vfs", "text": LINES[0].partition(": ")[2].partition(": ")[2]},
        {"line": 9, "path": "switches[0].pf", "text": LINES[1].partition(": ")[2].partition(": ")[2]},
    ]
    wanted: dict[str, Any] = {"file": str(file), "is_valid": False, "problems": problems}
    assert (1, wanted, "") == (done.exit_code, json.loads(done.stdout), done.stderr)
    file.write_text(EXAMPLE)
    done = validate("-f", str(file), "-j")
    assert (0, {"file": str(file), "is_valid": True, "problems": []}) == (done.exit_code, json.loads(done.stdout))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, ": No such file or directory; expected a file that can be read; correct the path"),
        (b"version: 1\n# \xff\n", ":2: byte 0xff is not UTF-8; expected UTF-8; save the file as UTF-8"),
        (b"\xef\xbb\xbfversion: 1\n", ":1: a byte order mark; expected plain UTF-8; save the file without it"),
        (b"version: 1\n\x00", ":2: character U+0000; expected printable text; remove it, or write it as an escape in quotes"),
        (b"", ": empty; expected a mapping; begin it with `version: 1`"),
    ],
    ids=["missing", "not UTF-8", "a byte order mark", "a zero byte", "empty"],
)
def test_what_is_no_text_is_refused_with_its_name(content: bytes | None, line: str, file: Path) -> None:
    if content is not None:
        file.write_bytes(content)
    done = validate("-f", str(file))
    assert (1, "", f"{file}{line}\n") == (done.exit_code, done.stdout, done.stderr)
    done = validate("-f", str(file), "-j")
    assert [1, 1] == [done.exit_code, len(json.loads(done.stdout)["problems"])]


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    done = validate("-f", str(tmp_path))
    assert (1, f"{tmp_path}: Is a directory; expected a file that can be read; correct the path\n") == (done.exit_code, done.stderr)


@pytest.mark.parametrize("verb", ["apply", "diff"])
def test_other_commands_say_the_same_of_what_is_no_text(verb: str, file: Path) -> None:
    file.write_bytes(b"version: 1\n# \xff\n")
    done = CliRunner().invoke(main, [verb, "-f", str(file)])
    assert (1, f"{file}:2: byte 0xff is not UTF-8; expected UTF-8; save the file as UTF-8\n") == (done.exit_code, done.stderr)


def test_no_privilege_and_no_daemon_is_needed(file: Path) -> None:
    """In a process without any capability, with a run directory that is not there."""
    file.write_text(EXAMPLE)
    program = [
        sys.executable,
        "-c",
        "from sriov_xdp.cli.main import run; run()",
        "--run-dir",
        "/nowhere",
        "validate",
        "-f",
        str(file),
    ]
    without = ["setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
    done = subprocess.run([*without, *program], capture_output=True, text=True, check=False)
    assert (0, "valid\n", "") == (done.returncode, done.stdout, done.stderr)
