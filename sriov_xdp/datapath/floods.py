"""The devmaps through which XDP floods: for each domain one with the devices of its access ports, in a map of maps.

The devices here are all that decides who gets a copy, so a port leaves its devmap before it changes, and joins one after. The
kernel visits every place of a devmap, taken or not, so each is made for twice its receivers at most; a domain that grows out of
its devmap gets another, for which the writer waits until no program uses the old one. A lonely receiver is tc's. For the
datapath package only.
"""

import errno
import os
import struct
from collections.abc import Iterable, Mapping

from sriov_xdp.datapath import libbpf
from sriov_xdp.datapath.errors import DataPathError
from sriov_xdp.datapath.libbpf import MapType

_KEY = struct.Struct("<I")
_IFINDEX = struct.Struct("<I")
_MAP_FD_OR_ID = struct.Struct("<I")
_FEWEST = 2


def create_receivers(places: int) -> int:
    """A devmap for so many receivers; its descriptor."""
    return libbpf.create_map(MapType.DEVMAP, "receivers", _KEY.size, _IFINDEX.size, places)


class Floods:
    """Which devices get floods by XDP, by domain. map_fd: the map of maps."""

    def __init__(self, map_fd: int) -> None:
        self._map_fd = map_fd
        self._receivers: dict[int, set[int]] = {}
        self._places: dict[int, list[int]] = {}  # of domains with a devmap: ifindex by place, 0 = free

    def read(self) -> None:
        """Takes up what an earlier process left."""
        for key in list(libbpf.iterate_keys(self._map_fd, _KEY.size)):
            devmap = self._open(key)
            try:
                places = range(libbpf.map_info(devmap).max_entries)
                found = [libbpf.lookup_element(devmap, _KEY.pack(place), _IFINDEX.size) for place in places]
            finally:
                os.close(devmap)
            domain = _KEY.unpack(key)[0]
            self._places[domain] = [_IFINDEX.unpack(value)[0] if value else 0 for value in found]
            self._receivers[domain] = set(self._places[domain]) - {0}

    def mend(self, wanted: Mapping[int, Iterable[int]]) -> None:
        """Makes them these: ifindexes by domain. Raises DataPathError."""
        for domain in list(self._places):
            for ifindex in self._receivers[domain] - set(wanted.get(domain, ())):
                self.remove(domain, ifindex)
            if domain not in wanted:
                self.drop(domain)
        for domain, ifindexes in wanted.items():
            for ifindex in ifindexes:
                self.add(domain, ifindex)

    def receivers(self) -> dict[int, frozenset[int]]:
        """Ifindexes by domain, of domains with a devmap."""
        return {domain: frozenset(places) - {0} for domain, places in self._places.items()}

    def add(self, domain: int, ifindex: int) -> None:
        """A device joins. Raises DataPathError."""
        self._receivers.setdefault(domain, set()).add(ifindex)
        places = self._places.get(domain, [])
        if ifindex in places:
            return
        if 0 in places:
            self._put(domain, places, ifindex)
        elif len(self._receivers[domain]) >= _FEWEST:
            self._replace(domain)

    def remove(self, domain: int, ifindex: int) -> None:
        """A device leaves. Only deletes, so that it cannot fail for want of memory."""
        self._receivers.get(domain, set()).discard(ifindex)
        places = self._places.get(domain, [])
        if ifindex not in places:
            return
        devmap = self._open(_KEY.pack(domain))
        try:
            libbpf.delete_element(devmap, _KEY.pack(places.index(ifindex)))
        finally:
            os.close(devmap)
        places[places.index(ifindex)] = 0

    def drop(self, domain: int) -> None:
        """The domain has no members any more. Waits as a replacement does."""
        self._receivers.pop(domain, None)
        if domain in self._places:
            libbpf.delete_element(self._map_fd, _KEY.pack(domain))
            del self._places[domain]

    def _put(self, domain: int, places: list[int], ifindex: int) -> None:
        devmap = self._open(_KEY.pack(domain))
        try:
            if _insert(devmap, places.index(0), ifindex):
                places[places.index(0)] = ifindex
        finally:
            os.close(devmap)

    def _replace(self, domain: int) -> None:
        receivers = sorted(self._receivers[domain])
        places = [0] * (1 << (len(receivers) - 1).bit_length())
        devmap = create_receivers(len(places))
        try:
            for place, ifindex in enumerate(receivers):
                places[place] = ifindex if _insert(devmap, place, ifindex) else 0
            libbpf.update_element(self._map_fd, _KEY.pack(domain), _MAP_FD_OR_ID.pack(devmap))
        finally:
            os.close(devmap)
        self._places[domain] = places

    def _open(self, key: bytes) -> int:
        value = libbpf.lookup_element(self._map_fd, key, _MAP_FD_OR_ID.size)
        return libbpf.open_map(_MAP_FD_OR_ID.unpack(value or bytes(_MAP_FD_OR_ID.size))[0])


def _insert(devmap: int, place: int, ifindex: int) -> bool:
    """False when there is no such device any more: its end is about to be noticed, and must not be in the way of others."""
    try:
        libbpf.update_element(devmap, _KEY.pack(place), _IFINDEX.pack(ifindex))
    except DataPathError as error:
        if libbpf.error_number(error) == errno.EINVAL:
            return False
        raise
    return True
