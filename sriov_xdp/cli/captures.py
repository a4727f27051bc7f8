"""Captured frames as a pcapng file, for Wireshark and the like: each with what became of it as its comment. The adapter of
python-pcapng; for `trace --write`."""

from typing import BinaryIO

from pcapng import FileWriter
from pcapng.blocks import EnhancedPacket, InterfaceDescription, SectionHeader

_ETHERNET = 1  # LINKTYPE_ETHERNET
_NANOSECONDS = 9  # if_tsresol: 10 to the minus 9
_NS = 10**9


class CaptureFile:
    """An open file, of one interface."""

    def __init__(self, stream: BinaryIO, port: str) -> None:
        self._section = SectionHeader(options={"shb_userappl": "sriov-xdp trace"})
        self._section.new_member(
            InterfaceDescription, link_type=_ETHERNET, options={"if_name": port, "if_tsresol": bytes([_NANOSECONDS])}
        )
        self._writer = FileWriter(stream, self._section)
        self._stream = stream

    def write(self, octets: bytes, length_bytes: int, time: float, comment: str) -> None:
        """octets: the frame's beginning, of so many bytes; time: seconds since the epoch. Raises OSError."""
        block = self._section.new_member(EnhancedPacket, options={"opt_comment": comment})
        time_ns = int(time * _NS)
        block.timestamp_high, block.timestamp_low = time_ns >> 32, time_ns & 0xFFFFFFFF
        block.packet_len, block.packet_data = length_bytes, octets
        self._writer.write_block(block)
        self._stream.flush()
