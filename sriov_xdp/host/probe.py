"""Sending a frame out of a device, as if a station behind the host had sent it: one packet socket for all devices.

Never waits, and a frame that cannot be sent is not sent: whoever sends probes sends more of them.
"""

import contextlib
import socket


class ProbeSocket:
    """In the namespace in which it is made."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)  # protocol 0: receives nothing

    def send(self, ifindex: int, frame: bytes) -> None:
        """One whole Ethernet frame. A device that is gone, down or busy is no fault."""
        with contextlib.suppress(OSError):
            self._socket.sendto(frame, (socket.if_indextoname(ifindex), 0))

    def close(self) -> None:
        """Ends the socket."""
        self._socket.close()
