"""Real frames of a port, with what became of each, while somebody looks; nobody else's way changes."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pcapng import FileScanner
from pcapng.blocks import EnhancedPacket

from sriov_xdp.api.client import call
from sriov_xdp.lab import traffic as frames
from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, wait_until

SRIOV_XDP = Path(sys.executable).parent / "sriov-xdp"
LONG = bytes(range(200))


class Scene:
    """first and second in VLAN 100, third in none; the wire is beyond the uplink."""

    def __init__(self, lab: Lab, mode: str) -> None:
        self.lab = lab
        self.wire, uplink = lab.wire()
        self.places = {name: lab.namespace(name) for name in ("first", "second", "third")}
        groups = [{"name": "web", "vlan": {"access": 100}, "overrides_allowed": ["security"]}, {"name": "lan"}]
        of = {"first": "web", "second": "web", "third": "lan"}
        for place in self.places.values():  # whose stack is to say nothing by itself
            place.run("sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6")
        guests = [{"guest": place.name, "port_group": of[name], "datapath": mode} for name, place in self.places.items()]
        self.daemon: Daemon = lab.daemon(host_config(uplink, guests, groups))
        self.daemon.settle()
        self.macs = {name: place.mac() for name, place in self.places.items()} | {"wire": self.wire.mac("w0")}
        self.vfs = {name: str(self.daemon.vf_of(place.name)["address"]) for name, place in self.places.items()}

    def send(self, sender: str, frame: bytes) -> None:
        place, interface = (self.wire, "w0") if sender == "wire" else (self.places[sender], "eth0")
        with frames.tapped((place, interface)) as (tap,):
            tap.send(frame)


class Watcher:
    """Somebody who looks at a port."""

    def __init__(self, scene: Scene, port: str) -> None:
        self._scene, self._port = scene, port
        self._cursor = self._ask()["cursor"]
        self.seen: list[dict[str, Any]] = []

    def _ask(self, **more: Any) -> dict[str, Any]:
        answer: dict[str, Any] = call(self._scene.daemon.run_dir, "trace-live", {"sender": self._port, **more})
        return answer

    def found(self, payload: bytes) -> list[tuple[str, str | None, str]]:
        """Where frames with this inside entered and left, and their verdicts; waits for one."""

        def ours() -> list[dict[str, Any]]:
            answer = self._ask(cursor=self._cursor)
            self._cursor = answer["cursor"]
            self.seen += answer["frames"]
            return [frame for frame in self.seen if payload in bytes.fromhex(frame["octets"])]

        wait_until(ours, "it is seen")
        return [(frame["enters"], frame["leaves"], frame["verdict"]) for frame in ours()]


@pytest.fixture(scope="module", params=["xdp", "tcx"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with Lab("tl") as lab:
        yield Scene(lab, request.param)


def test_what_a_guest_sends_is_seen_with_what_became_of_it(scene: Scene) -> None:
    first, second = scene.vfs["first"], scene.vfs["second"]
    watcher = Watcher(scene, first)
    scene.send("first", frames.frame(scene.macs["second"], scene.macs["first"], b"to second"))
    assert [(first, second, "forwarded")] == watcher.found(b"to second")
    scene.send("first", frames.frame(scene.macs["second"], scene.macs["second"], b"as second"))
    assert [(first, None, "spoof_mac")] == watcher.found(b"as second")
    scene.send("first", frames.frame(frames.BROADCAST, scene.macs["first"], b"to all"))
    assert [(first, None, "flooded")] == watcher.found(b"to all")
    whole = frames.frame(scene.macs["wire"], scene.macs["first"], LONG)
    scene.send("first", whole)
    assert [(first, "pf0", "forwarded")] == watcher.found(LONG[:64])
    (kept,) = [frame for frame in watcher.seen if frame["leaves"] == "pf0"]
    assert (len(whole), whole[:128]) == (kept["length"], bytes.fromhex(kept["octets"]))


def test_what_comes_to_a_guest_is_seen_and_what_does_not_concern_it_is_not(scene: Scene) -> None:
    second = scene.vfs["second"]
    watcher = Watcher(scene, second)
    scene.send("third", frames.frame(frames.BROADCAST, scene.macs["third"], b"of another VLAN"))
    scene.send("wire", frames.frame(scene.macs["second"], scene.macs["wire"], b"from the wire", tags=(100,)))
    assert [("pf0", second, "forwarded")] == watcher.found(b"from the wire")
    scene.send("first", frames.frame(scene.macs["second"], scene.macs["first"], b"from first"))
    assert [(scene.vfs["first"], second, "forwarded")] == watcher.found(b"from first")
    scene.send("first", frames.frame(frames.BROADCAST, scene.macs["first"], b"all of us"))
    assert [(scene.vfs["first"], None, "flooded")] == watcher.found(b"all of us")
    assert not [frame for frame in watcher.seen if b"of another VLAN" in bytes.fromhex(frame["octets"])]


def test_what_comes_from_the_wire_is_seen_whoever_it_is_for(scene: Scene) -> None:
    watcher = Watcher(scene, "pf0")
    scene.send("wire", frames.frame("02:00:00:00:99:99", scene.macs["wire"], b"for nobody", tags=(100,)))
    assert [("pf0", None, "no_target")] == watcher.found(b"for nobody")
    tagged = frames.frame(scene.macs["first"], scene.macs["wire"], b"tagged", tags=(100,))
    scene.send("wire", tagged)
    assert [("pf0", scene.vfs["first"], "forwarded")] == watcher.found(b"tagged")
    assert [tagged] == [bytes.fromhex(frame["octets"]) for frame in watcher.seen if b"tagged" in bytes.fromhex(frame["octets"])]


def test_unicast_that_a_port_listens_to_is_seen_by_all_whom_it_concerns(scene: Scene) -> None:
    """second listens: what first and the wire say to each other is copied to it. What is for nobody is for it alone."""
    first, second = scene.vfs["first"], scene.vfs["second"]
    scene.daemon.ask("port", "set", second, "--promiscuous", "accept")
    try:
        watchers = [Watcher(scene, port) for port in (first, second)]
        scene.send("wire", frames.frame(scene.macs["first"], scene.macs["wire"], b"to first alone", tags=(100,)))
        assert [[("pf0", first, "forwarded")]] * 2 == [watcher.found(b"to first alone") for watcher in watchers]
        scene.send("first", frames.frame(scene.macs["wire"], scene.macs["first"], b"to the wire"))
        assert [[(first, "pf0", "forwarded")]] * 2 == [watcher.found(b"to the wire") for watcher in watchers]
        scene.send("wire", frames.frame("02:00:00:00:99:98", scene.macs["wire"], b"for whoever listens", tags=(100,)))
        assert [("pf0", None, "flooded")] == watchers[1].found(b"for whoever listens")
    finally:
        scene.daemon.ask("port", "set", second, "--promiscuous", "inherit")


def slow_path(scene: Scene, name: str) -> list[str]:
    shown: list[str] = scene.daemon.ask("port", "show", scene.vfs[name])["slow_path"]["sends"]
    return shown


def test_nobody_is_watched_any_longer_than_somebody_looks(scene: Scene) -> None:
    Watcher(scene, scene.vfs["third"])
    assert ["watched"] == slow_path(scene, "third")
    wait_until(lambda: not slow_path(scene, "third"), "its frames take the fast way again")
    assert 0 == scene.daemon.command("doctor").returncode


def test_the_command_shows_frames_as_they_pass_and_keeps_them(scene: Scene) -> None:
    kept = scene.lab.folder / "kept.pcapng"
    first: Namespace = scene.places["first"]
    command = [SRIOV_XDP, "--run-dir", scene.daemon.run_dir, "trace", "--from", f"{first.name}/eth0"]
    shown = subprocess.Popen([*command, "--live", "--count", "2", "--write", kept], stdout=subprocess.PIPE, text=True)
    wait_until(lambda: "watched" in slow_path(scene, "first"), "it looks")
    good = frames.frame(scene.macs["second"], scene.macs["first"], b"good")
    bad = frames.frame(scene.macs["second"], "02:00:00:00:77:77", b"bad")
    for frame in (good, bad):
        scene.send("first", frame)
    lines = (shown.communicate(timeout=60)[0] or "").splitlines()
    ways = [f"{scene.vfs['first']} -> {scene.vfs['second']}: forwarded", f"{scene.vfs['first']}: forged_source"]
    assert (0, 2) == (shown.returncode, len(lines))
    assert all(way in line for way, line in zip(ways, lines, strict=True)), lines
    with kept.open("rb") as stream:
        packets = [block for block in FileScanner(stream) if isinstance(block, EnhancedPacket)]
    assert [(good, ways[0]), (bad, ways[1])] == [(packet.packet_data, packet.options["opt_comment"]) for packet in packets]


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--live", "--to", "02:00:00:00:00:01"], "real frames come as they are"), (["--count", "1"], "say --live with them")],
)
def test_options_that_do_not_go_together_are_refused(scene: Scene, options: list[str], said: str) -> None:
    done = scene.daemon.command("trace", "--from", "pf0", *options)
    assert (2, True) == (done.returncode, said in done.stderr), done.stderr
