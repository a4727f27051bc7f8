"""`sriov-xdp validate`, and how commands read a configuration file. Needs no daemon and no privileges."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sriov_xdp.cli.output import fail, json_option, show_json

if TYPE_CHECKING:
    from sriov_xdp.api.findings import Finding

STDIN = "<stdin>"
FILE = click.option("-f", "--file", required=True, help="Host configuration (YAML); - reads stdin.")


def name_of(file: str) -> str:
    """What messages call it."""
    return STDIN if file == "-" else file


def _read(file: str) -> str:
    from sriov_xdp.api.yaml_text import MAX_FILE_BYTES, read_file, text_of

    return text_of(sys.stdin.buffer.read(MAX_FILE_BYTES + 1)) if file == "-" else read_file(Path(file))


def request_of(file: str) -> dict[str, Any]:
    """A configuration file as the daemon takes it; ends the process with exit code 1 when it cannot be read."""
    from sriov_xdp.api.findings import Unreadable

    try:
        path = None if file == "-" else str(Path(file).resolve())
        return {"text": _read(file), "file": name_of(file), "path": path}
    except Unreadable as error:
        fail(1, error.finding.at(name_of(file)))


def _findings(file: str) -> "list[Finding]":
    from sriov_xdp.api.config import examine
    from sriov_xdp.api.findings import Unreadable

    try:
        return examine(_read(file))[1]
    except Unreadable as error:
        return [error.finding]


@click.command()
@FILE
@json_option
def validate(file: str, as_json: bool) -> None:
    """Checks a configuration file, without a daemon; exit code 1 with all problems, a line each."""
    from sriov_xdp.api.findings import path_text

    findings = _findings(file)
    if as_json:
        problems = [{"line": finding.line, "path": path_text(finding.path), "text": finding.text} for finding in findings]
        show_json({"file": name_of(file), "is_valid": not findings, "problems": problems})
        raise SystemExit(1 if findings else 0)
    if findings:
        fail(1, "\n".join(finding.at(name_of(file)) for finding in findings))
    click.echo("valid")
