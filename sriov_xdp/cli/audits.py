"""`sriov-xdp audit`: what was asked for, by whom, and what came of it."""

import json
import pwd
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import click

from sriov_xdp.cli import completion
from sriov_xdp.cli.differences import differences
from sriov_xdp.cli.numbers import Number
from sriov_xdp.cli.output import ask, daemon_options
from sriov_xdp.cli.tables import Column, show_rows, table_options
from sriov_xdp.store.audit import MOST_LISTED


def _who(record: dict[str, Any]) -> str:
    """The operator by the name that was logged in with, whoever the process was by then; a guest's process by its user."""
    if not record["peer"]["pid"]:
        return "the daemon"
    if record["rule"] != "operator":
        return f"guest {record['guest']}, uid {record['peer']['uid']}"
    number = record["peer"]["uid"] if record["peer"]["login_uid"] is None else record["peer"]["login_uid"]
    with suppress(KeyError):
        return pwd.getpwuid(number).pw_name
    return f"uid {number}"


def _change(record: dict[str, Any]) -> tuple[str, ...]:
    """What is different since, a line a value."""
    before, after = record["before"], record["after"]
    with suppress(ValueError):
        return tuple(differences(json.loads(before or "{}"), json.loads(after or "{}"))) or ("",)
    if before == after:
        return ("",)
    return (f"{before} -> {after}",) if before and after else (f"+ {after}" if after else f"- {before}",)


def _time(record: dict[str, Any]) -> str:
    return datetime.fromtimestamp(record["time"], UTC).strftime("%Y-%m-%d %H:%M:%S")


_COLUMNS = (
    Column("TIME", _time),
    Column("VF", lambda r: r["vf"]),
    Column("PORT", lambda r: r["port"], rank=5),
    Column("GUEST", lambda r: r["guest"], rank=4),
    Column("WHO", _who, rank=2),
    Column("REQUEST", lambda r: r["request"]),
    Column("OUTCOME", lambda r: r["outcome"]),
    Column("RULE", lambda r: r["rule"], rank=3),
    Column("CHANGE", _change, rank=1),
)


def told(record: dict[str, Any]) -> str:
    """A record in a few words."""
    return f"{_time(record)} {record['vf']}, guest {record['guest']}: {record['request']}"


@click.group()
def audit() -> None:
    """What was asked for, and what came of it."""


@audit.command("list")
@click.option("--vf", "address", help="Only of this VF.", shell_complete=completion.vf_names)
@click.option("--port", help="Only of this port, whoever was connected there.", shell_complete=completion.ports)
@click.option("--limit", type=Number(least=1, most=MOST_LISTED), default=100, show_default=True, help="The newest so many.")
@daemon_options
@table_options
def audit_list(address: str | None, port: str | None, limit: int, output: str | None) -> None:
    """Audit records, newest last."""
    show_rows(ask("audit-list", {"vf": address, "port": port, "limit": limit}), _COLUMNS, output)
