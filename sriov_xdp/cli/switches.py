"""`sriov-xdp switch`, `port-group` and `port`: who may do what."""

from typing import Any

import click

from sriov_xdp.cli import completion
from sriov_xdp.cli.numbers import Number
from sriov_xdp.cli.output import ask, daemon_options, json_option, show, show_json, show_object
from sriov_xdp.cli.settings import policy_of, policy_options, says_nothing, vlan_of, vlan_option
from sriov_xdp.cli.tables import Column, show_rows, show_table, table_options
from sriov_xdp.vswitch.ports import MOST_PORTS, Binding

_BINDINGS = click.Choice([kind.value for kind in Binding])
_BINDING = "ephemeral: ports come and go with adapters; static: they are there before, and keep what is set for them."
_SWITCHES = (
    Column("SWITCH", lambda r: r["name"]),
    Column("PF", lambda r: r["pf"]),
    Column("MTU", lambda r: r["mtu"]),
    Column("PORT GROUPS", lambda r: [group["name"] for group in r["port_groups"]], rank=1),
    Column("PORTS", lambda r: r["ports"]),
    Column("POLICY", lambda r: r.get("policy"), rank=2),
)
_GROUPS = (
    Column("GROUP", lambda r: r["name"]),
    Column("SWITCH", lambda r: r["switch"]),
    Column("VLAN", lambda r: r["vlan"]),
    Column("POLICY", lambda r: r.get("policy"), rank=2),
    Column("PORTS", lambda r: r["ports"], rank=1),
)
_PORTS = (
    Column("PORT", lambda r: r["port"]),
    Column("VF", lambda r: r["vf"]),
    Column("GUEST", lambda r: r["guest"], rank=1),
    Column("GROUP", lambda r: r["port_group"]),
    Column("VLAN", lambda r: r["vlan"], rank=2),
    Column("PROMISCUOUS", lambda r: r["policy"]["promiscuous"]["value"], rank=3),
    Column("MAC CHANGES", lambda r: r["policy"]["mac_changes"]["value"]),
    Column("FORGED TRANSMITS", lambda r: r["policy"]["forged_transmits"]["value"]),
    Column("DENY REPLY", lambda r: r["policy"]["deny_reply"]["value"], rank=1),
)
_SETTINGS = (
    Column("SETTING", lambda r: r["name"]),
    Column("VALUE", lambda r: r["value"]),
    Column("SET BY", lambda r: r["set_by"]),
)


@click.group()
def switch() -> None:
    """Virtual switches."""


@switch.command("list")
@daemon_options
@table_options
def switch_list(output: str | None) -> None:
    """All switches."""
    show_rows(ask("switch-list"), _SWITCHES, output)


@switch.command("show")
@click.argument("name", shell_complete=completion.switch_names)
@daemon_options
@json_option
def switchshow(name: str, as_json: bool) -> None:
    """One switch."""
    show(ask("switch-show", {"name": name}), as_json=as_json)


@switch.command("set")
@click.argument("name", shell_complete=completion.switch_names)
@policy_options
@daemon_options
@json_option
def switch_set(name: str, as_json: bool, **settings: Any) -> None:
    """Changes a switch's policy; the ports that inherit it obey when the command returns."""
    if says_nothing(settings):
        raise click.UsageError("nothing to set: give a policy setting")
    show(ask("switch-set", {"name": name, "policy": policy_of(**settings)}), as_json=as_json)


@click.group("port-group")
def port_group() -> None:
    """Port groups: policy and VLAN for the ports connected to them."""


@port_group.command("list")
@daemon_options
@table_options
def port_group_list(output: str | None) -> None:
    """All port groups."""
    show_rows(ask("port-group-list"), _GROUPS, output)


@port_group.command("show")
@click.argument("name", shell_complete=completion.group_names)
@daemon_options
@json_option
def port_groupshow(name: str, as_json: bool) -> None:
    """One port group."""
    show(ask("port-group-show", {"name": name}), as_json=as_json)


@port_group.command("set")
@click.argument("name", shell_complete=completion.group_names)
@policy_options
@vlan_option
@daemon_options
@json_option
def port_group_set(name: str, vlan: str | None, as_json: bool, **settings: Any) -> None:
    """Changes a port group; its ports obey when the command returns."""
    if vlan is None and says_nothing(settings):
        raise click.UsageError("nothing to set: give a policy setting or --vlan")
    show(ask("port-group-set", {"name": name, "policy": policy_of(**settings), "vlan": vlan_of(vlan)}), as_json=as_json)


@port_group.command("create")
@click.argument("name")
@click.option("--switch", required=True, help="On which switch.", shell_complete=completion.switch_names)
@click.option("--overrides-allowed", default="", help="What its ports may override: kinds, with commas.")
@click.option(
    "--binding",
    type=click.Choice([kind.value for kind in Binding]),
    default=Binding.EPHEMERAL.value,
    show_default=True,
    help=_BINDING,
)
@click.option("--ports", type=Number(least=1, most=MOST_PORTS), help="Of a static group: how many.")
@click.option("--reset-at-disconnect", is_flag=True, help="What is set for a port ends when its adapter leaves.")
@policy_options
@vlan_option
@daemon_options
@json_option
def port_group_create(
    name: str,
    switch: str,
    overrides_allowed: str,
    binding: str,
    ports: int | None,
    reset_at_disconnect: bool,
    vlan: str | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """A port group more; adapters can be connected to it at once."""
    kinds = [kind for kind in overrides_allowed.split(",") if kind]
    said = {"policy": policy_of(**settings), "vlan": vlan_of(vlan), "overrides_allowed": kinds}
    of_ports = {"binding": binding, "ports": ports, "reset_at_disconnect": reset_at_disconnect}
    show(ask("port-group-create", {"name": name, "switch": switch, **said, **of_ports}), as_json=as_json)


@port_group.command("delete")
@click.argument("name", shell_complete=completion.group_names)
@daemon_options
@json_option
def port_group_delete(name: str, as_json: bool) -> None:
    """A port group less; refused while anything is connected to it."""
    show(ask("port-group-delete", {"name": name}), as_json=as_json)


@click.group()
def port() -> None:
    """Ports: where adapters are connected to the switch, each with a number of its own (vSwitch0/3)."""


@port.command("list")
@daemon_options
@table_options
def port_list(output: str | None) -> None:
    """All ports, in use or not, with the policy that holds."""
    show_rows(ask("port-list"), _PORTS, output)


@port.command("show")
@click.argument("address", shell_complete=completion.ports)
@daemon_options
@json_option
def portshow(address: str, as_json: bool) -> None:
    """One port, by its name (vSwitch0/3) or by who is connected there (pf0vf3, vm1/eth0): what holds, and which level said so."""
    _show_port(ask("port-show", {"port": address}), as_json=as_json)


def _show_port(document: dict[str, Any], *, as_json: bool) -> None:
    """What is true of it, then its settings, a line each."""
    if as_json:
        show_json(document)
        return
    ways = document["slow_path"] or {}
    slow = {direction: ", ".join(reasons) or "by the fast way" for direction, reasons in ways.items()}
    show_object({key: value for key, value in {**document, **slow}.items() if key not in ("policy", "overrides", "slow_path")})
    click.echo()
    show_table([{"name": name, **said} for name, said in document["policy"].items()], _SETTINGS)


@port.command("create")
@click.option("--port-group", required=True, help="A static one.", shell_complete=completion.group_names)
@daemon_options
@json_option
def port_create(port_group: str, as_json: bool) -> None:
    """A port more of a static group; the ports of others come and go with their adapters."""
    show(_told(ask("port-create", {"port_group": port_group})), as_json=as_json)


@port.command("delete")
@click.argument("address", shell_complete=completion.ports)
@daemon_options
@json_option
def port_delete(address: str, as_json: bool) -> None:
    """A port less of a static group, with what is set for it; refused while an adapter is connected."""
    show(_told(ask("port-delete", {"port": address})), as_json=as_json)


def _told(document: dict[str, Any]) -> dict[str, Any]:
    return {name: document[name] for name in ("port", "switch", "port_group", "vlan", "overrides")}


@port.command("set")
@click.argument("address", shell_complete=completion.ports)
@policy_options
@vlan_option
@daemon_options
@json_option
def port_set(address: str, vlan: str | None, as_json: bool, **settings: Any) -> None:
    """Overrides the group's settings for one port (vSwitch0/3, or who is connected there), where the group allows it."""
    if vlan is None and says_nothing(settings):
        raise click.UsageError("nothing to set: give a policy setting or --vlan")
    asked = {"port": address, "policy": policy_of(**settings), "vlan": vlan_of(vlan)}
    _show_port(ask("port-set", asked), as_json=as_json)
