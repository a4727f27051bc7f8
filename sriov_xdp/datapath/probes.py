"""Probes: frames that the switch's owner sends into a guest, to see whether they come back by another port. What they look like;
bpf/loop.h tells what becomes of them there. Pure: no IO.
"""

from dataclasses import dataclass

from sriov_xdp.datapath.abi import PROBE_GROUP, PROBE_LAYOUT, PROBE_MAGIC, PROBE_STATION, PROBE_TYPE, RETURN_LAYOUT

_SHORTEST_FRAME_BYTES = 60


def probe(sender: int, vlan: int, nonce: int, tag: tuple[int, int] | None = None, *, is_unicast: bool = False) -> bytes:
    """A probe as it leaves by the port in slot sender, in a VLAN, which is what the daemon reads in it again. tag: its type and its
    VLAN, None = without one; nonce: 64 bits by which a daemon knows its own; is_unicast: for a station that is nowhere, which a
    bridge sends everywhere though it may keep groups apart. Its source is a locally administered address, which is nobody's."""
    source = b"\x02" + nonce.to_bytes(8, "big")[:5]
    tagging = b"".join(word.to_bytes(2, "big") for word in tag or ())
    payload = PROBE_LAYOUT.pack(PROBE_MAGIC, nonce, sender, vlan)
    destination = PROBE_STATION if is_unicast else PROBE_GROUP
    return (destination + source + tagging + PROBE_TYPE.to_bytes(2, "big") + payload).ljust(_SHORTEST_FRAME_BYTES, b"\0")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeReturn:
    """Struct sxdp_return: the last probe that came back by a port. sender: the slot that it left by, vlan: which it left in;
    time_ns: of CLOCK_MONOTONIC."""

    nonce: int
    time_ns: int
    sender: int
    vlan: int

    @classmethod
    def unpack(cls, packed: bytes) -> "ProbeReturn":
        """From the map value."""
        nonce, time_ns, sender, vlan = RETURN_LAYOUT.unpack(packed)
        return cls(nonce=nonce, time_ns=time_ns, sender=sender, vlan=vlan)
