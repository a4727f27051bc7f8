"""Representors of a daemon whose state and pins are both gone: they have no program, so their guests reach the host's own stack and
nobody else, or a filter that goes by the last maps for good. What their marks say is all that is known of them. For starts, recover
and teardown.
"""

import logging
from collections.abc import Container, Iterator
from dataclasses import replace

from sriov_xdp.host.errors import HostError
from sriov_xdp.host.links import Link, Links
from sriov_xdp.pf.errors import Conflict, Invalid
from sriov_xdp.pf.hands.hooks import Hooks
from sriov_xdp.pf.hands.instances import is_served
from sriov_xdp.pf.hands.representors import generation_of
from sriov_xdp.pf.process.guest_places import made_for, namespace_of
from sriov_xdp.pf.state.device_marks import HostMark, instance_of, is_hop_entrance, pf_of_group, read_host_mark
from sriov_xdp.pf.state.intent import Attachment, HostIntent, VfAddress
from sriov_xdp.pf.verbs.lifecycle import default_mac

_log = logging.getLogger("sriov_xdp.pf")


def find(links: Links) -> list[Link]:
    """Raises HostError, DataPathError."""
    return [link for link in links.dump() if is_orphan(link)]


def close(links: Links, instance: str | None) -> None:
    """Puts devices of guests down that have no program: of an instance, whatever else there is of it, or where that is not known,
    of those that nobody serves. What a device does not let be done is logged. Raises HostError, DataPathError."""
    found = [link for link in links.dump() if _leads_to_the_host(link, instance)] if instance else find(links)
    for link in found:
        try:
            links.change(link.ifindex, state="down")
        except HostError as error:
            _log.error("device %s: has no program and leads to the host; it could not be put down: %s", link.name, error)


def _leads_to_the_host(link: Link, instance: str) -> bool:
    return instance_of(link) == instance and not is_hop_entrance(link) and _has_no_program(link)


def is_orphan(link: Link) -> bool:
    """One without its whole mark was never ready to be in service: its daemon died while it made it, and may come again. Whether it
    had a carrier tells nothing, as a link may be disabled from the start. Raises HostError, DataPathError."""
    instance = instance_of(link)
    if instance is None or read_host_mark(instance, link) is None:
        return False
    return _has_no_program(link) and not is_served(instance)


def _has_no_program(link: Link) -> bool:
    return not (link.xdp_program_id or Hooks.is_held_by_anybody(link.ifindex))


def require_none(links: Links, adapters: Container[tuple[str, str] | None]) -> None:
    """For a first start, which knows of no guest. adapters: those that it is about to serve, by guest and interface. Their devices
    are put down, as they lead to the host now; what others may be about is looked at later (adoption.close_strays()). Raises
    Conflict."""
    found = [link for link in find(links) if _adapter_of(link) in adapters]
    for link in found:
        links.change(link.ifindex, state="down")
    if found:
        names = ", ".join(link.name for link in found[:4])
        text = f"device {names}: leads to a guest of instance {instance_of(found[0])}, whose state and pins are gone; it is down"
        raise Conflict(f"{text}; `sriov-xdp recover -f FILE` gives it back to its guest, `sriov-xdp teardown` removes it")


def _adapter_of(link: Link) -> tuple[str, str] | None:
    mark = read_host_mark(instance_of(link) or "", link)
    return (mark.guest, mark.interface) if mark else None


def instance_of_all(found: list[Link]) -> str:
    """Raises Conflict where there are none, or of several."""
    instances = sorted({instance_of(link) or "" for link in found})
    if len(instances) != 1:
        text = f"devices of instances {', '.join(instances)} are there" if instances else "no device of a daemon is there either"
        raise Conflict(f"{text}, so it is not known what to rebuild; start the daemon, or remove them with `sriov-xdp teardown`")
    return instances[0]


def numbers(found: list[Link]) -> dict[str, int]:
    """Of the PFs, by their names."""
    return {mark.vf.pf: pf_of_group(link.group) for link, mark in _marked(found)}


def vfs(found: list[Link]) -> list[VfAddress]:
    """Which they are. Raises Conflict."""
    return [mark.vf for _link, mark in _marked(found)]


def attachments(found: list[Link], intent: HostIntent) -> list[Attachment]:
    """As the marks say it, and the configuration what they cannot. Raises Invalid, Conflict."""
    return [_attachment(link, mark, intent) for link, mark in _marked(found)]


def _marked(found: list[Link]) -> Iterator[tuple[Link, HostMark]]:
    for link in found:
        mark = read_host_mark(instance_of(link) or "", link)
        if mark is None:
            raise Conflict(
                f"device {link.name}: its alias tells no guest: {link.alias!r}; remove it, or all with `sriov-xdp teardown`"
            )
        yield link, mark


def _attachment(link: Link, mark: HostMark, intent: HostIntent) -> Attachment:
    said = next((spec for spec in intent.adapters if spec.key == (mark.guest, mark.interface)), None)
    switch = next((switch for switch in intent.switches if switch.group(mark.port_group)), None)
    subject = f"{mark.vf}: guest {mark.guest}, adapter {mark.interface}"
    if said is None:
        raise Invalid(f"{subject}: the configuration does not have it; name one that does, as nothing else tells its policy")
    if switch is None or switch.pf != mark.vf.pf:
        raise Invalid(f"{subject}: the configuration has no port group {mark.port_group} on {mark.vf.pf}; name one that does")
    netns, netns_id = namespace_of(mark, link, said.netns)
    spec = replace(said, netns=netns, port_group=mark.port_group)
    if (spec.mac or default_mac(spec)) != mark.admin_mac:
        spec = replace(spec, mac=mark.admin_mac)
    return Attachment(
        vf=mark.vf,
        spec=spec,
        admin_mac=mark.admin_mac,
        generation=generation_of(link.ifindex, instance_of(link) or ""),
        representor=link.name,
        ifindex=link.ifindex,
        netns_is_ours=made_for(mark, link) == netns,
        netns_id=netns_id,
    )
