"""A throw-away host inside a machine, and the file that tells what was seen there. For job.py."""

import json
import sys
from pathlib import Path
from typing import Any

import yaml
from recipe import Place

from sriov_xdp.lab.host import Daemon, Lab, Namespace, host_config, run, wait_until
from sriov_xdp.lab.traffic import BROADCAST, frame, send_tcp, send_udp, tapped

_TCP_PAYLOAD = bytes(range(256)) * 4000
_BROADCAST_PAYLOAD = bytes(range(1, 256)) * 35


class Report:
    """The result file: written after each step, so that what came before a panic is known."""

    def __init__(self, path: Path) -> None:
        self._path, self._seen = path, dict[str, Any]()

    def put(self, step: str, value: Any) -> None:
        self._seen[step] = value
        self._path.write_text(json.dumps(self._seen))
        sys.stdout.write(f"{step}: {value}\n")
        sys.stdout.flush()


class Host:
    """A daemon with a wire and guests in these modes: 10.77.0.1 and on, in their order; the wire is .99."""

    def __init__(
        self, lab: Lab, modes: dict[str, str], mtu_bytes: int, *options: str, groups: dict[str, Any] | None = None
    ) -> None:
        """groups: VLANs of port groups beside lan, which guests of their names are in."""
        wire, self.uplink = lab.wire(mtu_bytes)
        self.places, vlans = {name: Place(lab.namespace(name)) for name in modes}, groups or {}
        guests = [
            {"guest": place.namespace.name, "port_group": name if name in vlans else "lan", "datapath": modes[name]}
            for name, place in self.places.items()
        ]
        port_groups = [{"name": "lan", "vlan": "none"}, *({"name": name, "vlan": vlan} for name, vlan in vlans.items())]
        self.config = host_config(self.uplink, guests, port_groups, mtu=mtu_bytes)
        self.daemon: Daemon = lab.daemon(self.config, *options)
        self.places["wire"] = Place(wire, "w0")
        self.hosts = {**{name: number for number, name in enumerate(modes, 1)}, "wire": 99}
        for name, host in self.hosts.items():
            self.namespace(name).address(host, self.places[name].device)

    def namespace(self, name: str) -> Namespace:
        return self.places[name].namespace

    def vf(self, name: str) -> dict[str, Any]:
        return self.daemon.vf_of(self.namespace(name).name)

    def paths(self) -> dict[str, str]:
        """Which programs are at work."""
        active = {vf["guest"]: vf["datapath"]["active"] for vf in self.daemon.ask("vf", "list") if vf["guest"]}
        found = {name: active[place.namespace.name] for name, place in self.places.items() if name != "wire"}
        return {**found, "uplink": self.daemon.ask("pf", "show", "pf0")["xdp"]}

    def until_active(self, name: str, mode: str) -> None:
        wait_until(lambda: self.vf(name)["datapath"]["active"] == mode, f"{name} is served by {mode}", seconds=20)

    def apply(self, mtu_bytes: int, **adapter: str) -> tuple[int, str]:
        """The configuration with another MTU, and another first adapter; exit code and words. The uplink follows the MTU."""
        run("ip", "link", "set", self.uplink, "mtu", str(mtu_bytes))
        self.config["switches"][0]["mtu"] = mtu_bytes
        self.config["guests"][0]["adapters"][0].update(adapter)
        path = self.daemon.folder / "changed.yaml"
        path.write_text(yaml.safe_dump(self.config))
        done = self.daemon.command("apply", "-f", str(path))
        return done.returncode, done.stderr

    def representor_mtu_bytes(self, name: str) -> int:
        return int(Path(f"/sys/class/net/{self.vf(name)['representor']}/mtu").read_text())

    def udp(self, sender: str, receiver: str, sizes: list[int]) -> list[int]:
        """Of payloads of these sizes, those that arrive as they were."""
        payloads = [bytes([size % 251]) * size for size in sizes]
        arrived = send_udp(self.namespace(sender), self.namespace(receiver), self._address(receiver), payloads)
        return [len(payload) for payload in arrived if payload in payloads]

    def tcp(self, sender: str, receiver: str) -> bool:
        """Whether a megabyte arrives as it was."""
        return send_tcp(self.namespace(sender), self.namespace(receiver), self._address(receiver), _TCP_PAYLOAD) == _TCP_PAYLOAD

    def _address(self, name: str) -> str:
        return f"10.77.0.{self.hosts[name]}"

    def broadcast(self, sender: str, payload_bytes: int = len(_BROADCAST_PAYLOAD)) -> list[str]:
        """Who gets a broadcast whole, and once; a jumbo one unless it is said."""
        names = list(self.places)
        sent = frame(BROADCAST, self.places[sender].mac, _BROADCAST_PAYLOAD[:payload_bytes] + sender.encode())
        with tapped(*((place.namespace, place.device) for place in self.places.values())) as taps:
            by_name = dict(zip(names, taps, strict=True))
            by_name[sender].send(sent)
            others = [name for name in names if name != sender]
            return [name for name in others if by_name[name].seen(payload=sent[14:], seconds=5) == [sent]]
