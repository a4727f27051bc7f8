"""Frames made up for `sriov-xdp trace`, from what a person says of them. Pure; for the api package."""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from sriov_xdp.vswitch.address import MacAddress

_ARP, _IPV4, _IPV6, _LOCAL_EXPERIMENTAL = 0x0806, 0x0800, 0x86DD, 0x88B5
_TCP, _UDP = 6, 17
_DOT1Q = 0x8100
_SYN = 0x5002  # a header of five words
_SHORTEST_PAYLOAD = 46
_NAMES = {_ARP: "ARP", _IPV4: "IPv4", _IPV6: "IPv6", 0x88CC: "LLDP", 0x8808: "PAUSE"}


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeUp:
    """vlan None: no tag. tcp, udp: to an address and a port; payload_bytes: at least so many behind the Ethernet header."""

    destination: MacAddress
    source: MacAddress
    vlan: int | None = None
    tcp: tuple[str, int] | None = None
    udp: tuple[str, int] | None = None
    payload_bytes: int = _SHORTEST_PAYLOAD

    def octets(self) -> bytes:
        """The frame. Raises ValueError for what is no address."""
        kind, packet = _LOCAL_EXPERIMENTAL, b""
        for protocol, to in ((_TCP, self.tcp), (_UDP, self.udp)):
            if to is not None:
                kind, packet = _packet(protocol, *to)
        tag = b"" if self.vlan is None else struct.pack("!HH", _DOT1Q, self.vlan)
        header = self.destination.octets + self.source.octets + tag + kind.to_bytes(2)
        return header + packet.ljust(self.payload_bytes, b"\0")


def _packet(protocol: int, address: str, port: int) -> tuple[int, bytes]:
    """Type and content. Checksums are none of the switch's business, and left out."""
    syn = struct.pack("!HHIIHHHH", 40000, port, 0, 0, _SYN, 65535, 0, 0)
    transport = syn if protocol == _TCP else struct.pack("!HHHH", 40000, port, 8, 0)
    match ip_address(address):
        case IPv4Address() as to:
            header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(transport), 0, 0, 64, protocol, 0, bytes(4), to.packed)
            return _IPV4, header + transport
        case IPv6Address() as to:
            header = struct.pack("!IHBB16s16s", 6 << 28, len(transport), protocol, 64, bytes(16), to.packed)
            return _IPV6, header + transport


def type_name(ether_type: int) -> str:
    """For people."""
    return _NAMES.get(ether_type, f"type {ether_type:#06x}")
