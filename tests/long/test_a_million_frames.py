"""A million frames by each mode and the wire: each that entered left or was dropped, and stands in exactly one counter."""

import errno
from collections.abc import Iterator

import pytest

from sriov_xdp.lab import traffic as frames
from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, wait_until

FRAMES, BATCH = 1_000_000, 64
BAD_EACH = 4  # of so many frames one is forged
HOSTS = {"xdp": 1, "tcx": 2, "auto": 3, "wire": 99}
WAYS = [("xdp", "tcx"), ("tcx", "xdp"), ("auto", "xdp"), ("xdp", "wire"), ("wire", "auto")]
FORGED = "02:66:66:66:66:66"
STRAY = 1000  # what the stacks of guests and wire say of themselves meanwhile


class Scene:
    def __init__(self, lab: Lab) -> None:
        wire, uplink = lab.wire()
        self.ends: dict[str, Namespace] = {"wire": wire, **{mode: lab.namespace(mode) for mode in ("xdp", "tcx", "auto")}}
        guests = [{"guest": self.ends[mode].name, "port_group": "lan", "datapath": mode} for mode in ("xdp", "tcx", "auto")]
        self.daemon: Daemon = lab.daemon(host_config(uplink, guests, [{"name": "lan"}]))
        self.daemon.settle()
        for name, host in HOSTS.items():
            self.ends[name].address(host, self.device(name))

    def device(self, name: str) -> str:
        return "w0" if name == "wire" else "eth0"

    def mac(self, name: str) -> str:
        return self.ends[name].mac(self.device(name))

    def counted(self, name: str) -> dict[str, int]:
        """What came from this end and what went there, as the product counts it; drops of what it sent, by reason."""
        shown = self.daemon.ask("pf", "show", "pf0") if name == "wire" else self.daemon.vf_of(self.ends[name].name)
        counters = shown["counters"]
        # Directions are the guest's; the uplink's are the wire's.
        sent, got = ("from_wire_packets", "to_wire_packets") if name == "wire" else ("tx_packets", "rx_packets")
        return {"sent": counters[sent], "got": counters[got], **shown["drops"]}


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab("mf") as lab:
        yield Scene(lab)


def netdev_packets(scene: Scene, name: str, direction: str) -> int:
    """What the kernel's own counter of an end says."""
    path = f"/sys/class/net/{scene.device(name)}/statistics/{direction}_packets"
    return int(scene.ends[name].run("cat", path))


def at_rest(scene: Scene, name: str, direction: str) -> tuple[dict[str, int], int]:
    """An end's counters by the product and by the kernel, of one moment: nothing passed while they were read. Right after the start
    the stacks still speak of themselves."""
    while True:
        before = scene.counted(name)
        by_kernel = netdev_packets(scene, name, direction)
        if before == scene.counted(name):
            return before, by_kernel


def send(tap: frames.Tap, batch: list[bytes]) -> None:
    """What the sender's own queue has no room for is sent again."""
    for one in batch:
        while True:
            try:
                tap.send(one)
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise


@pytest.mark.parametrize(("sender", "receiver"), WAYS)
def test_what_entered_left_or_was_dropped(scene: Scene, sender: str, receiver: str) -> None:
    """Every fourth frame of a guest is forged. What the stacks say of themselves meanwhile stands in both sums alike."""
    good = frames.frame(scene.mac(receiver), scene.mac(sender), b"one of a million")
    bad = good if sender == "wire" else frames.frame(scene.mac(receiver), FORGED, b"one of a million")
    batch = ([good] * (BAD_EACH - 1) + [bad]) * (BATCH // BAD_EACH)
    (before, given_before), (at_receiver, taken_before) = at_rest(scene, sender, "tx"), at_rest(scene, receiver, "rx")
    with frames.tapped((scene.ends[sender], scene.device(sender))) as (tap,):
        for _batch in range(FRAMES // BATCH):
            send(tap, batch)

    def entered() -> tuple[int, int]:
        """Frames that the sender's end gave, and those that stand in a counter of its port: what went on, and each drop."""
        now = scene.counted(sender)
        counted = sum(now[key] - before.get(key, 0) for key in now if key not in ("got", "redirect_error"))
        return netdev_packets(scene, sender, "tx") - given_before, counted

    def left() -> tuple[int, int]:
        """Frames that left to the receiver by its counter, and those that its end took."""
        return scene.counted(receiver)["got"] - at_receiver["got"], netdev_packets(scene, receiver, "rx") - taken_before

    wait_until(lambda: len(set(entered())) == 1, "each is counted once", 60)
    wait_until(lambda: len(set(left())) == 1, "what left is what arrived", 60)
    forged, now = 0 if sender == "wire" else FRAMES // BAD_EACH, scene.counted(sender)
    refused = scene.counted(receiver).get("redirect_error", 0) - at_receiver.get("redirect_error", 0)
    assert forged == now.get("forged_source", 0) - before.get("forged_source", 0)
    assert FRAMES <= entered()[0] < FRAMES + STRAY
    assert FRAMES - forged <= left()[0] + refused < FRAMES - forged + STRAY
