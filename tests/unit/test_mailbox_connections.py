"""Who may be connected to a mailbox, and for how long: by real sockets, with a clock of the test's."""

import contextlib
import logging
import os
import select
import selectors
import socket
import struct
import zlib
from collections.abc import Iterator

import pytest

from sriov_xdp.host import namespaces
from sriov_xdp.mailbox import codec, sockets
from sriov_xdp.mailbox.messages import GetResources, Version
from sriov_xdp.mailbox.session import Ask, Session
from sriov_xdp.mailbox.sockets import MAX_CONNECTIONS
from sriov_xdp.pf.errors import Conflict
from sriov_xdp.pf.hands.context import Actor
from sriov_xdp.pf.hands.log_budget import BudgetedLog
from sriov_xdp.pf.process.mailboxes import CHANGES_A_SECOND, CHANGES_AT_ONCE, NEGOTIATION_SECONDS, RESERVED_DESCRIPTORS, Mailboxes
from sriov_xdp.pf.state.intent import VfAddress
from sriov_xdp.pf.verbs.controller import Served

PLENTY = 1 << 16


class Host:
    """Mailboxes in this test's own namespace, and the guests' ends of connections to them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, descriptor_limit: int = PLENTY) -> None:
        self.place = ""
        monkeypatch.setattr(namespaces, "in_namespace", self._entered)
        monkeypatch.setattr(namespaces, "own_identity", lambda: (1, zlib.crc32(self.place.encode())))
        self.pf = f"t{os.getpid() % 100000}"
        self.now_seconds = 1000.0
        self.is_changing = False
        self.selector = selectors.DefaultSelector()
        self.mailboxes = Mailboxes(self.selector, descriptor_limit, BudgetedLog(logging.getLogger()), lambda: self.now_seconds)
        self.mailboxes.connect_controller(self._serve, lambda *_invalid: None)
        self.clients: list[sockets.Client] = []

    @contextlib.contextmanager
    def _entered(self, name: str) -> Iterator[None]:
        self.place = name
        yield

    def _serve(self, _vf: VfAddress, session: Session, ask: Ask, _actor: Actor) -> Served:
        assert isinstance(ask.request, GetResources)
        return Served(answers=[session.activate(ask.request, bytes(6), 1500)], has_changed=self.is_changing)

    def vf(self, index: int, guest: str = "one") -> VfAddress:
        address = VfAddress(self.pf, index)
        if not self.mailboxes.is_open(address):
            self.mailboxes.open(address, guest)
        return address

    def go_round(self, rounds: int = 3) -> None:
        """As the writer: one turn for each VF a round, here for everything that is ready."""
        for _round in range(rounds):
            for key, _events in self.selector.select(0):
                if self.selector.get_map().get(key.fd) is key:
                    key.data.serve()

    def connect(self, vf: VfAddress, *, negotiate: bool = False) -> sockets.Client:
        client = sockets.Client(str(vf), 5)
        self.clients.append(client)
        self.go_round()
        if negotiate:
            self.negotiate(client)
        return client

    def negotiate(self, client: sockets.Client) -> None:
        for request in (Version(major=1, minor=1), GetResources(capabilities=None)):
            client.send(codec.encode_request(request))
            self.go_round()
            client.receive()

    def dropped(self) -> dict[str, int]:
        """By reason, of all VFs."""
        found: dict[str, int] = {}
        for (_pf, _vf, reason), count in self.mailboxes.dropped.items():
            found[reason] = found.get(reason, 0) + count
        return found

    def close(self) -> None:
        for client in self.clients:
            client.close()
        for vf in list(self.mailboxes._mailboxes):
            self.mailboxes.close(vf)
        left = list(self.selector.get_map())
        self.selector.close()
        assert [] == left


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    made = Host(monkeypatch)
    yield made
    made.close()


def is_open(client: sockets.Client) -> bool:
    try:
        return not has_answer(client) or bool(client._socket.recv(1, socket.MSG_PEEK))
    except ConnectionError:
        return False


def has_answer(client: sockets.Client) -> bool:
    """An answer, or the end of the connection."""
    return bool(select.select([client], [], [], 0)[0])


# Who never negotiates.


def test_a_connection_that_says_nothing_is_closed_in_time(host: Host) -> None:
    client = host.connect(host.vf(0))
    host.now_seconds += NEGOTIATION_SECONDS - 0.1
    host.mailboxes.look_after()
    assert is_open(client)
    host.now_seconds += 0.2
    host.mailboxes.look_after()
    assert not is_open(client)
    assert {"idle": 1} == host.dropped()


def test_one_that_stops_half_way_is_closed_too_however_busy_it_is(host: Host) -> None:
    client = host.connect(host.vf(0))
    for _second in range(11):
        client.send(codec.encode_request(Version(major=1, minor=1)))
        host.go_round()
        client.receive()
        host.now_seconds += 1.0
        host.mailboxes.look_after()
        if not is_open(client):
            break
    assert {"idle": 1} == host.dropped()


def test_a_driver_that_negotiated_may_wait_for_events_for_hours(host: Host) -> None:
    client = host.connect(host.vf(0), negotiate=True)
    for _hour in range(5):
        host.now_seconds += 3600.0
        host.mailboxes.look_after()
    assert is_open(client)
    assert {} == host.dropped()


def test_a_reset_gives_a_driver_the_same_time_again(host: Host) -> None:
    vf = host.vf(0)
    quick, dead = (host.connect(vf, negotiate=True) for _driver in range(2))
    host.now_seconds += 3600.0
    host.mailboxes.reset(vf)
    host.now_seconds += NEGOTIATION_SECONDS - 1.0
    host.mailboxes.look_after()
    assert is_open(dead)
    quick.receive()
    host.negotiate(quick)
    host.now_seconds += 2.0
    host.mailboxes.look_after()
    assert (True, False) == (is_open(quick), host.mailboxes.dropped == {})
    assert {"idle": 1} == host.dropped()


# Too many of one VF.


def test_at_the_limit_of_a_vf_the_oldest_that_never_negotiated_makes_room(host: Host) -> None:
    vf = host.vf(0)
    driver = host.connect(vf, negotiate=True)
    silent = [host.connect(vf) for _number in range(MAX_CONNECTIONS - 1)]
    newest = host.connect(vf, negotiate=True)
    assert [True, False, True, True] == [is_open(client) for client in (driver, silent[0], silent[1], newest)]


def test_where_all_negotiated_the_new_one_is_refused(host: Host) -> None:
    vf = host.vf(0)
    drivers = [host.connect(vf, negotiate=True) for _number in range(MAX_CONNECTIONS)]
    late = host.connect(vf)
    assert [True] * MAX_CONNECTIONS + [False] == [is_open(client) for client in [*drivers, late]]
    assert {"connections": 1} == host.dropped()


def test_a_vf_that_keeps_a_connection_busy_does_not_keep_its_others_waiting(host: Host) -> None:
    """The writer gives a VF one turn a round: the first file that the kernel reports, hence each must come first in its turn."""
    vf = host.vf(0)
    clients = [host.connect(vf) for _number in range(4)]
    for client in clients:
        for _message in range(4):
            client.send(codec.encode_request(Version(major=1, minor=1)))
    for _round in range(4):
        ready = [key for key, _events in host.selector.select(0)]
        ready[0].data.serve()
    assert [True] * 4 == [has_answer(client) for client in clients]


# Too many of all VFs.


def test_at_the_limit_of_all_who_has_most_gives_way_to_who_has_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    few = Host(monkeypatch)
    few.mailboxes._most_lines = 6
    greedy = [few.connect(few.vf(0), negotiate=True) for _number in range(6)]
    quiet = few.connect(few.vf(1), negotiate=True)
    second = few.connect(few.vf(2), negotiate=True)
    assert [False, False, True, True, True, True] == [is_open(client) for client in greedy]
    again = few.connect(few.vf(0))
    assert (True, True, False) == (is_open(quiet), is_open(second), is_open(again))
    assert {"descriptors": 3} == few.dropped()
    few.close()


def test_descriptors_beyond_the_reserve_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of a descriptor tells how many are in use."""
    filled = [os.dup(0) for _number in range(256)]  # no number below is free, whatever other tests left
    few = Host(monkeypatch, descriptor_limit=filled[-1] + 9 + RESERVED_DESCRIPTORS)
    vf = few.vf(0)
    for _number in range(MAX_CONNECTIONS):
        few.connect(vf)
    assert 0 < few.dropped()["descriptors"]
    spare = [os.dup(0) for _number in range(16)]
    with pytest.raises(Conflict, match=r"too few descriptors left; raise its limit \(LimitNOFILE= of the service\)"):
        few.vf(1)
    for fd in [*filled, *spare]:
        os.close(fd)
    few.close()


def test_a_listener_without_a_descriptor_to_accept_with_is_looked_at_later(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays ready, so the writer would else spin."""
    vf = host.vf(0)
    client = sockets.Client(str(vf), 5)
    host.clients.append(client)

    def has_none(_listener: socket.socket) -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as short:
        short.setattr(sockets, "accept", has_none)
        host.go_round(10)
    assert {"descriptors": 1} == host.dropped()
    host.now_seconds += 1.1
    host.mailboxes.look_after()
    host.go_round()
    host.negotiate(client)
    assert is_open(client)


def test_a_mailbox_can_be_closed_while_its_listener_rests(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    vf = host.vf(0)
    host.clients.append(sockets.Client(str(vf), 5))
    with monkeypatch.context() as short:
        short.setattr(sockets, "accept", lambda _listener: (_ for _ in ()).throw(OSError(24, "Too many open files")))
        host.go_round()
    host.mailboxes.close(vf)
    host.now_seconds += 10
    host.mailboxes.look_after()
    assert not host.mailboxes.is_open(vf)


def test_only_shortage_is_an_error_of_accept() -> None:
    listener = sockets.listen(f"t{os.getpid() % 100000}vf9")
    assert sockets.accept(listener) is None
    listener.close()
    assert sockets.accept(listener) is None


# Descriptors that a guest passes, on kernels that cannot refuse them.


@pytest.fixture
def older_host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setattr(sockets, "kernel_refuses_descriptors", lambda: False)
    monkeypatch.setattr(sockets, "_refuse_descriptors", lambda _listener: False)
    made = Host(monkeypatch)
    yield made
    made.close()


@contextlib.contextmanager
def lingering() -> Iterator[tuple[int, socket.socket]]:
    """A descriptor that nobody closes before the peer has read all of it, and the peer."""
    listener = socket.create_server(("127.0.0.1", 0))
    full = socket.create_connection(listener.getsockname())
    peer, _address = listener.accept()
    full.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            full.send(bytes(65536))
    full.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
    number = full.detach()
    yield number, peer
    peer.close()
    listener.close()


def test_one_whose_end_takes_an_hour_keeps_nobody_waiting(older_host: Host) -> None:
    bad, good = older_host.vf(0), older_host.vf(1)
    with lingering() as (number, peer):
        client = older_host.connect(bad, negotiate=True)
        socket.send_fds(client._socket, [codec.encode_request(Version(major=1, minor=1))], [number])
        os.close(number)
        older_host.go_round()
        assert {"passed": 1} == older_host.dropped()
        older_host.connect(good, negotiate=True)
        older_host.now_seconds += 60
        older_host.mailboxes.look_after()
        late = older_host.connect(bad)
        late.send(codec.encode_request(Version(major=1, minor=1)))
        older_host.go_round()
        assert [] == select.select([late], [], [], 0)[0], "nobody speaks for that VF meanwhile"
        (thread,) = older_host.mailboxes._closing[bad]
        peer.close()
        thread.join(10)
    older_host.now_seconds += 1
    older_host.mailboxes.look_after()
    older_host.go_round()
    assert late.receive()


def test_one_that_was_not_read_keeps_nobody_waiting_either(older_host: Host) -> None:
    bad = older_host.vf(0)
    with lingering() as (number, _peer):
        client = older_host.connect(bad)
        socket.send_fds(client._socket, [codec.encode_request(Version(major=1, minor=1))], [number])
        os.close(number)
        older_host.mailboxes.close(bad)
        older_host.connect(older_host.vf(1), negotiate=True)


def test_this_kernel_refuses_them_or_they_are_asked_for() -> None:
    one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one, two:
        assert sockets.kernel_refuses_descriptors() == sockets._refuse_descriptors(one)


# ---- what a guest changes is written ----


def answers_of(host: Host, client: sockets.Client, count: int) -> int:
    """Of so many requests, each of which changes something."""
    answered = 0
    for _request in range(count):
        client.send(codec.encode_request(GetResources(capabilities=None)))
        host.go_round(1)
        if select.select([client], [], [], 0)[0]:
            client.receive()
            answered += 1
    return answered


def test_a_guest_that_changes_too_much_waits_and_nobody_else_does(host: Host) -> None:
    one, other = host.vf(0), host.vf(1, "other")
    busy, second, neighbour = (host.connect(vf, negotiate=True) for vf in (one, one, other))
    host.is_changing = True
    assert CHANGES_AT_ONCE == answers_of(host, busy, CHANGES_AT_ONCE + 5)
    assert 0 == answers_of(host, second, 1), "all its connections are one VF's"
    assert 0 == answers_of(host, host.connect(one), 1), "and new ones"
    assert 10 == answers_of(host, neighbour, 10)
    host.mailboxes.look_after()
    host.go_round()
    assert 0 == answers_of(host, busy, 1), "time alone lets it go on"
    host.now_seconds += 1
    host.mailboxes.look_after()
    host.go_round(CHANGES_A_SECOND)
    waited = 5 + 1
    for _answer in range(waited):
        busy.receive()
    second.receive()
    assert CHANGES_A_SECOND - waited - 1 == answers_of(host, busy, CHANGES_A_SECOND)


def test_all_vfs_of_a_guest_have_one_budget(host: Host) -> None:
    """And one of them is held by its own change alone, so that a request of another guest's VF is never kept."""
    vfs = [host.connect(host.vf(index), negotiate=True) for index in range(4)]
    host.is_changing = True
    answered = [answers_of(host, client, CHANGES_AT_ONCE // 4) for client in vfs]
    assert CHANGES_AT_ONCE == sum(answered)
    assert len(vfs) - 1 >= sum(answers_of(host, client, 10) for client in vfs), "each VF notices by its own next change"
    assert 0 == sum(answers_of(host, client, 1) for client in vfs)


def test_one_that_waits_may_leave(host: Host) -> None:
    vf = host.vf(0)
    busy = host.connect(vf, negotiate=True)
    host.is_changing = True
    answers_of(host, busy, CHANGES_AT_ONCE)
    host.mailboxes.close(vf)
    host.is_changing = False
    assert 1 == answers_of(host, host.connect(host.vf(0), negotiate=True), 1)


def test_what_changes_nothing_is_not_counted(host: Host) -> None:
    client = host.connect(host.vf(0), negotiate=True)
    assert CHANGES_AT_ONCE + 5 == answers_of(host, client, CHANGES_AT_ONCE + 5)
