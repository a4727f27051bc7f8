"""Nobody starves the others: what one guest, or a stranger at the daemon's own endpoints, does without end keeps neither another
guest's mailbox nor the operator from an answer. The daemon may open 400 files; the attacker has root in a guest with 48 VFs."""

import contextlib
import http.client
import json
import os
import signal
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from mailbox_wire import ADD_ETH, DEL_ETH, DESCRIPTOR, EXTRA, GET_STATS, OK, RawMailbox

from sriov_xdp.api.client import CommandFailed, call
from sriov_xdp.host.monitor import MOST_MESSAGES
from sriov_xdp.lab.host import Daemon, Lab, LabError, Namespace, host_config, wait_until
from sriov_xdp.pf.process.folders import ADMIN_SOCKET

FILES, ADAPTERS, OF_A_VF = 400, 48, 8
GROUPS = [{"name": "lan", "vlan": "none", "policy": {"security": {"mac_changes": "accept"}}}]
# Down, up, down, up: RTM_NEWLINK with IFF_UP as the flag to change, without waiting for answers.
FLAP = """import itertools, socket, struct, sys
kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
index = socket.if_nametoindex("eth0")
print("begun", flush=True)
for _time in range(int(sys.argv[1])) if sys.argv[1:] else itertools.count():
    for flags in (0, 1):
        kernel.send(struct.pack("=IHHIIBxHiII", 32, 16, 1, 0, 0, 0, 0, index, flags, 1))
"""


class DaemonWithFewFiles(Daemon):
    """Its process may open 400."""

    def _command(self) -> list[str]:
        return ["prlimit", f"--nofile={FILES}:{FILES}", *super()._command()]


class Scene:
    def __init__(self, lab: Lab) -> None:
        self.bad: Namespace = lab.namespace("bad")
        self.quiet: Namespace = lab.namespace("quiet")
        config = host_config(None, [{"guest": self.quiet.name, "port_group": "lan"}], GROUPS)
        config["pfs"][0]["num_vfs"] = ADAPTERS + 1
        adapters = [{"name": f"eth{number}", "port_group": "lan"} for number in range(ADAPTERS)]
        config["guests"].append({"name": self.bad.name, "adapters": adapters})
        folder = lab.folder / "few"
        folder.mkdir()
        self.daemon: Daemon = DaemonWithFewFiles(folder, Path("/sys/fs/bpf") / f"{lab.tag}few", config)
        lab._daemons.append(self.daemon)
        self.daemon.start()
        vfs = self.daemon.ask("vf", "list")
        self.vf = {vf["interface"]: vf["address"] for vf in vfs if vf["guest"] == self.bad.name}
        self.quiet_vf = next(vf["address"] for vf in vfs if vf["guest"] == self.quiet.name)

    def attacker(self, number: int = 0, *, negotiate: bool = True) -> RawMailbox:
        return RawMailbox(self.bad, self.vf[f"eth{number}"], negotiate=negotiate)

    def victim(self) -> RawMailbox:
        return RawMailbox(self.quiet, self.quiet_vf)

    def metric(self, start: str) -> float:
        return sum(float(line.split()[-1]) for line in self.daemon.metrics().splitlines() if line.startswith(start))


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab("fw") as lab:
        made = Scene(lab)
        yield made
        assert made.daemon.process.poll() is None
        assert [] == [line for line in made.daemon.log().splitlines() if "Traceback" in line]


@pytest.fixture(autouse=True)
def served(scene: Scene) -> Iterator[None]:
    """After each attack all is as before."""
    yield
    with scene.victim() as mailbox:
        assert OK == stats(mailbox)
    assert 0 == scene.daemon.command("vf", "list").returncode


def stats(mailbox: RawMailbox) -> int:
    return mailbox.ask(GET_STATS, struct.pack("<HHII", mailbox.vsi, 0, 0, 0))[0]


def change(mailbox: RawMailbox, opcode: int, mac: str) -> bytes:
    """A message that adds or removes a filter."""
    payload = struct.pack("<HH", mailbox.vsi, 1) + bytes.fromhex(mac.replace(":", "")) + bytes([EXTRA, 0]) + bytes(8)
    return DESCRIPTOR.pack(0, 0x801, len(payload), 0, opcode, 0, 0, 0, 0, 0) + payload


def test_a_guest_has_one_turn_for_each_of_anothers_however_many_vfs_and_connections_it_keeps_busy(scene: Scene) -> None:
    """All messages are there before the daemon sees the first. Each is granted, so the audit has them in their order."""
    rounds = 30
    with contextlib.ExitStack() as stack:
        busy = [stack.enter_context(scene.attacker(number)) for number in [0] * OF_A_VF + [*range(1, OF_A_VF)]]
        victim = stack.enter_context(scene.victim())
        os.kill(scene.daemon.process.pid, signal.SIGSTOP)
        try:
            for number, mailbox in enumerate([*busy, victim]):
                for turn in range(rounds):
                    mailbox.socket.send(change(mailbox, (ADD_ETH, DEL_ETH)[turn % 2], f"02:00:00:00:{number:02x}:01"))
        finally:
            os.kill(scene.daemon.process.pid, signal.SIGCONT)
        assert {OK} == {box.receive()[1] for box in [*busy, victim] for _turn in range(rounds)}
    served = [
        record["vf"] for record in scene.daemon.ask("audit", "list", "--limit", "1000") if "02:00:00:00:0" in record["request"]
    ]
    last = max(place for place, vf in enumerate(served) if vf == scene.quiet_vf)
    assert rounds == served.count(scene.quiet_vf)
    assert rounds + len(busy) >= len([vf for vf in served[:last] if vf != scene.quiet_vf])


def test_what_a_flapping_link_says_is_read_in_small_parts(scene: Scene) -> None:
    """Each part is a turn, and others have theirs in between."""
    turns = 'sriovxdp_writer_turn_seconds_count{turn="link_events"}'
    before = scene.metric(turns)
    os.kill(scene.daemon.process.pid, signal.SIGSTOP)
    try:
        scene.bad.run(sys.executable, "-c", FLAP, "200")
    finally:
        os.kill(scene.daemon.process.pid, signal.SIGCONT)
    wait_until(lambda: scene.metric(turns) - before >= 300 // MOST_MESSAGES, "some 400 messages are read")


def test_a_guest_that_flaps_its_link_keeps_nobody_waiting(scene: Scene) -> None:
    flapper = scene.bad.start(sys.executable, "-c", FLAP)
    try:
        assert flapper.stdout is not None
        assert "begun\n" == flapper.stdout.readline()
        with scene.victim() as victim:
            assert [OK] * 300 == [stats(victim) for _time in range(300)]
        assert 0 == scene.daemon.command("pf", "list").returncode
        assert 0 < scene.metric('sriovxdp_writer_turn_seconds_count{turn="link_events"}')
    finally:
        flapper.kill()
        flapper.wait()
    scene.bad.ip("link", "set", "eth0", "up")
    wait_until(lambda: scene.daemon.ask("vf", "show", scene.vf["eth0"])["link"] == "up", "its link is followed when it rests", 30)


def test_a_guest_is_answered_while_a_large_configuration_is_read(scene: Scene) -> None:
    groups = "".join(f"  - {{name: g{number}, vlan: {{access: {number % 4000 + 1}}}}}\n" for number in range(12_000))
    text = f"version: 1\npfs: []\nswitches:\n- name: s\n  pf: pf0\n  port_groups:\n{groups}"
    outcome: list[str] = []

    def compare() -> None:
        try:
            outcome.append(str(call(scene.daemon.run_dir, "diff", {"text": text})))
        except CommandFailed as error:
            outcome.append(str(error))

    with scene.victim() as victim:
        comparing = threading.Thread(target=compare)
        comparing.start()
        answered = 0
        while not outcome:
            assert OK == stats(victim)
            answered += 1
        comparing.join()
    assert 50 < answered
    assert "pf0" in outcome[0]


def test_guests_that_hold_all_they_can_keep_neither_others_nor_the_operator_out(scene: Scene) -> None:
    with contextlib.ExitStack() as stack:
        refused = 0
        for number in range(ADAPTERS * OF_A_VF):
            try:
                stack.enter_context(scene.attacker(number // OF_A_VF))
            except (OSError, AssertionError):
                refused += 1
            if refused > OF_A_VF:
                break
        assert 0 < scene.metric("sriovxdp_mailbox_dropped_total{")
        assert FILES - 64 > len(list(Path(f"/proc/{scene.daemon.process.pid}/fd").iterdir()))
        with scene.victim() as victim:
            assert OK == stats(victim)
        for command in (["vf", "list"], ["diff", "-f", str(scene.daemon.config_file)], ["vf", "reset", scene.quiet_vf]):
            assert 0 == scene.daemon.command(*command).returncode
        assert "descriptors" in scene.daemon.metrics()


def test_half_requests_keep_nobody_from_the_daemons_endpoints(scene: Scene) -> None:
    with contextlib.ExitStack() as stack:
        for _number in range(FILES):
            for family, address, start in (
                (socket.AF_INET, ("127.0.0.1", scene.daemon.metrics_port), b"GET /metrics HTTP/1.1\r\nHost: a"),
                (
                    socket.AF_UNIX,
                    str(scene.daemon.run_dir / ADMIN_SOCKET),
                    b"POST /v1/vf-list HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{",
                ),
            ):
                half = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
                half.settimeout(0.05)
                with contextlib.suppress(OSError):
                    half.connect(address)
                    half.send(start)
        assert 0 == scene.daemon.command("vf", "list").returncode
        for endpoint in ("metrics", "admin"):
            refused = f'sriovxdp_api_refused_total{{endpoint="{endpoint}",reason="incomplete"}}'
            wait_until(lambda refused=refused: scene.metric(refused) > 0, f"half requests make room at {endpoint}")
        with scene.victim() as victim:
            assert OK == stats(victim)


def test_a_connection_to_a_mailbox_that_says_nothing_is_closed(scene: Scene) -> None:
    with scene.attacker(negotiate=False) as silent, scene.attacker() as driver:
        silent.socket.settimeout(30)
        assert b"" == silent.socket.recv(1)
        assert OK == stats(driver)
    assert 0 < scene.metric(f'sriovxdp_mailbox_dropped_total{{pf="pf0",reason="idle",vf="{scene.vf["eth0"]}"}}')


def test_changes_that_are_granted_without_end_do_not_fill_the_log(scene: Scene) -> None:
    def lines() -> int:
        return scene.daemon.log().count("effective MAC")

    before = lines()
    with scene.attacker() as mailbox:
        macs = [f"02:00:00:00:77:{number % 2:02x}" for number in range(400)]
        assert [OK] * 400 == [mailbox.addresses(ADD_ETH, mac) for mac in macs]
    assert 0 < lines() - before < 300
    assert (
        400
        == scene.metric(
            f'sriovxdp_mailbox_requests_total{{opcode="add_eth_addr",outcome="granted",pf="pf0",vf="{scene.vf["eth0"]}"}}'
        )
        - 30 * OF_A_VF // 2
    )


# Strangers at the daemon's endpoints.


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        ("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n", 405),
        ("POST /metrics HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n", 405),
        ("GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("GET /metrics HTTP/1.1\r\n" + "X-A: b\r\n" * 5000 + "\r\n", 400),
        ("GET /metrics HTTP/1.1\r\nX-A: " + "b" * 100_000 + "\r\n\r\n", 400),
        ("GET /" + "m" * 100_000 + " HTTP/1.1\r\n\r\n", 400),
        ("nonsense\r\n\r\n", 400),
    ],
)
def test_what_is_no_scrape_is_refused_at_once(scene: Scene, request_text: str, status: int) -> None:
    before = scene.daemon.log()
    with socket.create_connection(("127.0.0.1", scene.daemon.metrics_port), 5) as stranger:
        with contextlib.suppress(ConnectionError):
            stranger.sendall(request_text.encode())
        answer = b""
        with contextlib.suppress(ConnectionError):
            while chunk := stranger.recv(1 << 16):
                answer += chunk
    assert str(status) == answer.split()[1].decode()
    assert before == scene.daemon.log()


@pytest.mark.parametrize(
    ("command", "body", "status"),
    [
        ("audit-list", b'{"limit": -1}', 400),
        ("audit-list", b'{"limit": 1e30}', 400),
        ("audit-list", b'{"limit": 1000000000000000000000000000000}', 400),
        ("vf-show", b'{"vf": 7}', 400),
        ("vf-show", b'{"vf": ["pf0vf0"]}', 400),
        ("pf-show", b'{"name": "a\\u0000b"}', 400),
        ("vf-attach", b'{"guest": "a", "port_group": "lan", "interface": "e\\u0000"}', 400),
        ("vf-set", b'{"vf": "pf0vf0", "mac": {}}', 400),
        ("port-group-set", b'{"name": "lan", "vlan": 1e30}', 400),
        ("vf-list", b"[" * 30_000, 400),
        ("vf-list", b"\xff\xfe\xfd", 400),
        ("vf-list", b"[" * 100_000, 413),
        ("diff", b"[" * 100_000, 400),
        ("diff", b'{"text": 7}', 400),
        ("nothing", b"{}", 400),
    ],
)
def test_what_is_no_command_is_answered_with_what_is_wrong(scene: Scene, command: str, body: bytes, status: int) -> None:
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.sock.connect(str(scene.daemon.run_dir / ADMIN_SOCKET))
    with contextlib.suppress(BrokenPipeError):
        connection.request("POST", f"/v1/{command}", body)
    answer = connection.getresponse()
    document = json.loads(answer.read())
    connection.close()
    assert (status, True) == (answer.status, document["code"] in (1, 2))
    assert document["error"]


def test_a_request_without_a_length_is_refused(scene: Scene) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stranger:
        stranger.connect(str(scene.daemon.run_dir / ADMIN_SOCKET))
        stranger.sendall(b"POST /v1/vf-list HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n")
        assert b"411" == stranger.recv(100).split()[1]


def test_many_scrapes_at_once_are_all_answered(scene: Scene) -> None:
    answers: list[str] = []

    def scrape() -> None:
        with contextlib.suppress(LabError):
            answers.append(scene.daemon.metrics())

    threads = [threading.Thread(target=scrape) for _number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 6 == len(answers)
    assert [True] * 6 == [answer.rstrip().splitlines()[-1].startswith("sriovxdp_build_info") for answer in answers]
