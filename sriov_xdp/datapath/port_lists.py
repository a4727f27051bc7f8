"""Lists of a port as the maps hold them: VLANs of a trunk, and addresses that a guest may send from. For the datapath package and
for readers of its values. Pure.
"""

from sriov_xdp.datapath import abi


def pack_trunk(vlans: frozenset[int]) -> bytes:
    """Struct sxdp_trunk: one bit a VLAN."""
    words = [0] * 64
    for vlan in vlans:
        words[vlan >> 6] |= 1 << (vlan & 63)
    return abi.TRUNK_LAYOUT.pack(*words)


def unpack_trunk(packed: bytes) -> frozenset[int]:
    """The reverse of pack_trunk()."""
    words = abi.TRUNK_LAYOUT.unpack(packed)
    return frozenset(vlan for vlan in range(4096) if words[vlan >> 6] >> (vlan & 63) & 1)


Prefix = tuple[bytes, int]  # a MAC address, and how many of its first bits count


def pack_allowed(prefixes: frozenset[Prefix]) -> bytes:
    """Struct sxdp_allowed. Raises ValueError above MAX_ALLOWED."""
    if len(prefixes) > abi.MAX_ALLOWED:
        raise ValueError(f"a port is allowed {len(prefixes)} addresses; the list holds {abi.MAX_ALLOWED}")
    words = []
    for octets, bits in sorted(prefixes):
        mask = (((1 << bits) - 1) << (48 - bits)).to_bytes(6)
        words += [int.from_bytes(octets, "little"), int.from_bytes(mask, "little")]
    return abi.ALLOWED_LAYOUT.pack(*words, *[0] * (2 * abi.MAX_ALLOWED - len(words)))


def unpack_allowed(packed: bytes) -> frozenset[Prefix]:
    """The reverse of pack_allowed()."""
    words = abi.ALLOWED_LAYOUT.unpack(packed)
    pairs = zip(words[::2], words[1::2], strict=True)
    return frozenset((address.to_bytes(6, "little"), mask.bit_count()) for address, mask in pairs if mask)
