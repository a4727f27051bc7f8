"""`sriov-xdp vf`: virtual functions."""

from pathlib import Path
from typing import Any

import click

from sriov_xdp.cli import completion, ip_link
from sriov_xdp.cli.numbers import Number
from sriov_xdp.cli.output import ask, daemon_options, fail, json_option, show
from sriov_xdp.cli.tables import Column, show_rows, table_options
from sriov_xdp.pf.errors import Refused

_MOST_PID = 1 << 22  # PID_MAX_LIMIT
NAMED_NAMESPACES = Path("/run/netns")
_DATAPATH = click.Choice(["auto", "xdp", "tcx"])
_COLUMNS = (
    Column("VF", lambda r: r["address"]),
    Column("STATE", lambda r: r["state"], rank=1),
    Column("GUEST", lambda r: r["guest"]),
    Column("INTERFACE", lambda r: r["interface"], rank=5),
    Column("GROUP", lambda r: r["port_group"]),
    Column("VLAN", lambda r: r["vlan"], rank=2),
    Column("ADMIN MAC", lambda r: r["admin_mac"], rank=7),
    Column("EFFECTIVE MAC", lambda r: r["effective_mac"]),
    Column("LINK", lambda r: r["link"]),
    Column("DATAPATH", lambda r: r["datapath"] and f"{r['datapath']['mode']}:{r['datapath']['active']}", rank=3),
    Column("RX", lambda r: r["counters"].get("rx_packets"), rank=6),
    Column("TX", lambda r: r["counters"].get("tx_packets"), rank=6),
    Column("DROPS", lambda r: sum(r["drops"].values()), rank=4),
)


@click.group()
def vf() -> None:
    """Virtual functions."""


@vf.command("list")
@click.option("--attached", is_flag=True, help="Without the free ones.")
@click.option("--guest", help="Only of this guest.", shell_complete=completion.guest_names)
@click.option("--pf", help="Only of this PF.", shell_complete=completion.pf_names)
@daemon_options
@table_options
def vf_list(attached: bool, guest: str | None, pf: str | None, output: str | None) -> None:
    """All VFs, free ones included."""
    if pf is not None:
        ask("pf-show", {"name": pf})  # a PF that is not there is not found
    rows = [row for row in ask("vf-list") if _is_asked_for(row, attached=attached, guest=guest, pf=pf)]
    show_rows(rows, _COLUMNS, output)


def _is_asked_for(row: dict[str, Any], *, attached: bool, guest: str | None, pf: str | None) -> bool:
    is_of_pf = pf is None or row["address"].rpartition("vf")[0] == pf
    return is_of_pf and (not attached or row["state"] != "free") and guest in (None, row["guest"])


@vf.command("show")
@click.argument("address", shell_complete=completion.vf_names)
@daemon_options
@json_option
def vfshow(address: str, as_json: bool) -> None:
    """One VF."""
    show(ask("vf-show", {"vf": address}), as_json=as_json)


def _namespace(netns: str | None, pid: int | None) -> str | None:
    """A name, or a path; a number alone is nearly always meant as a process's."""
    if pid is not None:
        if netns is not None:
            raise click.UsageError("--netns and --pid: give one of them")
        return f"/proc/{pid}/ns/net"
    if netns is not None and netns.isdigit() and not (NAMED_NAMESPACES / netns).exists():
        raise click.BadParameter(
            f"{netns!r}: no such name in {NAMED_NAMESPACES}; for the namespace of a process give --pid {netns}",
            param_hint="--netns",
        )
    return netns


@vf.command("attach")
@click.argument("address", required=False, shell_complete=completion.vf_names)
@click.option("--guest", required=True)
@click.option("--netns", help="Its network namespace, by name (created when missing) or path.  [default: the guest's name]")
@click.option("--pid", type=Number(least=1, most=_MOST_PID), help="Instead of --netns: the network namespace of this process.")
@click.option("--port-group", help="Where it is connected.", shell_complete=completion.group_names)
@click.option("--port", help="Which port, as vSwitch0/3; a static group's says the group.", shell_complete=completion.ports)
@click.option("--mac", help="Admin MAC.  [default: locally administered, always the same]")
@click.option("--ifname", default="eth0", show_default=True, help="Name of the interface in the guest.")
@click.option("--datapath", type=_DATAPATH, default="auto", show_default=True)
@daemon_options
@json_option
def vf_attach(
    address: str | None,
    guest: str,
    netns: str | None,
    pid: int | None,
    port_group: str | None,
    port: str | None,
    mac: str | None,
    ifname: str,
    datapath: str,
    as_json: bool,
) -> None:
    """Gives a VF (a free one when none is named) to a guest."""
    if port_group is None and port is None:
        raise click.UsageError("nowhere to connect it: give --port-group or --port")
    place = {"netns": _namespace(netns, pid), "port_group": port_group, "port": port}
    document = {"guest": guest, **place, "mac": mac, "interface": ifname, "datapath": datapath}
    show(ask("vf-attach", {"vf": address, **document}), as_json=as_json)


@vf.command("detach")
@click.argument("address", shell_complete=completion.ports_in_use)
@daemon_options
@json_option
def vf_detach(address: str, as_json: bool) -> None:
    """Takes a VF back; the guest loses the interface."""
    show(ask("vf-detach", {"vf": address}), as_json=as_json)


@vf.command("reset")
@click.argument("address", shell_complete=completion.ports_in_use)
@daemon_options
@json_option
def vf_reset(address: str, as_json: bool) -> None:
    """Resets a VF: effective MAC := admin MAC, guest-made filters gone."""
    show(ask("vf-reset", {"vf": address}), as_json=as_json)


@vf.command("set", epilog=f"In the words of `ip link set DEV vf N`: {ip_link.WORDS}.")
@click.argument("address", shell_complete=completion.ports_in_use)
@click.argument("words", nargs=-1)
@click.option("--mac", help="Admin MAC; resets the VF. inherit: the host's choice again.")
@click.option(
    "--port-group",
    shell_complete=completion.group_names,
    help="Moves the VF to another group of its PF; the guest keeps its interface.",
)
@click.option("--port", help="Moves the VF to this port of its switch, as vSwitch0/3.", shell_complete=completion.ports)
@click.option("--link-state", type=click.Choice(["auto", "enable", "disable", "inherit"]))
@click.option("--datapath", type=click.Choice([*_DATAPATH.choices, "inherit"]), help="inherit, as of --link-state: auto again.")
@daemon_options
@json_option
def vf_set(address: str, words: tuple[str, ...], as_json: bool, **options: str | None) -> None:
    """Changes operator settings of a VF, and of its port, live and all at once."""
    said = {name: value for name, value in options.items() if value is not None}
    try:
        in_words = ip_link.read(words)
    except Refused as refusal:
        fail(refusal.exit_code, f"VF {address}: {refusal}")
    if not said and not in_words:
        raise click.UsageError(f"nothing to set: give an option, or {ip_link.WORDS}")
    twice = sorted(said.keys() & in_words.keys())
    if twice:
        raise click.UsageError(f"{twice[0]}: said twice, by an option and by a word")
    show(ask("vf-set", {"vf": address, **said, **in_words}), as_json=as_json)
