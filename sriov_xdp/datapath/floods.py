"""The devmaps through which XDP floods: for each domain one with the devices of its receivers, in a map of maps.

The kernel visits every place of a devmap, taken or not, so each is made for twice its receivers at most, and a domain that
grows out of its devmap gets another. Each receiver's device carries the program that finishes its copy. For the datapath package
only.
"""

import os
import struct

from sriov_xdp.datapath import libbpf
from sriov_xdp.datapath.libbpf import MapType

_KEY = struct.Struct("<I")
_RECEIVER = struct.Struct("<Ii")  # struct bpf_devmap_val: ifindex, and the program's descriptor (its id when read)
_MAP_ID = struct.Struct("<I")


def create_receivers(places: int) -> int:
    """A devmap for so many receivers; its descriptor."""
    return libbpf.create_map(MapType.DEVMAP, "receivers", _KEY.size, _RECEIVER.size, places)


def _places_for(receivers: int) -> int:
    return 1 << max(0, receivers - 1).bit_length()


class Floods:
    """Who gets floods by XDP, by domain: ifindexes. map_fd: the map of maps; program: what each copy runs through."""

    def __init__(self, map_fd: int, program: int) -> None:
        self._map_fd = map_fd
        self._program = program
        self._receivers: dict[int, list[int]] = {}  # by place, 0 = free

    def adopt(self) -> None:
        """Reads what an earlier process left."""
        for key in list(libbpf.iterate_keys(self._map_fd, _KEY.size)):
            devmap = self._open(key)
            places = libbpf.map_info(devmap).max_entries
            found = (libbpf.lookup_element(devmap, _KEY.pack(place), _RECEIVER.size) for place in range(places))
            self._receivers[_KEY.unpack(key)[0]] = [_RECEIVER.unpack(value)[0] if value else 0 for value in found]
            os.close(devmap)

    def domains(self) -> list[int]:
        """Those that are flooded by XDP."""
        return list(self._receivers)

    def put(self, domain: int, ifindexes: frozenset[int]) -> bool:
        """Makes these the receivers of a domain; without any, tc has its floods. Returns whether anything changed. Raises
        DataPathError."""
        places = self._receivers.get(domain, [])
        if set(places) - {0} == ifindexes:
            return False
        key = _KEY.pack(domain)
        if not ifindexes:
            libbpf.delete_element(self._map_fd, key)
            del self._receivers[domain]
        elif _places_for(len(ifindexes)) <= len(places) <= 2 * _places_for(len(ifindexes)):
            self._change(key, places, ifindexes)
        else:
            self._receivers[domain] = self._replace(key, ifindexes)
        return True

    def _change(self, key: bytes, places: list[int], ifindexes: frozenset[int]) -> None:
        """Those that go first, so that there is room."""
        devmap = self._open(key)
        try:
            for place, ifindex in enumerate(places):
                if ifindex and ifindex not in ifindexes:
                    libbpf.delete_element(devmap, _KEY.pack(place))
                    places[place] = 0
            for ifindex in sorted(ifindexes - set(places)):
                place = places.index(0)
                libbpf.update_element(devmap, _KEY.pack(place), _RECEIVER.pack(ifindex, self._program))
                places[place] = ifindex
        finally:
            os.close(devmap)

    def _replace(self, key: bytes, ifindexes: frozenset[int]) -> list[int]:
        places = [*sorted(ifindexes), *[0] * (_places_for(len(ifindexes)) - len(ifindexes))]
        devmap = create_receivers(len(places))
        try:
            for place, ifindex in enumerate(places[: len(ifindexes)]):
                libbpf.update_element(devmap, _KEY.pack(place), _RECEIVER.pack(ifindex, self._program))
            libbpf.update_element(self._map_fd, key, struct.pack("<I", devmap))
        finally:
            os.close(devmap)
        return places

    def _open(self, key: bytes) -> int:
        value = libbpf.lookup_element(self._map_fd, key, _MAP_ID.size)
        return libbpf.open_map(_MAP_ID.unpack(value or bytes(_MAP_ID.size))[0])
