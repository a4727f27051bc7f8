"""Offload features of a network device, by ethtool's names, through pyroute2's ioctl binding.

Works on the namespace that the calling thread is in.
"""

import contextlib
import ctypes
import os
from collections.abc import Iterator, Mapping

from pyroute2.ethtool.ioctl import EthtoolError, IoctlEthtool

from sriov_xdp.host.errors import HostError

_NAME_BYTES = 16  # IFNAMSIZ
GRO = "rx-gro"
TX_CHECKSUM = "tx-checksum-ip-generic"
TX_CHECKSUM_SCTP = "tx-checksum-sctp"
TX_VLAN = "tx-vlan-hw-insert"
RX_VLAN = "rx-vlan-hw-parse"


class _NamedByBytes(IoctlEthtool):  # type: ignore[misc]  # the library has no types
    """A guest may call its interface by any bytes, of which a str is made as paths are."""

    def change_ifname(self, ifname: str) -> None:
        """Of the next requests."""
        super().change_ifname("")
        self.ifname = bytearray(os.fsencode(ifname)[:_NAME_BYTES].ljust(_NAME_BYTES, b"\0"))
        self.ifreq.ifr_name = (ctypes.c_uint8 * _NAME_BYTES)(*self.ifname)


@contextlib.contextmanager
def _device(interface: str) -> Iterator[IoctlEthtool]:
    device = _NamedByBytes(interface)
    try:
        yield device
    except (EthtoolError, OSError) as error:
        raise HostError(f"{interface}: offload features: {error}") from error
    finally:
        device.close()


def read(interface: str, names: tuple[str, ...]) -> dict[str, bool]:
    """State of the named features; those that the device does not know are left out."""
    with _device(interface) as device:
        features = device.get_features()
        return {name: bool(features[name]) for name in names if name in features}


def write(interface: str, wanted: Mapping[str, bool]) -> dict[str, bool]:
    """Sets features; returns what those that changed were before."""
    with _device(interface) as device:
        features = device.get_features()
        before = {name: bool(features[name]) for name in wanted if name in features}
        changed = {name: was for name, was in before.items() if was != wanted[name]}
        for name in changed:
            features[name] = wanted[name]
        if changed:
            device.set_features(features)
        return changed
