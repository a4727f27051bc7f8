"""Which devices are uplinks of a daemon, by its programs on them, or by what its bpffs says of how they were found: for what is
done where none runs, and the state may be lost."""

import contextlib
from pathlib import Path

from sriov_xdp.datapath import libbpf
from sriov_xdp.datapath.errors import DataPathError
from sriov_xdp.datapath.marks import Marks
from sriov_xdp.datapath.pins import LINKS
from sriov_xdp.host import clsact
from sriov_xdp.host.links import Link, Links
from sriov_xdp.pf.process.folders import Folders
from sriov_xdp.pf.state.device_marks import is_marked
from sriov_xdp.pf.state.uplink_text import is_marked_by

_LINK, _TC_PROGRAM = "uplink", "tc_uplink_"


def find(folders: Folders, links: Links) -> dict[int, Link]:
    """PF number → the device that its programs run on, by pins of links or by filters; where those are gone, the one that was
    taken and never given back. Raises HostError."""
    found = _taken(folders, links)
    for path in (folders.bpffs / LINKS).glob(f"{_LINK}*_*"):
        link = links.find(_ifindex_of(path))
        if link:
            found[int(path.name.partition("_")[0].removeprefix(_LINK))] = link
    own = _pinned_programs(folders)
    for link in links.dump() if own else []:
        if is_marked(link):
            continue
        for program in clsact.program_ids(link.ifindex).values():
            if program in own:
                found[own[program]] = link
    return found


def _taken(folders: Folders, links: Links) -> dict[int, Link]:
    texts = Marks(folders.bpffs).all_found()
    devices = [link for link in links.dump() if not is_marked(link)] if texts else []
    return {number: link for number, text in texts.items() for link in devices if is_marked_by(text, link)}


def _ifindex_of(pin: Path) -> int:
    """0 for a pin that holds nothing any more."""
    with contextlib.suppress(DataPathError), libbpf.opened_pin(pin) as fd:
        return libbpf.link_info(fd).ifindex
    return 0


def _pinned_programs(folders: Folders) -> dict[int, int]:
    """Id of a tc program of an uplink → its PF's number."""
    found = {}
    for path in folders.bpffs.glob(f"*/progs/{_TC_PROGRAM}*"):
        with contextlib.suppress(DataPathError), libbpf.opened_pin(path) as fd:
            found[libbpf.program_id(fd)] = int(path.name.removeprefix(_TC_PROGRAM))
    return found
