"""Noun–verb commands: pf, vf, switch, port-group, port, audit."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from sriov_xdp.api.numerals import NUMBER
from sriov_xdp.cli.numbers import Number
from sriov_xdp.cli.output import ask, json_option, show_json, show_object, show_table
from sriov_xdp.store.audit import MOST_LISTED
from sriov_xdp.vswitch.policy import SETTINGS, nested

INHERIT = "inherit"
_MOST_PID = 1 << 22  # PID_MAX_LIMIT
NAMED_NAMESPACES = Path("/run/netns")
_DATAPATH = click.Choice(["auto", "xdp", "tcx"])


def _show(value: Any, as_json: bool) -> None:
    if as_json:
        show_json(value)
    else:
        show_object(value)


_vlan_option = click.option("--vlan", help="none, access:N or trunk:N,A-B,...; inherit: as the group says (ports).")


def _policy_options(command: Callable[..., None]) -> Callable[..., None]:
    for setting in reversed(SETTINGS.values()):
        form = click.Choice([*setting.choices, INHERIT]) if setting.choices else Number(least=0, most=setting.most, word=INHERIT)
        command = click.option(setting.option, type=form, help=f"{setting.text[0].upper()}{setting.text[1:]}.")(command)
    return command


def _policy(**said: Any) -> dict[str, Any]:
    return nested({name: value for name, value in said.items() if value is not None})


def _says_nothing(settings: dict[str, Any]) -> bool:
    return all(value is None for value in settings.values())


def _vlan(text: str | None) -> Any:
    if text in (None, "none", "inherit"):
        return text
    mode, _, setting = text.partition(":")
    if mode == "access" and NUMBER.fullmatch(setting):
        return {"access": int(setting)}
    if mode == "trunk" and setting:
        return {"trunk": [int(part) if NUMBER.fullmatch(part) else part for part in setting.split(",")]}
    raise click.BadParameter(f"{text!r}: expected none, access:N or trunk:N,A-B,...", param_hint="--vlan")


@click.group()
def pf() -> None:
    """Physical functions: the switch side of an uplink."""


@pf.command("list")
@json_option
def pf_list(as_json: bool) -> None:
    """All PFs."""
    rows = ask("pf-list")
    if as_json:
        show_json(rows)
        return
    show_table(
        rows,
        {
            "PF": lambda r: r["name"],
            "UPLINK": lambda r: r["uplink"],
            "LINK": lambda r: r["link"],
            "XDP": lambda r: r["xdp"],
            "SWITCH": lambda r: r["switch"],
            "MTU": lambda r: r["mtu"],
            "VFS": lambda r: f"{r['attached_vfs']}/{r['num_vfs']}",
            "FROM WIRE": lambda r: r["counters"]["from_wire_packets"],
            "TO WIRE": lambda r: r["counters"]["to_wire_packets"],
            "DROPS": lambda r: r["drops"],
        },
    )


@pf.command("show")
@click.argument("name")
@json_option
def pf_show(name: str, as_json: bool) -> None:
    """One PF."""
    _show(ask("pf-show", {"name": name}), as_json)


@click.group()
def vf() -> None:
    """Virtual functions."""


@vf.command("list")
@json_option
def vf_list(as_json: bool) -> None:
    """All VFs, free ones included."""
    rows = ask("vf-list")
    if as_json:
        show_json(rows)
        return
    show_table(
        rows,
        {
            "VF": lambda r: r["address"],
            "STATE": lambda r: r["state"],
            "GUEST": lambda r: r["guest"],
            "INTERFACE": lambda r: r["interface"],
            "GROUP": lambda r: r["port_group"],
            "VLAN": lambda r: r["vlan"],
            "ADMIN MAC": lambda r: r["admin_mac"],
            "EFFECTIVE MAC": lambda r: r["effective_mac"],
            "LINK": lambda r: r["link"],
            "DATAPATH": lambda r: r["datapath"] and f"{r['datapath']['mode']}:{r['datapath']['active']}",
            "RX": lambda r: r["counters"].get("rx_packets"),
            "TX": lambda r: r["counters"].get("tx_packets"),
            "DROPS": lambda r: r["drops"],
        },
    )


@vf.command("show")
@click.argument("address")
@json_option
def vf_show(address: str, as_json: bool) -> None:
    """One VF."""
    _show(ask("vf-show", {"vf": address}), as_json)


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
@click.argument("address", required=False)
@click.option("--guest", required=True)
@click.option("--netns", help="Its network namespace, by name (created when missing) or path.  [default: the guest's name]")
@click.option("--pid", type=Number(least=1, most=_MOST_PID), help="Instead of --netns: the network namespace of this process.")
@click.option("--port-group", required=True)
@click.option("--mac", help="Admin MAC.  [default: locally administered, always the same]")
@click.option("--ifname", default="eth0", show_default=True, help="Name of the interface in the guest.")
@click.option("--datapath", type=_DATAPATH, default="auto", show_default=True)
@json_option
def vf_attach(
    address: str | None,
    guest: str,
    netns: str | None,
    pid: int | None,
    port_group: str,
    mac: str | None,
    ifname: str,
    datapath: str,
    as_json: bool,
) -> None:
    """Gives a VF (a free one when none is named) to a guest."""
    netns = _namespace(netns, pid)
    document = {"guest": guest, "netns": netns, "port_group": port_group, "mac": mac, "interface": ifname, "datapath": datapath}
    _show(ask("vf-attach", {"vf": address, **document}), as_json)


@vf.command("detach")
@click.argument("address")
@json_option
def vf_detach(address: str, as_json: bool) -> None:
    """Takes a VF back; the guest loses the interface."""
    _show(ask("vf-detach", {"vf": address}), as_json)


@vf.command("reset")
@click.argument("address")
@json_option
def vf_reset(address: str, as_json: bool) -> None:
    """Resets a VF: effective MAC := admin MAC, guest-made filters gone."""
    _show(ask("vf-reset", {"vf": address}), as_json)


@vf.command("set")
@click.argument("address")
@click.option("--mac", help="Admin MAC; resets the VF. inherit: the host's choice again.")
@click.option("--port-group", help="Moves the VF to another group of its PF; the guest keeps its interface.")
@click.option("--link-state", type=click.Choice(["auto", "enable", "disable"]))
@click.option("--datapath", type=_DATAPATH)
@json_option
def vf_set(
    address: str, mac: str | None, port_group: str | None, link_state: str | None, datapath: str | None, as_json: bool
) -> None:
    """Changes operator settings of a VF, live."""
    if not any((mac, port_group, link_state, datapath)):
        raise click.UsageError("nothing to set: give --mac, --port-group, --link-state or --datapath")
    document = {"vf": address, "mac": mac, "port_group": port_group, "link_state": link_state, "datapath": datapath}
    _show(ask("vf-set", document), as_json)


@click.group()
def switch() -> None:
    """Virtual switches."""


@switch.command("list")
@json_option
def switch_list(as_json: bool) -> None:
    """All switches."""
    rows = ask("switch-list")
    if as_json:
        show_json(rows)
        return
    show_table(
        rows,
        {
            "SWITCH": lambda r: r["name"],
            "PF": lambda r: r["pf"],
            "MTU": lambda r: r["mtu"],
            "PORT GROUPS": lambda r: [group["name"] for group in r["port_groups"]],
            "PORTS": lambda r: r["ports"],
            "POLICY": lambda r: r.get("policy"),
        },
    )


@switch.command("show")
@click.argument("name")
@json_option
def switch_show(name: str, as_json: bool) -> None:
    """One switch."""
    _show(ask("switch-show", {"name": name}), as_json)


@switch.command("set")
@click.argument("name")
@_policy_options
@json_option
def switch_set(name: str, as_json: bool, **settings: Any) -> None:
    """Changes a switch's policy; the ports that inherit it obey when the command returns."""
    if _says_nothing(settings):
        raise click.UsageError("nothing to set: give a policy setting")
    _show(ask("switch-set", {"name": name, "policy": _policy(**settings)}), as_json)


@click.group("port-group")
def port_group() -> None:
    """Port groups: policy and VLAN for the ports connected to them."""


@port_group.command("list")
@json_option
def port_group_list(as_json: bool) -> None:
    """All port groups."""
    rows = ask("port-group-list")
    if as_json:
        show_json(rows)
        return
    show_table(
        rows,
        {
            "GROUP": lambda r: r["name"],
            "SWITCH": lambda r: r["switch"],
            "VLAN": lambda r: r["vlan"],
            "POLICY": lambda r: r.get("policy"),
            "PORTS": lambda r: r["ports"],
        },
    )


@port_group.command("show")
@click.argument("name")
@json_option
def port_group_show(name: str, as_json: bool) -> None:
    """One port group."""
    _show(ask("port-group-show", {"name": name}), as_json)


@port_group.command("set")
@click.argument("name")
@_policy_options
@_vlan_option
@json_option
def port_group_set(name: str, vlan: str | None, as_json: bool, **settings: Any) -> None:
    """Changes a port group; its ports obey when the command returns."""
    if vlan is None and _says_nothing(settings):
        raise click.UsageError("nothing to set: give a policy setting or --vlan")
    _show(ask("port-group-set", {"name": name, "policy": _policy(**settings), "vlan": _vlan(vlan)}), as_json)


@click.group()
def port() -> None:
    """Ports: where a VF is connected to its group."""


@port.command("list")
@json_option
def port_list(as_json: bool) -> None:
    """All ports in use, with the policy that holds."""
    rows = ask("port-list")
    if as_json:
        show_json(rows)
        return
    show_table(
        rows,
        {
            "PORT": lambda r: r["port"],
            "GUEST": lambda r: r["guest"],
            "GROUP": lambda r: r["port_group"],
            "VLAN": lambda r: r["vlan"],
            "PROMISCUOUS": lambda r: r["policy"]["promiscuous"]["value"],
            "MAC CHANGES": lambda r: r["policy"]["mac_changes"]["value"],
            "FORGED TRANSMITS": lambda r: r["policy"]["forged_transmits"]["value"],
            "DENY REPLY": lambda r: r["policy"]["deny_reply"]["value"],
        },
    )


@port.command("show")
@click.argument("address")
@json_option
def port_show(address: str, as_json: bool) -> None:
    """One port: what holds, and which level said so."""
    _show(ask("port-show", {"vf": address}), as_json)


@port.command("set")
@click.argument("address")
@_policy_options
@_vlan_option
@json_option
def port_set(address: str, vlan: str | None, as_json: bool, **settings: Any) -> None:
    """Overrides the group's settings for one port, where the group allows it."""
    if vlan is None and _says_nothing(settings):
        raise click.UsageError("nothing to set: give a policy setting or --vlan")
    _show(ask("port-set", {"vf": address, "policy": _policy(**settings), "vlan": _vlan(vlan)}), as_json)


@click.group()
def audit() -> None:
    """What was asked for, and what came of it."""


@audit.command("list")
@click.option("--vf", "address", help="Only of this VF.")
@click.option("--limit", type=Number(least=1, most=MOST_LISTED), default=100, show_default=True, help="The newest so many.")
@json_option
def audit_list(address: str | None, limit: int, as_json: bool) -> None:
    """Audit records, newest last."""
    rows = ask("audit-list", {"vf": address, "limit": limit})
    if as_json:
        show_json(rows)
        return
    show_table(
        rows,
        {
            "TIME": lambda r: datetime.fromtimestamp(r["time"], UTC).strftime("%Y-%m-%d %H:%M:%S"),
            "VF": lambda r: r["vf"],
            "GUEST": lambda r: r["guest"],
            "PEER": lambda r: f"pid {r['peer']['pid']} uid {r['peer']['uid']}",
            "REQUEST": lambda r: r["request"],
            "OUTCOME": lambda r: r["outcome"],
            "RULE": lambda r: r["rule"],
            "BEFORE": lambda r: r["before"],
            "AFTER": lambda r: r["after"],
        },
    )
