"""`sriov-vf`: the VF driver's commands, run inside a guest."""

import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
from inspect import signature
from typing import Any

import click

from sriov_xdp.cli.logs import configure_logging
from sriov_xdp.cli.output import cell, ending_with_faults, exits_cleanly, json_option, show_json, show_object
from sriov_xdp.guest import interface as guest_interface
from sriov_xdp.guest.driver import VfDriver
from sriov_xdp.guest.errors import VfDriverError
from sriov_xdp.guest.watch import Kind, Watcher
from sriov_xdp.host.links import Links
from sriov_xdp.mailbox import sockets
from sriov_xdp.mailbox.messages import AddressType, Status

REFUSED = 4


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--vf", help="Which VF, when the guest has several.")
@click.option("--interface", help="The VF's netdev, when it cannot be found by its alias.")
@click.version_option(package_name="sriov-xdp")
@click.pass_context
def main(context: click.Context, vf: str | None, interface: str | None) -> None:
    """The driver of a virtual function: run it inside the guest."""
    context.obj = (vf, interface)


def _vf_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--vf and --interface also after the verb; faults become messages."""

    @click.option("--vf", "own_vf", hidden=True)
    @click.option("--interface", "own_interface", hidden=True)
    @wraps(command)
    def wrapped(own_vf: str | None, own_interface: str | None, **options: Any) -> Any:
        vf, interface = click.get_current_context().obj
        named = {"interface": own_interface or interface} if "interface" in signature(command).parameters else {}
        with ending_with_faults():
            return command(vf=_choose(own_vf or vf), **named, **options)

    return wrapped


def _choose(vf: str | None) -> str:
    names = sockets.names_in_this_namespace()
    if vf:
        return vf
    if not names:
        raise VfDriverError("mailboxes: none in this namespace; is a VF attached to this guest, and the daemon running?")
    if len(names) > 1:
        raise VfDriverError(f"mailboxes: {', '.join(names)}; choose one with --vf")
    return names[0]


@main.command("list")
@json_option
def list_vfs(as_json: bool) -> None:
    """VFs of this guest."""
    names = sockets.names_in_this_namespace()
    if as_json:
        show_json(names)
    else:
        click.echo("\n".join(names))


@main.command()
@json_option
@_vf_options
def status(vf: str, interface: str | None, as_json: bool) -> None:
    """Guest MAC, device MAC and whether they agree, link, MTU."""
    driver = VfDriver(vf)
    link = guest_interface.find(Links(), vf, interface)
    device_mac = driver.resources.mac.hex(":")
    document = {
        "vf": vf,
        "interface": link.name,
        "guest_mac": link.mac,
        "device_mac": device_mac,
        "agree": link.mac == device_mac,
        "link": "up" if driver.link and driver.link.link_is_up else "down",
        "speed_mbps": driver.link.link_speed_mbps if driver.link else 0,
        "vlan": guest_interface.vlan_of(link),
        "max_mtu": driver.resources.max_mtu_bytes,
    }
    driver.close()
    if as_json:
        show_json(document)
        return
    show_object(document)
    if not document["agree"]:
        click.echo(_disagreement(link.mac))


def _disagreement(guest_mac: str) -> str:
    dropped = f"frames to {guest_mac} do not arrive, and those from it are dropped unless the port accepts forged transmits"
    remedies = f"`sriov-vf set-mac {guest_mac}` asks the PF for it, `sriov-vf reset` goes back to the operator's"
    return f"guest and device disagree: {dropped}; {remedies}"


@main.command("set-mac")
@click.argument("mac")
@json_option
@_vf_options
def set_mac(vf: str, interface: str | None, mac: str, as_json: bool) -> None:
    """Changes the interface's MAC and asks the PF for it."""
    wanted = _octets(mac)
    links = Links()
    link = guest_interface.find(links, vf, interface)
    driver = VfDriver(vf)
    answer = driver.set_mac(wanted, bytes.fromhex(link.mac.replace(":", "")))
    driver.close()
    if answer == Status.SUCCESS:
        guest_interface.set_mac(links, link, wanted)
    _tell(vf, wanted, answer, as_json=as_json)


def _octets(mac: str) -> bytes:
    try:
        octets = bytes.fromhex(mac.replace(":", ""))
    except ValueError:
        octets = b""
    if len(octets) != 6:
        raise click.BadParameter(f"{mac!r}: expected six hexadecimal bytes, as in 02:00:00:00:01:01", param_hint="MAC")
    return octets


def _tell(vf: str, mac: bytes, answer: int, *, as_json: bool) -> None:
    """What the PF said, and the exit code that says it."""
    is_accepted = answer == Status.SUCCESS
    if as_json:
        show_json({"vf": vf, "mac": mac.hex(":"), "status": answer, "accepted": is_accepted})
    else:
        click.echo(f"{vf}: {mac.hex(':')}: {'the PF said success' if is_accepted else f'refused, status {answer}'}")
    sys.exit(0 if is_accepted else REFUSED)


@main.command("add-mac")
@click.argument("mac")
@json_option
@_vf_options
def add_mac(vf: str, mac: str, as_json: bool) -> None:
    """Asks the PF to receive for another address as well."""
    _ask_for(vf, mac, VfDriver.add_address, as_json=as_json)


@main.command("del-mac")
@click.argument("mac")
@json_option
@_vf_options
def del_mac(vf: str, mac: str, as_json: bool) -> None:
    """Gives such an address back."""
    _ask_for(vf, mac, VfDriver.remove_address, as_json=as_json)


def _ask_for(vf: str, mac: str, verb: Callable[[VfDriver, bytes, AddressType], int], *, as_json: bool) -> None:
    octets = _octets(mac)
    driver = VfDriver(vf)
    answer = verb(driver, octets, AddressType.EXTRA)
    driver.close()
    _tell(vf, octets, answer, as_json=as_json)


@main.command()
@json_option
@_vf_options
def stats(vf: str, as_json: bool) -> None:
    """The device's counters."""
    driver = VfDriver(vf)
    counted = asdict(driver.stats())
    driver.close()
    if as_json:
        show_json(counted)
    else:
        show_object(counted)


@main.command()
@json_option
@_vf_options
def reset(vf: str, interface: str | None, as_json: bool) -> None:
    """Resets the VF and puts the device's MAC on the interface."""
    links = Links()
    link = guest_interface.find(links, vf, interface)
    driver = VfDriver(vf)
    mac = driver.reset().mac
    driver.close()
    guest_interface.set_mac(links, link, mac)
    document = {"vf": vf, "interface": link.name, "mac": mac.hex(":")}
    if as_json:
        show_json(document)
    else:
        click.echo(f"{vf} reset: {cell(link.name)} has the device's MAC {mac.hex(':')}")


@main.command()
@click.option("--kind", type=click.Choice([kind.value for kind in Kind]), default=Kind.VSPHERE.value, show_default=True)
@_vf_options
def watch(vf: str, interface: str | None, kind: str) -> None:
    """Follows the interface until it is gone: requests what the guest changes, re-applies the device's state on a reset."""
    configure_logging()
    Watcher(vf, interface, Kind(kind)).run()


run = exits_cleanly(main)
