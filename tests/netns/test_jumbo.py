"""MTU 9000 where no XDP takes part, frames beyond the port's MTU, and what keeps jumbo frames away from XDP.

This kernel may be one that frames of several buffers can panic (host/kernel.py), so the daemon here refuses XDP above MTU
3502 whatever the kernel, and no frame of these tests is longer than 3,520 bytes while an XDP program is on its way. Jumbo
by XDP is tested in virtual machines only.
"""

import itertools
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from sriov_xdp.lab import programs
from sriov_xdp.lab import traffic as frames
from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, run, wait_until

HOSTS = {"auto1": 1, "tcx1": 2, "tcx2": 3, "wire": 99}
MODES = {"auto1": "auto", "tcx1": "tcx", "tcx2": "tcx"}
SMALL_BYTES = 1500


class Scene:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        wire, self.uplink = lab.wire(9000)
        self.ends: dict[str, Namespace] = {"wire": wire, **{name: lab.namespace(name) for name in MODES}}
        guests = [{"guest": self.ends[name].name, "port_group": "lan", "datapath": mode} for name, mode in MODES.items()]
        self.config = host_config(self.uplink, guests, [{"name": "lan", "vlan": "none"}], mtu=9000)
        self.daemon: Daemon = lab.daemon(self.config, "--jumbo-xdp", "refuse")
        for name, host in HOSTS.items():
            self.ends[name].address(host, self.device(name))

    @staticmethod
    def device(name: str) -> str:
        return "w0" if name == "wire" else "eth0"

    def apply(self, mtu_bytes: int, **adapter: str) -> tuple[int, str]:
        self.config["switches"][0]["mtu"] = mtu_bytes
        self.config["guests"][0]["adapters"][0].update(adapter)
        path = self.daemon.folder / "mtu.yaml"
        path.write_text(yaml.safe_dump(self.config))
        done = self.daemon.command("apply", "-f", str(path))
        return done.returncode, done.stderr

    def auto(self) -> dict[str, str]:
        datapath = self.daemon.vf_of(self.ends["auto1"].name)["datapath"]
        return {"active": datapath["active"], "reason": datapath["reason"]}

    def representor_mtu_bytes(self, name: str) -> int:
        device = self.daemon.vf_of(self.ends[name].name)["representor"]
        return int(run("cat", f"/sys/class/net/{device}/mtu"))


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab("jb") as lab:
        yield Scene(lab)


@pytest.mark.parametrize(("sender", "receiver"), list(itertools.permutations(HOSTS, 2)))
def test_jumbo_frames_arrive_whole(scene: Scene, sender: str, receiver: str) -> None:
    one, two, address = scene.ends[sender], scene.ends[receiver], f"10.77.0.{HOSTS[receiver]}"
    payloads = [bytes([size % 251]) * size for size in (1472, 3464, 3465, 4096, 8000, 8972)]
    assert payloads == frames.send_udp(one, two, address, payloads)
    payload = bytes(range(256)) * 4000
    assert payload == frames.send_tcp(one, two, address, payload)


@pytest.mark.parametrize("sender", list(HOSTS))
def test_jumbo_broadcast_reaches_everybody_whole(scene: Scene, sender: str) -> None:
    names = list(HOSTS)
    with frames.tapped(*((scene.ends[name], scene.device(name)) for name in names)) as taps:
        by_name = dict(zip(names, taps, strict=True))
        payload = bytes(range(1, 256)) * 35 + sender.encode()
        sent = frames.frame(frames.BROADCAST, scene.ends[sender].mac(scene.device(sender)), payload)
        by_name[sender].send(sent)
        assert {name: [sent] for name in names if name != sender} == {
            name: by_name[name].seen(payload=payload) for name in names if name != sender
        }


def test_a_guest_that_raises_its_mtu_gains_nothing(scene: Scene) -> None:
    guest, target = scene.ends["tcx1"], scene.ends["tcx2"]
    guest.ip("link", "set", "eth0", "mtu", "12000")
    address = scene.daemon.vf_of(guest.name)["address"]
    before = scene.daemon.ask("vf", "show", address)["drops"].get("oversize", 0)
    with frames.tapped((guest, "eth0"), (target, "eth0")) as (tap, seen):
        largest = frames.frame(target.mac(), guest.mac(), b"\1" * 8995 + b"fits!")
        tap.send(largest, frames.frame(target.mac(), guest.mac(), b"\1" * 8996 + b"large"))
        assert [largest] == seen.seen(payload=b"fits!")
        assert seen.seen(payload=b"large", seconds=0.1) == []
    guest.ip("link", "set", "eth0", "mtu", "9000")
    assert before + 1 == scene.daemon.ask("vf", "show", address)["drops"]["oversize"]


def test_no_veth_above_3502_runs_xdp(scene: Scene) -> None:
    address = scene.daemon.vf_of(scene.ends["auto1"].name)["address"]
    assert {"name": "pf0", "xdp": "none"} == {key: scene.daemon.ask("pf", "show", "pf0")[key] for key in ("name", "xdp")}
    refused = scene.daemon.command("vf", "set", address, "--datapath", "xdp")
    assert (4, True) == (refused.returncode, "MTU 9000 is above 3502" in refused.stderr)
    code, text = scene.apply(9000, datapath="xdp")
    assert (1, True) == (code, "MTU 9000 is above 3502" in text)
    scene.apply(9000, datapath="auto")


def test_a_live_change_of_mtu_takes_xdp_off_before_it_lets_long_frames_in(scene: Scene) -> None:
    """At 1500 the guest's own program makes the port an XDP port; at 9000 it is tc's, and back."""
    run("ip", "link", "set", scene.uplink, "mtu", "1500")
    assert (0, "") == scene.apply(SMALL_BYTES)
    wait_until(lambda: scene.daemon.ask("pf", "show", "pf0")["xdp"] == "native", "the uplink runs XDP at its small MTU")
    with programs.attached(scene.ends["auto1"], "eth0", programs.constant(programs.XDP_PASS)):
        wait_until(lambda: scene.auto()["active"] == "xdp", "the port follows the guest's program")
        run("ip", "link", "set", scene.uplink, "mtu", "9000")
        wait_until(lambda: scene.daemon.ask("pf", "show", "pf0")["xdp"] == "none", "the uplink left XDP")
        assert (0, "") == scene.apply(9000)
        reason = "auto: no XDP: MTU 9000 is above 3502 and --jumbo-xdp refuse says so"
        assert {"active": "tcx", "reason": reason} == scene.auto()
        assert 9000 == scene.representor_mtu_bytes("auto1")
        run("ip", "link", "set", scene.uplink, "mtu", "1500")
        assert (0, "") == scene.apply(SMALL_BYTES)
        assert {"active": "xdp", "reason": "auto: the guest runs an XDP program"} == scene.auto()
        assert SMALL_BYTES == scene.representor_mtu_bytes("auto1")


def test_the_representors_mtu_is_put_back_when_somebody_raises_it(scene: Scene) -> None:
    """It is what keeps a guest that raised its own MTU from sending longer frames."""
    assert (0, "") == scene.apply(SMALL_BYTES)
    device = scene.daemon.vf_of(scene.ends["tcx1"].name)["representor"]
    run("ip", "link", "set", device, "mtu", "3000")
    wait_until(lambda: scene.representor_mtu_bytes("tcx1") == SMALL_BYTES, "the representor's MTU is back")


def runs_xdp(device: str) -> bool:
    return "xdp" in json.loads(run("ip", "-j", "-d", "link", "show", device))[0]


@pytest.mark.parametrize("how", ["by hand", "by the file"])
def test_an_mtu_that_is_raised_while_the_daemon_is_away_finds_no_xdp(scene: Scene, how: str) -> None:
    run("ip", "link", "set", scene.uplink, "mtu", "9000")
    assert (0, "") == scene.apply(SMALL_BYTES, datapath="xdp")
    device = scene.daemon.vf_of(scene.ends["auto1"].name)["representor"]
    assert runs_xdp(device)
    scene.daemon.kill()
    if how == "by hand":
        run("ip", "link", "set", device, "mtu", "9000")
    else:
        scene.config["switches"][0]["mtu"] = 9000
        scene.config["guests"][0]["adapters"][0]["datapath"] = "auto"
        scene.daemon.config_file.write_text(yaml.safe_dump(scene.config))
    scene.daemon.start()
    expected = (SMALL_BYTES, True) if how == "by hand" else (9000, False)
    assert expected == (scene.representor_mtu_bytes("auto1"), runs_xdp(device))
    assert (0, "") == scene.apply(SMALL_BYTES, datapath="auto")


def test_a_guest_that_hides_its_interface_gets_no_long_frames_into_xdp(scene: Scene) -> None:
    """Its port was not in service yet, as the guest end could not be reached, but had its program."""
    guest, inner = scene.ends["auto1"], scene.lab.namespace("inner")
    run("ip", "link", "set", scene.uplink, "mtu", "9000")
    assert (0, "") == scene.apply(SMALL_BYTES, datapath="xdp")
    device = scene.daemon.vf_of(guest.name)["representor"]
    guest.ip("link", "set", "eth0", "netns", inner.name)
    try:
        scene.daemon.stop()
        scene.daemon.start()
        seen = run_beside(
            lambda: scene.apply(9000, datapath="auto"), lambda: (scene.representor_mtu_bytes("auto1"), runs_xdp(device))
        )
        assert [] == [one for one in seen if one == (9000, True)]
        assert (9000, False) == (scene.representor_mtu_bytes("auto1"), runs_xdp(device))
    finally:
        inner.ip("link", "set", "eth0", "netns", guest.name)
        guest.address(HOSTS["auto1"])
        assert (0, "") == scene.apply(SMALL_BYTES)


def run_beside(work: Callable[[], object], look: Callable[[], tuple[int, bool]]) -> list[tuple[int, bool]]:
    """What is seen all the while."""
    with ThreadPoolExecutor() as pool:
        done, seen = pool.submit(work), []
        while not done.done():
            seen.append(look())
        done.result()
    return seen


def test_the_hosts_ipv6_stays_off_where_an_mtu_crosses_1280(scene: Scene) -> None:
    """Below it the kernel forgets how IPv6 was on a device, and begins anew above."""
    device = scene.daemon.vf_of(scene.ends["tcx1"].name)["representor"]
    for mtu_bytes in (1000, SMALL_BYTES):
        assert (0, "") == scene.apply(mtu_bytes)
    for mtu_bytes in (1200, SMALL_BYTES):
        run("ip", "link", "set", scene.uplink, "mtu", str(mtu_bytes))
    for silent in (device, scene.uplink):
        wait_until(
            lambda silent=silent: run("sysctl", "-n", f"net.ipv6.conf.{silent}.disable_ipv6").strip() == "1", f"{silent} is silent"
        )
        assert "" == run("ip", "-6", "addr", "show", "dev", silent)
    run("ip", "link", "set", scene.uplink, "mtu", "9000")
