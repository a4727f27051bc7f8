"""`sriov-xdp what-if`: what a configuration would change for whom."""

import json
import re
from typing import Any

import click

from sriov_xdp.cli.audits import told
from sriov_xdp.cli.configuration import FILE, request_of
from sriov_xdp.cli.output import ask, daemon_options, json_option, show_json

DIFFERENCES_FOUND = 7
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_SINCE = re.compile(r"([1-9][0-9]{0,6})([smhd])")


def _seconds(_context: click.Context, _parameter: click.Parameter, text: str) -> int:
    found = _SINCE.fullmatch(text)
    if not found:
        raise click.BadParameter(f"{text!r}: expected a number and s, m, h or d, as in 7d")
    return min(int(found[1]) * _UNITS[found[2]], 10 * 366 * 86_400)


@click.command("what-if")
@FILE
@click.option("--since", default="7d", show_default=True, callback=_seconds, help="How old the requests may be: 90m, 12h, 7d.")
@daemon_options
@json_option
def what_if(file: str, since: int, as_json: bool) -> None:
    """What a configuration would change for connected guests, and which of their recorded requests it would decide otherwise.

    Nothing is done; exit code 7 when there is something."""
    found = ask("what-if", {**request_of(file), "since_seconds": since})
    if as_json:
        show_json(found)
    else:
        _show(found)
    raise SystemExit(DIFFERENCES_FOUND if found["steps"] or found["ports"] or found["requests"] else 0)


def _show(found: dict[str, Any]) -> None:
    for step in found["steps"]:
        if step["consequence"]:
            click.echo(f"{step['action']} {step['kind']} {step['name']}: {step['consequence']}")
    for port in found["ports"]:
        name = f"{port['guest']}/{port['interface']} ({port['vf']})"
        if port["is_gone"]:
            click.echo(f"{name}: has no adapter any more")
        for setting, values in port["changes"].items():
            click.echo(f"{name}: {setting}: {_value(values['before'])} -> {_value(values['after'])}")
        if port["loses"]:
            click.echo(f"{name}: loses what its guest was granted, by {port['loses']}")
    for record in found["requests"]:
        then = record["then"]
        decided = "would be granted" if then["is_granted"] else "would be refused"
        click.echo(f"{told(record)}: was {record['outcome']}, {decided} by {then['rule']}")
    for vf, count in found["requests_otherwise"].items():
        more = count - sum(1 for record in found["requests"] if record["vf"] == vf)
        if more:
            click.echo(f"{vf}: {more} more before these")
    click.echo(_sum(found))


def _value(value: Any) -> str:
    """As a configuration says it."""
    return "nothing" if value is None else value if isinstance(value, str) else json.dumps(value)


def _sum(found: dict[str, Any]) -> str:
    unknown = f"; of {found['requests_unknown']} that cannot be told" if found["requests_unknown"] else ""
    ports, requests = len(found["ports"]), sum(found["requests_otherwise"].values())
    return f"{ports} adapters change, {requests} of {found['requests_seen']} recorded requests are decided otherwise{unknown}"
