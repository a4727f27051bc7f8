"""Guests that send to each other while something is done to others: not a frame of theirs is lost."""

import contextlib
from collections.abc import Iterator

from sriov_xdp.lab.host import Namespace, wait_until
from sriov_xdp.lab.traffic import Stream


@contextlib.contextmanager
def losing_nothing(*ways: tuple[Namespace, Namespace, str]) -> Iterator[None]:
    """ways: sender, receiver, the receiver's address. Frames go before, and after, what is done."""
    streams = [Stream(sender, receiver, address) for sender, receiver, address in ways]
    try:
        wait_until(lambda: min(stream.sent for stream in streams) > 100, "the streams run")
        yield
        at_end = streams[0].sent
        wait_until(lambda: streams[0].sent > at_end + 100, "frames go on")
    finally:
        lost = [stream.stop() for stream in streams]
    assert [[]] * len(streams) == lost
