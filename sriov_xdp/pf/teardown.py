"""Removes everything that a daemon made on this host: programs, devices, namespaces that it created, pins, sockets and state.

For a host where no daemon runs any more. Needs no working data path: what cannot be found is skipped.
"""

import contextlib
import fcntl
import json
import os
import shutil

from sriov_xdp.datapath.pins import LINKS, remove_tree
from sriov_xdp.host import clsact, features, namespaces
from sriov_xdp.host.errors import HostError
from sriov_xdp.host.links import Links
from sriov_xdp.pf.errors import Conflict
from sriov_xdp.pf.intent import VfAddress, attachment_from_text
from sriov_xdp.pf.service import CLSACT, TC_KIND, Places
from sriov_xdp.store.database import Database
from sriov_xdp.store.errors import StoreError

_IFF_PROMISC = 0x100


def teardown(places: Places) -> list[str]:
    """What was removed, a line each. Raises Conflict while a daemon runs."""
    _require_no_daemon(places)
    done: list[str] = []
    links = Links()
    try:
        if (places.state_dir / "state.db").exists():
            done += _remove_devices(places, links)
    finally:
        links.close()
    if (places.bpffs / LINKS).exists() or places.bpffs.exists():
        remove_tree(places.bpffs)
        done.append(f"pins under {places.bpffs}")
    for folder, what in ((places.run_dir, "run directory"), (places.state_dir, "state directory")):
        if folder.exists():
            shutil.rmtree(folder)
            done.append(f"{what} {folder}")
    return done


def _require_no_daemon(places: Places) -> None:
    lock = places.state_dir / "lock"
    if not lock.exists():
        return
    fd = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Conflict(f"teardown: a daemon runs with {places.state_dir}; stop it first") from error
    finally:
        os.close(fd)


def _remove_devices(places: Places, links: Links) -> list[str]:
    done: list[str] = []
    try:
        database = Database(places.state_dir)
    except StoreError:
        return ["state: unreadable, so devices and namespaces were left; `ip link` shows them"]
    instance = database.meta("instance") or ""
    attachments = {
        name: attachment_from_text(VfAddress.parse(name), body) for name, body in database.documents("attachment").items()
    }
    pfs = {name: json.loads(body) for name, body in database.documents("pf").items()}
    has_clsact = database.meta(TC_KIND) == CLSACT
    database.close()
    for device in links.dump():
        if instance and device.alias.startswith(f"sriov-xdp {instance} "):
            links.delete(device.ifindex)
            done.append(f"representor {device.name}")
    for attachment in attachments.values():
        netns = attachment.spec.netns
        if attachment.netns_is_ours and namespaces.identity(netns) == attachment.netns_id:
            namespaces.remove(netns)
            done.append(f"namespace {netns}")
    for name, document in pfs.items():
        if document["uplink"]:
            done += _give_back(links, name, document, has_clsact=has_clsact)
    return done


def _give_back(links: Links, name: str, document: dict, *, has_clsact: bool) -> list[str]:  # type: ignore[type-arg]
    with contextlib.suppress(HostError):
        link = links.by_name(document["uplink"])
        if has_clsact:
            clsact.detach(link.ifindex)
        links.change(link.ifindex, flags=0, change=_IFF_PROMISC)
        if not links.has_address(link.ifindex):
            links.unsilence(link.name, link.ifindex)
        if document["features_before"]:
            features.write(link.name, document["features_before"])
        return [f"uplink {link.name} of {name}, as it was before"]
    return []
