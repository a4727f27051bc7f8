"""Sending a frame out of a device, as if a station behind the host had sent it: one packet socket for all devices.

Never waits, and a frame that cannot be sent is not sent: whoever sends probes sends more of them.
"""

import contextlib
import socket

from sriov_xdp.host.errors import HostError


class ProbeSocket:
    """In the namespace in which it is made. Raises HostError."""

    def __init__(self) -> None:
        try:  # protocol 0: receives nothing
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        except OSError as error:
            raise HostError(
                f"packet socket: {error.strerror}; needs CAP_NET_RAW, and AF_PACKET in a service's address families"
            ) from error

    def send(self, ifindex: int, frame: bytes) -> None:
        """One whole Ethernet frame. A device that is gone, down or busy is no fault."""
        with contextlib.suppress(OSError):
            self._socket.sendto(frame, (socket.if_indextoname(ifindex), 0))

    def close(self) -> None:
        """Ends the socket."""
        self._socket.close()
