"""`sriov-vf`: the VF driver's commands, run inside a guest. Standard library only, as all that is imported here, so that it runs
in a small guest from one file (deploy/vf-driver).
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, NoReturn

from sriov_xdp.faults import Fault
from sriov_xdp.guest import interface as guest_interface
from sriov_xdp.guest.driver import VfDriver
from sriov_xdp.guest.errors import VfDriverError
from sriov_xdp.host.links import Links
from sriov_xdp.mailbox import sockets
from sriov_xdp.mailbox.messages import AddressType, Status
from sriov_xdp.shown import cell, exits_cleanly, json_text, lines_of

REFUSED = 4  # as the operator's commands end when a policy is in the way
_MOST_VLAN = 4094
_PROMISCUITY = {"on": (True, True), "allmulti": (False, True), "off": (False, False)}
_MAC_BYTES = 6
_KINDS = ("vsphere", "iavf")  # watch.Kind, which is imported by who watches

Words = argparse.Namespace


def _list(words: Words) -> int:
    names = sockets.names_in_this_namespace()
    _say(json_text(names) if words.as_json else "\n".join(names))
    return 0


def _status(words: Words) -> int:
    vf = _vf(words)
    driver = VfDriver(vf)
    link = guest_interface.find(Links(), vf, words.interface)
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
    text = "\n".join(lines_of(document))
    _show(words, document, text if document["agree"] else f"{text}\n{_disagreement(link.mac)}")
    return 0


def _disagreement(guest_mac: str) -> str:
    dropped = f"frames to {guest_mac} do not arrive, and those from it are dropped unless the port accepts forged transmits"
    remedies = f"`sriov-vf set-mac {guest_mac}` asks the PF for it, `sriov-vf reset` goes back to the operator's"
    return f"guest and device disagree: {dropped}; {remedies}"


def _set_mac(words: Words) -> int:
    vf, links = _vf(words), Links()
    link = guest_interface.find(links, vf, words.interface)
    driver = VfDriver(vf)
    answer = driver.set_mac(words.mac, bytes.fromhex(link.mac.replace(":", "")))
    driver.close()
    if answer == Status.SUCCESS:
        guest_interface.set_mac(links, link, words.mac)
    return _tell(words, vf, answer)


def _add_mac(words: Words) -> int:
    return _ask_for(words, VfDriver.add_address)


def _del_mac(words: Words) -> int:
    return _ask_for(words, VfDriver.remove_address)


def _ask_for(words: Words, verb: Callable[[VfDriver, bytes, AddressType], int]) -> int:
    vf = _vf(words)
    driver = VfDriver(vf)
    answer = verb(driver, words.mac, AddressType.EXTRA)
    driver.close()
    return _tell(words, vf, answer)


def _add_vlan(words: Words) -> int:
    return _ask_for_vlan(words, VfDriver.add_vlan)


def _del_vlan(words: Words) -> int:
    return _ask_for_vlan(words, VfDriver.remove_vlan)


def _ask_for_vlan(words: Words, verb: Callable[[VfDriver, int], int]) -> int:
    vf = _vf(words)
    driver = VfDriver(vf)
    answer = verb(driver, words.vlan)
    driver.close()
    return _tell_of(words, {"vf": vf, "vlan": words.vlan}, f"VLAN {words.vlan}", answer)


def _set_promisc(words: Words) -> int:
    vf, (unicast, multicast) = _vf(words), _PROMISCUITY[words.mode]
    driver = VfDriver(vf)
    answer = driver.set_promiscuous(unicast=unicast, multicast=multicast)
    driver.close()
    return _tell_of(words, {"vf": vf, "promisc": words.mode}, f"promiscuous {words.mode}", answer)


def _tell(words: Words, vf: str, answer: int) -> int:
    mac = words.mac.hex(":")
    return _tell_of(words, {"vf": vf, "mac": mac}, mac, answer)


def _tell_of(words: Words, asked: dict[str, Any], what: str, answer: int) -> int:
    """What the PF said; the exit code that says it."""
    is_accepted = answer == Status.SUCCESS
    document = {**asked, "status": answer, "accepted": is_accepted}
    _show(words, document, f"{asked['vf']}: {what}: {'the PF said success' if is_accepted else f'refused, status {answer}'}")
    return 0 if is_accepted else REFUSED


def _stats(words: Words) -> int:
    driver = VfDriver(_vf(words))
    while True:
        counted = asdict(driver.stats())
        _show(words, counted, "\n".join(lines_of(counted)))
        if not words.goes_on:
            driver.close()
            return 0
        sys.stdout.flush()
        time.sleep(1)


def _reset(words: Words) -> int:
    vf, links = _vf(words), Links()
    link = guest_interface.find(links, vf, words.interface)
    driver = VfDriver(vf)
    mac = driver.reset().mac
    driver.close()
    guest_interface.set_mac(links, link, mac)
    document = {"vf": vf, "interface": link.name, "mac": mac.hex(":")}
    _show(words, document, f"{vf} reset: {cell(link.name)} has the device's MAC {mac.hex(':')}")
    return 0


def _watch(words: Words) -> int:
    from sriov_xdp.guest.watch import Kind, Watcher
    from sriov_xdp.logs import configure_logging

    configure_logging()
    Watcher(_vf(words), words.interface, Kind(words.kind)).run()
    return 0


def _vf(words: Words) -> str:
    """The one that was named, or the only one."""
    names = sockets.names_in_this_namespace()
    if words.vf:
        return str(words.vf)
    if not names:
        raise VfDriverError("mailboxes: none in this namespace; is a VF attached to this guest, and the daemon running?")
    if len(names) > 1:
        raise VfDriverError(f"mailboxes: {', '.join(names)}; choose one with --vf")
    return names[0]


def _show(words: Words, document: dict[str, Any], text: str) -> None:
    _say(json_text(document) if words.as_json else text)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _octets(mac: str) -> bytes:
    try:
        octets = bytes.fromhex(mac.replace(":", ""))
    except ValueError:
        octets = b""
    if len(octets) != _MAC_BYTES:
        raise argparse.ArgumentTypeError(f"{mac!r}: expected six hexadecimal bytes, as in 02:00:00:00:01:01")
    return octets


def _vlan(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_VLAN:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a VLAN from 1 to {_MOST_VLAN}")
    return int(text)


class _Version(argparse.Action):
    """Looked up when it is asked for, as that takes longer than all else."""

    def __call__(self, parser: argparse.ArgumentParser, *_arguments: object, **_options: object) -> NoReturn:
        from importlib.metadata import version

        _say(f"{parser.prog}, version {version('sriov-xdp')}")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sriov-vf", description="The driver of a virtual function: run it inside the guest.", allow_abbrev=False
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version")
    _which(parser, default=None)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")
    _verb(verbs, "list", _list, "VFs of this guest.")
    _verb(verbs, "status", _status, "Guest MAC, device MAC and whether they agree, link, MTU.")
    for name, carry_out, help_text in (
        ("set-mac", _set_mac, "Changes the interface's MAC and asks the PF for it."),
        ("add-mac", _add_mac, "Asks the PF to receive for another address as well."),
        ("del-mac", _del_mac, "Gives such an address back."),
    ):
        _verb(verbs, name, carry_out, help_text).add_argument("mac", type=_octets, metavar="MAC")
    for name, carry_out, help_text in (
        ("add-vlan", _add_vlan, "Asks the PF for the frames of a VLAN of a trunk; from the first one on for none but those."),
        ("del-vlan", _del_vlan, "Gives such a VLAN back."),
    ):
        _verb(verbs, name, carry_out, help_text).add_argument("vlan", type=_vlan, metavar="VLAN")
    promisc = _verb(
        verbs, "set-promisc", _set_promisc, "Asks the PF for frames that are for others (on), or for all multicast groups."
    )
    promisc.add_argument("mode", choices=_PROMISCUITY, help="on: both; allmulti: multicast alone")
    stats = _verb(verbs, "stats", _stats, "The device's counters.")
    stats.add_argument("-w", "--watch", action="store_true", dest="goes_on", help="again each second, until interrupted")
    _verb(verbs, "reset", _reset, "Resets the VF and puts the device's MAC on the interface.")
    watch = _verb(
        verbs,
        "watch",
        _watch,
        "Follows the interface until it is gone: requests what the guest changes, re-applies the device's state on a reset.",
    )
    watch.add_argument("--kind", choices=_KINDS, default=_KINDS[0], help="whose driver to imitate; default: %(default)s")
    return parser


def _which(parser: argparse.ArgumentParser, default: Any) -> None:
    """--vf and --interface stand before the verb, or after it, where what is not said leaves what was."""
    parser.add_argument("--vf", default=default, help="which VF, when the guest has several")
    parser.add_argument("--interface", default=default, help="the VF's netdev, when it cannot be found by its alias")


def _verb(verbs: Any, name: str, carry_out: Callable[[Words], int], help_text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=help_text, description=help_text, allow_abbrev=False)
    parser.add_argument("-j", "--json", action="store_true", dest="as_json", help="JSON instead of text")
    _which(parser, default=argparse.SUPPRESS)
    parser.set_defaults(carry_out=carry_out)
    return parser


def main() -> int:
    """A fault, or an error of the system, ends the process with its exit code."""
    words = _parser().parse_args()
    try:
        return int(words.carry_out(words))
    except BrokenPipeError:
        raise
    except (Fault, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code if isinstance(error, Fault) else Fault.exit_code
    except KeyboardInterrupt:
        return 130


@exits_cleanly
def run() -> NoReturn:
    """The command."""
    code = main()
    sys.stdout.flush()
    sys.exit(code)


if __name__ == "__main__":
    run()
