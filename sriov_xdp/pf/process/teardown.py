"""Removes everything that a daemon made on this host: programs, devices, namespaces that it created, pins and sockets. The audit
stays, and with it the state's file, unless all is to go; the next start applies its configuration as a first one does.

For a host where no daemon runs any more. Works by what is marked on devices and in bpffs as well as by the state: what one does
not know, the other does.
"""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from sriov_xdp.datapath import compiled
from sriov_xdp.datapath.marks import Marks
from sriov_xdp.datapath.pins import LINKS, detach_pinned, remove_tree
from sriov_xdp.host import clsact
from sriov_xdp.host.errors import HostError
from sriov_xdp.host.links import Link, Links, boot_id
from sriov_xdp.pf.errors import PfError
from sriov_xdp.pf.hands import found_uplinks, hooks, hops, leaving
from sriov_xdp.pf.hands.hooks import TC_PROGRAMS
from sriov_xdp.pf.hands.instances import claim_instance, is_served
from sriov_xdp.pf.process import orphans, own_uplinks
from sriov_xdp.pf.process.folders import ADMIN_SOCKET, STATE_LOCK, Folders, lock, require_own_pins
from sriov_xdp.pf.process.guest_places import made_for, remove_unused
from sriov_xdp.pf.process.presence import require_devices_here, stored_instance
from sriov_xdp.pf.state.device_marks import instance_of, is_group_of, is_hop, is_marked, is_of, read_host_mark
from sriov_xdp.pf.state.intent import Attachment, VfAddress
from sriov_xdp.pf.state.intent_text import attachment_from_text
from sriov_xdp.pf.state.physical_function import FoundUplink, PhysicalFunction
from sriov_xdp.pf.state.uplink_text import found_from_mark, pf_from_text
from sriov_xdp.pf.verbs import applied_files
from sriov_xdp.store.database import Database
from sriov_xdp.store.errors import StoreError
from sriov_xdp.store.files import STATE_FILE

_ROW_FAULTS = (ValueError, KeyError, TypeError)


def teardown(folders: Folders, *, purge: bool) -> Iterator[str]:
    """What was removed, a line each as it goes. Raises Conflict while a daemon runs, and for a folder of pins that holds others';
    StoreError, before anything is done, when the state cannot be read or written now; PfError when that came to pass later."""
    if not folders.state_dir.exists() and not folders.bpffs.exists() and not folders.run_dir.exists():
        yield from _remove_orphans()
        return
    require_own_pins(folders.bpffs)
    made = [folder for folder in (folders.run_dir, folders.state_dir) if not folder.exists()]  # by the lock
    held = lock(folders)
    links = Links()
    try:
        require_devices_here(folders.bpffs, links)
        with contextlib.ExitStack() as claims:
            for instance in _instances(folders):
                claims.enter_context(claim_instance(instance))
            yield from _remove_devices(folders, links, purge=purge)
        for folder in made:
            shutil.rmtree(folder)
        yield from _remove_files(folders, purge=purge)
    finally:
        links.close()
        for fd in held:
            os.close(fd)


def _remove_devices(folders: Folders, links: Links, *, purge: bool) -> Iterator[str]:
    attachments, pfs, has_state = _begin(folders)
    yield from _give_uplinks_back(folders, links, pfs)
    instances = _instances(folders)
    if not instances:
        yield from _remove_orphans()
        return
    made = dict(_made_for_guests(link for link in links.dump() if instance_of(link) in instances))
    for device in [device for device in links.dump() if any(is_of(instance, device) for instance in instances)]:
        if any(is_group_of(instance, device.group) for instance in instances):
            links.delete_group(device.group)  # the first of a PF takes all others along
        else:  # an earlier version's, or moved to a group of somebody else's
            links.delete(device.ifindex)
        yield f"{'hop' if is_hop(device) else 'representor'} {device.name}"
    for attachment in attachments:
        made.pop(attachment.spec.netns, None)
        yield from _remove_namespace(attachment)
    yield from filter(None, (remove_unused(netns, guest) for netns, guest in made.items()))
    if has_state and not purge:
        yield _forget_intent(folders)


def _remove_orphans() -> list[str]:
    """Where neither state nor pins tell whose the devices are."""
    links, done = Links(), list[str]()
    try:
        found = orphans.find(links)
        made = dict(_made_for_guests(found))
        for link in found:
            links.delete(link.ifindex)
            instance = instance_of(link) or ""
            mark = read_host_mark(instance, link)
            if mark:
                hops.remove(links, link.ifindex, mark.vf, instance)
            done.append(f"representor {link.name}, of a daemon whose state and pins are gone")
        done += _give_lost_uplinks_back(links)
    finally:
        links.close()
    return [*done, *filter(None, (remove_unused(netns, guest) for netns, guest in made.items()))]


def _give_lost_uplinks_back(links: Links) -> Iterator[str]:
    """Those that filters are left on, of a daemon whose state and pins are gone."""
    for link in links.dump():
        lost = [one for one in hooks.filters_on(link.ifindex) if one.program.startswith(TC_PROGRAMS) and one.instance]
        if not is_marked(link) and any(not is_served(one.instance) for one in lost):
            clsact.detach(link.ifindex, TC_PROGRAMS)
            with contextlib.suppress(HostError):
                found_uplinks.restore(links, link, FoundUplink.unknown({}))
            yield f"uplink {link.name}, known by its filter only: promiscuous off, IPv6 on, offloads as they are"


def _made_for_guests(devices: Iterable[Link]) -> Iterator[tuple[str, str]]:
    """Namespace → guest, as devices tell it."""
    for link in devices:
        mark = read_host_mark(instance_of(link) or "", link)
        netns = made_for(mark, link)
        if mark and netns:
            yield netns, mark.guest


def _instances(folders: Folders) -> set[str]:
    """Whose devices are to go: by the pins, and by the state."""
    return {instance for instance in (Marks(folders.bpffs).instance(), _instance_of_state(folders)) if instance}


def _instance_of_state(folders: Folders) -> str | None:
    """Raises StoreError when a state is there that cannot be asked now, as on a full disk."""
    return stored_instance(folders.state_dir)


def _begin(folders: Folders) -> tuple[list[Attachment], list[PhysicalFunction], bool]:
    """What of the state can be read, in which no file counts any more: whatever dies half-way, the next start applies its own.
    Raises StoreError."""
    if _instance_of_state(folders) is None:
        return [], [], False
    database = Database(folders.state_dir)
    applied_files.forget(database)
    attachments, pfs = [], []
    for name, body in database.documents("attachment").items():
        with contextlib.suppress(*_ROW_FAULTS):
            attachments.append(attachment_from_text(VfAddress.parse(name), body))
    for name, body in database.documents("pf").items():
        with contextlib.suppress(*_ROW_FAULTS):
            entry = pf_from_text(name, body)
            pfs.append(PhysicalFunction(spec=entry.spec, number=entry.number, found=entry.found))
    database.close()
    return attachments, pfs, True


def _give_uplinks_back(folders: Folders, links: Links, pfs: list[PhysicalFunction]) -> list[str]:
    """Those of the state as they were found; those that only a pin knows, as devices are by default."""
    done, known, marks = [], set(), Marks(folders.bpffs)
    held = {link.ifindex for link in own_uplinks.find(folders, links).values()}
    for pf in pfs:
        link = found_uplinks.resolve(links, pf, held.__contains__)
        if link and pf.found:
            known.add(link.ifindex)
            _take_programs_off(folders, pf.number, link.ifindex)
            with contextlib.suppress(HostError):
                found_uplinks.restore(links, link, pf.found)
            how = "as it was before" if pf.found.boot_id else "as devices are by default: how it was is not known any more"
            done.append(f"uplink {link.name} of {pf.spec.name}, {how}")
    for number, link in sorted(own_uplinks.find(folders, links).items()):
        if link.ifindex in known:
            continue
        _take_programs_off(folders, number, link.ifindex)
        found = found_from_mark(marks.found(number), link, boot_id())
        with contextlib.suppress(HostError):
            found_uplinks.restore(links, link, found or FoundUplink.unknown({}))
        unknown = "known by its program only: promiscuous off, IPv6 on, offloads as they are"
        done.append(f"uplink {link.name}, {'as it was before' if found else unknown}")
    return done


def _take_programs_off(folders: Folders, number: int, ifindex: int) -> None:
    for kind in ("tc", "xdp"):
        detach_pinned(folders.bpffs / LINKS / f"uplink{number}_{kind}")
    clsact.detach(ifindex, TC_PROGRAMS)


def _remove_namespace(attachment: Attachment) -> list[str]:
    if not attachment.netns_is_ours or not leaving.is_the_one(attachment):
        return []
    line = remove_unused(attachment.spec.netns, attachment.spec.guest)
    return [line] if line else []


def _forget_intent(folders: Folders) -> str:
    """Raises PfError: by then the devices are gone."""
    try:
        with contextlib.closing(Database(folders.state_dir)) as database:
            database.forget_intent()
    except StoreError as error:
        text = f"teardown: the devices are gone, and the state could not be told: {error.__cause__ or error}"
        raise PfError(f"{text}; a start would build the guests anew: free some space and run it again") from error
    return "the intent from the state; audit and history stay (--purge removes them)"


def _remove_files(folders: Folders, *, purge: bool) -> list[str]:
    done = []
    if folders.bpffs.exists():
        remove_tree(folders.bpffs)
        done.append(f"pins under {folders.bpffs}")
    done += _remove_folder(folders.run_dir, "run directory", (ADMIN_SOCKET,))
    if purge:
        done += _remove_folder(folders.state_dir, "state directory", (STATE_LOCK, f"{STATE_FILE}*"))
        if folders.cache_dir:
            done += _remove_folder(folders.cache_dir, "compiled programs under", (f"*{compiled.SUFFIX}",))
    return done


def _remove_folder(folder: Path, what: str, own: tuple[str, ...]) -> list[str]:
    """What a daemon keeps there, and the folder, unless something else is in it, or it was mounted. own: patterns of names."""
    if not folder.exists():
        return []
    for path in [path for pattern in own for path in folder.glob(pattern) if not path.is_dir()]:
        path.unlink(missing_ok=True)
    try:
        folder.rmdir()
    except OSError as error:
        return [f"what was in {what} {folder}, which stays: {error.strerror}"]
    return [f"{what} {folder}"]
