"""A guest is root in its namespace, and may send netlink to whatever socket is there: ours hear the kernel only."""

import os
import socket
from collections.abc import Iterator

import pytest

from sriov_xdp.host.kept import hear_the_kernel_only
from sriov_xdp.host.links import Links, links_of
from sriov_xdp.lab.host import Lab, Namespace, entered

FORGED = bytes(20)


@pytest.fixture(scope="module")
def guest() -> Iterator[Namespace]:
    with Lab("ns") as lab:
        yield lab.namespace("guest")


def port_of(links: Links) -> tuple[int, int]:
    with socket.socket(fileno=os.dup(links._rtnl.fileno())) as same:
        port, groups = same.getsockname()
        return port, groups


def test_what_a_guest_sends_to_a_socket_of_ours_in_its_namespace_is_refused(guest: Namespace) -> None:
    with links_of(guest.name) as links:
        with (
            socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as theirs,
            pytest.raises(ConnectionRefusedError),
        ):
            theirs.sendto(FORGED, port_of(links))
        assert ["lo"] == [link.name for link in links.dump() if link.is_loopback]


def test_what_it_sent_before_is_not_taken_for_an_answer(guest: Namespace) -> None:
    with entered(guest):
        ours = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        theirs = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    with ours, theirs:
        ours.bind((0, 0))
        theirs.sendto(FORGED, ours.getsockname())
        hear_the_kernel_only(ours.fileno())
        with pytest.raises(BlockingIOError):
            ours.recv(100, socket.MSG_DONTWAIT)
        with pytest.raises(ConnectionRefusedError):
            theirs.sendto(FORGED, ours.getsockname())
