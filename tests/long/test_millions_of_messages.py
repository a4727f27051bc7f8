"""A guest that sends whatever it likes to its mailbox, for minutes: the quiet one is served all the while, the daemon does not grow
and says nothing that it would not say once. Some millions of messages; how many there are is the machine's to say."""

import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mailbox_wire import GET_STATS, OK, RawMailbox

from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, wait_until

MESSAGES, ATTACK_SECONDS = 10_000_000, 300
_GROWTH_KIB = 8 << 10
_ATTACK = """import random, socket, struct, sys, time
name, seed, until = sys.argv[1], int(sys.argv[2]), time.monotonic() + float(sys.argv[3])
chance, sent = random.Random(seed), 0
head = struct.Struct("<HHHHIiIIII")
while sent < int(sys.argv[4]) and time.monotonic() < until:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as mailbox:
            mailbox.connect("\\0" + name)
            for payload in (struct.pack("<II", 1, 1), struct.pack("<I", 1)):
                mailbox.send(head.pack(0, 0x801, len(payload), 0, 1 if len(payload) == 8 else 3, 0, 0, 0, 0, 0) + payload)
                mailbox.recv(8192)
            mailbox.setblocking(False)
            for _message in range(20000):
                payload = chance.randbytes(chance.randrange(64))
                opcode = chance.choice((1, 3, 10, 11, 15, 17, 2, chance.getrandbits(32)))
                length = len(payload) if chance.random() < 0.9 else chance.getrandbits(16)
                try:
                    mailbox.send(head.pack(0, 0x801, length, 0, opcode, 0, 0, 0, 0, 0) + payload)
                    sent += 1
                except BlockingIOError:
                    mailbox.setblocking(True)
                    mailbox.recv(8192)
                    mailbox.setblocking(False)
                try:
                    while True:
                        if not mailbox.recv(8192):
                            raise ConnectionError
                except BlockingIOError:
                    pass
    except OSError:
        pass
print(sent)
"""


class Scene:
    def __init__(self, lab: Lab) -> None:
        self.bad: Namespace = lab.namespace("bad")
        self.quiet: Namespace = lab.namespace("quiet")
        groups = [{"name": "lan", "policy": {"security": {"mac_changes": "accept"}}}]
        guests = [{"guest": guest.name, "port_group": "lan"} for guest in (self.bad, self.quiet)]
        self.daemon: Daemon = lab.daemon(host_config(None, guests, groups))

    def attack(self, seed: int, seconds: float) -> subprocess.Popen[str]:
        vf = self.daemon.vf_of(self.bad.name)["address"]
        script = [sys.executable, "-c", _ATTACK, f"sriov-xdp/{vf}", str(seed), str(seconds), str(MESSAGES // 2)]
        return self.bad.start(*script)

    def size(self) -> tuple[int, int]:
        process = Path(f"/proc/{self.daemon.process.pid}")
        memory = next(line.split()[1] for line in (process / "status").read_text().splitlines() if line.startswith("RssAnon"))
        return int(memory), len(list((process / "fd").iterdir()))


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab("mm") as lab:
        yield Scene(lab)


def test_the_quiet_guest_is_served_and_nothing_grows(scene: Scene) -> None:
    """Two attackers at once; the quiet guest asks again and again."""
    for attacker in [scene.attack(seed, 5) for seed in (1, 2)]:
        attacker.communicate()
    memory_kib, descriptors = scene.size()
    attackers = [scene.attack(seed, ATTACK_SECONDS) for seed in (3, 4)]
    served = 0
    with RawMailbox(scene.quiet, scene.daemon.vf_of(scene.quiet.name)["address"]) as mailbox:
        while any(attacker.poll() is None for attacker in attackers):
            assert OK == mailbox.ask(GET_STATS, struct.pack("<HHII", mailbox.vsi, 0, 0, 0))[0]
            served += 1
            time.sleep(0.001)
    sent = sum(int(attacker.communicate()[0].split()[-1]) for attacker in attackers)
    assert (True, True) == (sent > 100_000, served > 1000), f"{sent} messages, {served} answers to the quiet guest"
    wait_until(lambda: scene.size()[1] <= descriptors, "no descriptor is left")
    assert memory_kib + _GROWTH_KIB > scene.size()[0]
    assert [] == [line for line in scene.daemon.log().splitlines() if "Traceback" in line]
    assert "sriovxdp_internal_errors_total 0.0" in scene.daemon.metrics()
    print(f"{sent} messages, {served} answers to the quiet guest")  # noqa: T201  # seen with -s
