"""What a guest may say and do to its mailbox: nothing of it changes the device, ends the daemon or reaches another VF."""

import contextlib
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mailbox_wire import (
    ADD_ETH,
    CONFIG_PROMISC,
    DEL_ETH,
    DESCRIPTOR,
    EVENT,
    GET_STATS,
    GET_VF_RESOURCES,
    NOT_SUPPORTED,
    OK,
    PARAM,
    RESET_VF,
    VERSION,
    RawMailbox,
)

from sriov_xdp.lab.host import Daemon, Lab, Namespace, entered, host_config, wait_until
from sriov_xdp.mailbox import sockets

BAD = "pf0vf0"
NEW_MAC = "02:00:00:aa:bb:01"
ONE_ADDRESS = struct.pack("<HH", 1, 1) + bytes.fromhex("020000aabb01") + bytes([1, 0]) + bytes(8)
# Exact payloads of each opcode that is served, from the protocol's description.
EXACT = {
    VERSION: struct.pack("<II", 1, 1),
    RESET_VF: b"",
    GET_VF_RESOURCES: struct.pack("<I", 1),
    ADD_ETH: ONE_ADDRESS,
    DEL_ETH: ONE_ADDRESS,
    CONFIG_PROMISC: struct.pack("<HH", 1, 0),
    GET_STATS: bytes(12),
}
UNKNOWN = [0, 16, 19, 49, 63, 65, 114, 115, 255, 65535, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
KNOWN_LENGTHS = {
    4: 24,
    5: 40,
    6: 136,
    7: 26,
    8: 12,
    9: 12,
    12: 8,
    13: 8,
    23: 6,
    24: 6,
    26: 8,
    27: 0,
    28: 0,
    29: 2,
    51: 0,
    52: 40,
    112: 16,
}


class Scene:
    def __init__(self, lab: Lab) -> None:
        self.bad: Namespace = lab.namespace("bad")
        self.good: Namespace = lab.namespace("good")
        guests = [
            {"guest": self.bad.name, "port_group": "lab", "mac": "02:00:00:00:01:01"},
            {"guest": self.good.name, "port_group": "lab", "mac": "02:00:00:00:01:02"},
        ]
        self.daemon: Daemon = lab.daemon(
            host_config(None, guests, [{"name": "lab", "vlan": "none", "policy": {"security": {"mac_changes": "accept"}}}])
        )
        self.bad.address(1)
        self.good.address(2)

    def device(self) -> tuple[str, list[str], int]:
        vf = self.daemon.vf_of(self.bad.name)
        return vf["effective_mac"], vf["filters"], vf["generation"]


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab("hm") as lab:
        made = Scene(lab)
        yield made
        assert made.daemon.process.poll() is None
        assert made.good.can_ping("10.77.0.1")


@pytest.fixture(autouse=True)
def unchanged(scene: Scene) -> Iterator[None]:
    before = scene.device()
    yield
    assert before == scene.device()
    with RawMailbox(scene.good, "pf0vf1") as other:
        assert other.ask(GET_STATS, struct.pack("<HHII", other.vsi, 0, 0, 0))[0] == OK


@pytest.mark.parametrize("opcode", EXACT)
@pytest.mark.parametrize("change", ["empty", "one less", "one more", "huge"])
def test_wrong_length_is_a_parameter_error(scene: Scene, opcode: int, change: str) -> None:
    exact = EXACT[opcode]
    payload = {"empty": b"", "one less": exact[:-1], "one more": exact + b"\0", "huge": exact + bytes(4000 - len(exact))}[change]
    is_valid = payload == exact or (opcode == GET_VF_RESOURCES and not payload)
    if is_valid:
        payload = b"\0"
    with RawMailbox(scene.bad, "pf0vf0") as mailbox:
        assert mailbox.ask(opcode, payload) == (PARAM, b"")


@pytest.mark.parametrize("opcode", [GET_VF_RESOURCES, ADD_ETH, DEL_ETH, CONFIG_PROMISC, GET_STATS])
def test_nothing_is_served_before_version(scene: Scene, opcode: int) -> None:
    with RawMailbox(scene.bad, "pf0vf0", negotiate=False) as mailbox:
        wanted = PARAM if opcode == GET_VF_RESOURCES else NOT_SUPPORTED
        assert (wanted, b"") == mailbox.ask(opcode, EXACT[opcode])


@pytest.mark.parametrize("opcode", [ADD_ETH, DEL_ETH, CONFIG_PROMISC, GET_STATS])
def test_nothing_is_served_before_resources(scene: Scene, opcode: int) -> None:
    with RawMailbox(scene.bad, "pf0vf0", negotiate=False) as mailbox:
        assert mailbox.ask(VERSION, EXACT[VERSION])[0] == OK
        assert mailbox.ask(opcode, EXACT[opcode]) == (NOT_SUPPORTED, b"")


@pytest.mark.parametrize("opcode", UNKNOWN)
def test_unknown_opcodes_are_parameter_errors(scene: Scene, opcode: int) -> None:
    with RawMailbox(scene.bad, "pf0vf0") as mailbox:
        assert mailbox.ask(opcode, bytes(4)) == (PARAM, b"")
        assert mailbox.ask(GET_STATS, struct.pack("<HHII", mailbox.vsi, 0, 0, 0))[0] == OK


@pytest.mark.parametrize("opcode", KNOWN_LENGTHS)
def test_known_opcodes_that_are_not_offered_are_not_supported(scene: Scene, opcode: int) -> None:
    with RawMailbox(scene.bad, "pf0vf0") as mailbox:
        assert mailbox.ask(opcode, bytes(KNOWN_LENGTHS[opcode])) == (NOT_SUPPORTED, b"")


def test_event_from_a_guest_and_a_lying_length_are_parameter_errors(scene: Scene) -> None:
    with RawMailbox(scene.bad, "pf0vf0") as mailbox:
        mailbox.send(EVENT, bytes(16))
        assert DESCRIPTOR.unpack_from(_next_but_link(mailbox))[4] == EVENT
        assert mailbox.ask(ADD_ETH, EXACT[ADD_ETH], claimed_bytes=21) == (PARAM, b"")
        assert mailbox.ask(ADD_ETH, EXACT[ADD_ETH], claimed_bytes=0xFFFF) == (PARAM, b"")


def _next_but_link(mailbox: RawMailbox) -> bytes:
    """The first message that is no link event."""
    while True:
        message = mailbox.socket.recv(8192)
        if len(message) == 32:
            return message


@pytest.mark.parametrize("size", [4096, 4097, 5000, 60_000])
def test_message_longer_than_any_buffer_is_a_parameter_error(scene: Scene, size: int) -> None:
    with RawMailbox(scene.bad, "pf0vf0") as mailbox:
        for opcode in (ADD_ETH, VERSION):
            assert (PARAM, b"") == mailbox.ask(opcode, bytes(size))
            assert (PARAM, b"") == mailbox.ask(opcode, bytes(size), claimed_bytes=4096)


def test_counts_that_contradict_the_length_are_parameter_errors(scene: Scene) -> None:
    with RawMailbox(scene.bad, "pf0vf0") as mailbox:
        for count in (0, 2, 0xFFFF):
            assert mailbox.ask(ADD_ETH, struct.pack("<HH", mailbox.vsi, count) + bytes(16)) == (PARAM, b"")


def test_messages_of_another_vf_are_refused_by_vsi(scene: Scene) -> None:
    with RawMailbox(scene.bad, "pf0vf0") as mailbox:
        for vsi in (0, mailbox.vsi + 1, 0xFFFF):
            assert mailbox.addresses(ADD_ETH, NEW_MAC, vsi=vsi) == PARAM
            assert mailbox.ask(GET_STATS, struct.pack("<HHII", vsi, 0, 0, 0)) == (PARAM, b"")


def test_mailbox_of_another_guest_cannot_be_reached(scene: Scene) -> None:
    with (
        entered(scene.bad),
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger,
        pytest.raises(ConnectionRefusedError),
    ):
        stranger.connect("\0sriov-xdp/pf0vf1")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    message=st.binary(max_size=200)
    | st.builds(
        lambda tail, op: DESCRIPTOR.pack(0, 0x801, len(tail) & 0xFFFF, 0, op, 0, 0, 0, 0, 0) + tail,
        st.binary(max_size=120),
        st.integers(0, 2**32 - 1).filter(lambda op: op not in (ADD_ETH, DEL_ETH, RESET_VF)),
    )
)
def test_random_bytes_do_no_harm(scene: Scene, message: bytes) -> None:
    with RawMailbox(scene.bad, "pf0vf0") as mailbox:
        mailbox.socket.send(message or b"\0")
        before = scene.device()
        with RawMailbox(scene.bad, "pf0vf0"):
            assert before == scene.device()


def test_a_flood_of_messages_leaves_the_other_guest_served(scene: Scene) -> None:
    with RawMailbox(scene.bad, "pf0vf0") as flood, RawMailbox(scene.good, "pf0vf1") as other:
        flood.socket.setblocking(False)
        message = DESCRIPTOR.pack(0, 0x801, 12, 0, GET_STATS, 0, 0, 0, 0, 0) + struct.pack("<HHII", flood.vsi, 0, 0, 0)
        for _round in range(200):
            with contextlib.suppress(OSError):
                for _message in range(50):
                    flood.socket.send(message)
            assert other.ask(GET_STATS, struct.pack("<HHII", other.vsi, 0, 0, 0))[0] == OK


def test_a_guest_that_never_reads_is_cut_off(scene: Scene) -> None:
    with RawMailbox(scene.bad, "pf0vf0") as mailbox:
        message = DESCRIPTOR.pack(0, 0x801, 12, 0, GET_STATS, 0, 0, 0, 0, 0) + struct.pack("<HHII", mailbox.vsi, 0, 0, 0)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            _send_without_end(mailbox, message)
    assert 'reason="slow"' in scene.daemon.metrics()


def _send_without_end(mailbox: RawMailbox, message: bytes) -> None:
    for _message in range(100_000):
        mailbox.socket.send(message)


def test_connections_beyond_the_limit_are_closed_at_once(scene: Scene) -> None:
    with contextlib.ExitStack() as stack:
        for _connection in range(8):
            stack.enter_context(RawMailbox(scene.bad, "pf0vf0"))
        extra = stack.enter_context(RawMailbox(scene.bad, "pf0vf0", negotiate=False))
        with pytest.raises((ConnectionError, AssertionError)):
            extra.ask(VERSION, EXACT[VERSION])


def test_descriptors_are_refused_or_their_sender_is_cut_off(scene: Scene) -> None:
    """Whoever closes one waits for what the guest made it wait for."""
    before = _open_files(scene.daemon)
    payload = DESCRIPTOR.pack(0, 0x801, 8, 0, VERSION, 0, 0, 0, 0, 0) + EXACT[VERSION]
    with RawMailbox(scene.bad, "pf0vf0") as mailbox:
        if sockets.kernel_refuses_descriptors():
            with pytest.raises(PermissionError):
                socket.send_fds(mailbox.socket, [payload], [0, 1, 2])
        else:
            socket.send_fds(mailbox.socket, [payload], [0, 1, 2])
            assert b"" == mailbox.socket.recv(4096)
    wait_until(lambda: _open_files(scene.daemon) <= before, "none is kept")


def _open_files(daemon: Daemon) -> int:
    from pathlib import Path

    return len(list(Path(f"/proc/{daemon.process.pid}/fd").iterdir()))


def test_filters_beyond_the_quota_are_refused_and_others_still_get_theirs(scene: Scene) -> None:
    macs = [f"02:00:00:00:05:{number:02x}" for number in range(17)]
    with RawMailbox(scene.bad, "pf0vf0") as mailbox, RawMailbox(scene.good, "pf0vf1") as other:
        assert mailbox.addresses(ADD_ETH, *macs[:16], kind=2) == OK
        mailbox.addresses(ADD_ETH, macs[16], kind=2)
        assert sorted(macs[:16]) == scene.device()[1]
        assert other.addresses(ADD_ETH, "02:00:00:00:06:01", kind=2) == OK
        assert other.addresses(DEL_ETH, "02:00:00:00:06:01", kind=2) == OK
        assert mailbox.addresses(DEL_ETH, *macs[:16], kind=2) == OK
    assert scene.device()[1] == []


def test_unusable_addresses_are_refused(scene: Scene) -> None:
    with RawMailbox(scene.bad, "pf0vf0") as mailbox:
        for mac in ("00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "02:00:00:00:01:02"):
            mailbox.addresses(ADD_ETH, mac)
            assert scene.device()[0] == "02:00:00:00:01:01"


def test_after_ten_invalid_messages_in_a_row_nothing_but_a_reset_is_heard(scene: Scene) -> None:
    with RawMailbox(scene.bad, BAD) as mailbox, RawMailbox(scene.bad, BAD) as another:
        for _message in range(9):
            assert PARAM == mailbox.ask(GET_STATS, b"")[0]
        assert OK == another.ask(GET_STATS, struct.pack("<H", another.vsi) + bytes(10))[0]
        for number in range(10):
            assert PARAM == (mailbox, another)[number % 2].ask(GET_STATS, b"")[0], "of whatever connection"
        assert [PARAM] * 3 == [another.ask(opcode, EXACT.get(opcode, b""))[0] for opcode in (GET_STATS, VERSION, 12)]
        assert "malicious: only a reset is heard" == scene.daemon.ask("vf", "show", BAD)["mailbox"]
        name = f'sriovxdp_vf_mailbox_malicious{{pf="pf0",vf="{BAD}"}}'
        assert f"{name} 1.0" in scene.daemon.metrics()
        lines = [line for line in scene.daemon.log().splitlines() if f"{BAD}: malicious, 10 invalid messages in a row" in line]
        assert 1 == len(lines)
        mailbox.send(RESET_VF)
        wait_until(lambda: "heard" == scene.daemon.ask("vf", "show", BAD)["mailbox"], "a reset is heard")
        for connection in (mailbox, another):
            connection.negotiate()
        assert f"{name} 0.0" in scene.daemon.metrics()


def test_the_operator_lets_a_malicious_guest_speak_again(scene: Scene) -> None:
    with RawMailbox(scene.bad, BAD) as mailbox:
        for _message in range(10):
            mailbox.ask(GET_STATS, b"")
        assert PARAM == mailbox.ask(VERSION, EXACT[VERSION])[0]
        scene.daemon.ask("vf", "set", BAD, "mailbox", "enable")
        assert OK == mailbox.ask(GET_STATS, struct.pack("<H", mailbox.vsi) + bytes(10))[0], "it is as far as it was"
        newest = scene.daemon.ask("audit", "list", "--vf", BAD)[-1]
        assert ("mailbox enable", "malicious", "heard") == (newest["request"], newest["before"], newest["after"])
    done = scene.daemon.command("vf", "set", BAD, "mailbox", "off")
    assert (2, True) == (done.returncode, "mailbox 'off': expected enable" in done.stderr)


def test_a_guest_that_is_malicious_again_and_again_does_not_fill_the_log(scene: Scene) -> None:
    before = scene.daemon.log().count("malicious")
    with RawMailbox(scene.bad, BAD) as mailbox:
        for _time in range(100):
            for _message in range(10):
                mailbox.ask(GET_STATS, b"")
            mailbox.send(RESET_VF)
            mailbox.negotiate()
    assert scene.daemon.log().count("malicious") - before < 50
