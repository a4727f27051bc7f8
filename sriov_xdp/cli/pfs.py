"""`sriov-xdp pf`: physical functions."""

import click

from sriov_xdp.cli import completion
from sriov_xdp.cli.output import ask, daemon_options, json_option, show
from sriov_xdp.cli.tables import Column, show_rows, table_options

_COLUMNS = (
    Column("PF", lambda r: r["name"]),
    Column("UPLINK", lambda r: r["uplink"]),
    Column("LINK", lambda r: r["link"]),
    Column("XDP", lambda r: r["xdp"], rank=3),
    Column("SWITCH", lambda r: r["switch"], rank=1),
    Column("MTU", lambda r: r["mtu"], rank=2),
    Column("VFS", lambda r: f"{r['attached_vfs']}/{r['num_vfs']}"),
    Column("FROM WIRE", lambda r: r["counters"]["from_wire_packets"], rank=4),
    Column("TO WIRE", lambda r: r["counters"]["to_wire_packets"], rank=4),
    Column("DROPS", lambda r: sum(r["drops"].values())),
)


@click.group()
def pf() -> None:
    """Physical functions: the switch side of an uplink."""


@pf.command("list")
@daemon_options
@table_options
def pf_list(output: str | None) -> None:
    """All PFs."""
    show_rows(ask("pf-list"), _COLUMNS, output)


@pf.command("show")
@click.argument("name", shell_complete=completion.pf_names)
@daemon_options
@json_option
def pf_show(name: str, as_json: bool) -> None:
    """One PF."""
    show(ask("pf-show", {"name": name}), as_json=as_json)
