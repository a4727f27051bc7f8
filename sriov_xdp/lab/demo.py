"""`sriov-xdp demo`: the product's main job on a throw-away host, each step with its evidence.

A step is a function that prints what it saw and returns whether that is what must be. Exit 0 only when every step held.
"""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from sriov_xdp.lab.dhcp import DhcpServer, lease
from sriov_xdp.lab.host import Daemon, Lab, LabError, Namespace, entered, host_config, wait_until
from sriov_xdp.lab.traffic import BROADCAST, Stream, frame, send_tcp, send_udp, tapped
from sriov_xdp.mailbox import codec
from sriov_xdp.mailbox.messages import AddAddressList, AddressType, EtherAddress, GetResources, Opcode, Status, Version
from sriov_xdp.mailbox.sockets import abstract_name

NEW_MAC = "02:00:00:aa:bb:01"
MODES = {"vm1": "xdp", "vm2": "tcx", "vm3": "auto"}
HOSTS = {"vm1": 1, "vm2": 2, "vm3": 3, "wire": 99}
GROUPS: list[dict[str, Any]] = [
    {"name": "lan", "vlan": "none"},
    {"name": "web", "vlan": {"access": 100}},
    {"name": "db", "vlan": {"access": 200}},
    {"name": "open", "vlan": "none", "policy": {"security": {"mac_changes": "accept"}}},
    {"name": "told", "vlan": "none", "policy": {"deny_reply": "nack"}},
]
_PAYLOAD = bytes(range(256)) * 2000


@dataclass(slots=True)
class Stage:
    """The throw-away host of the demonstration."""

    lab: Lab
    console: Console
    wire: Namespace
    guests: dict[str, Namespace]
    daemon: Daemon

    def say(self, text: str) -> None:
        """A line of evidence."""
        self.console.print(f"   {text}", highlight=False, markup=False)

    def place(self, name: str) -> tuple[Namespace, str]:
        """A guest's interface, or the wire's."""
        return (self.wire, "w0") if name == "wire" else (self.guests[name], "eth0")

    def attach(self, name: str, group: str, mode: str = "auto") -> str:
        """A further guest; its VF."""
        if name not in self.guests:
            self.guests[name] = self.lab.namespace(name)
        options = ["--guest", self.guests[name].name, "--port-group", group, "--datapath", mode]
        return str(self.daemon.ask("vf", "attach", *options)["address"])


def _build(lab: Lab, console: Console) -> Stage:
    wire, uplink = lab.wire()
    guests = {name: lab.namespace(name) for name in MODES}
    adapters = [{"guest": guests[name].name, "port_group": "lan", "datapath": mode} for name, mode in MODES.items()]
    daemon = lab.daemon(host_config(uplink, adapters, GROUPS))
    stage = Stage(lab=lab, console=console, wire=wire, guests=guests, daemon=daemon)
    for name, host in HOSTS.items():
        namespace, device = stage.place(name)
        namespace.address(host, device)
    return stage


def step_attached(stage: Stage) -> bool:
    """Three guests have VFs of pf0, whose uplink is plugged into a wire"""
    for vf in stage.daemon.ask("vf", "list"):
        if vf["state"] == "attached":
            path = f"{vf['datapath']['mode']:>4} -> {vf['datapath']['active']}"
            stage.say(f"{vf['address']}  {vf['guest']:<14} {vf['interface']}  {vf['effective_mac']}  datapath {path}")
    return True


def step_traffic(stage: Stage) -> bool:
    """Every pair exchanges ping, ping6, TCP and UDP, in every mode"""
    held = True
    for sender in HOSTS:
        row = []
        for receiver, host in HOSTS.items():
            if sender == receiver:
                continue
            one, two = stage.place(sender)[0], stage.place(receiver)[0]
            address = f"10.77.0.{host}"
            is_ok = one.can_ping(address) and one.can_ping(f"fd77::{host}")
            is_ok = is_ok and send_tcp(one, two, address, _PAYLOAD) == _PAYLOAD
            is_ok = is_ok and send_udp(one, two, f"fd77::{host}", [b"hello", b"x" * 1400]) == [b"hello", b"x" * 1400]
            row.append(f"{receiver} {'ok' if is_ok else 'FAILED'}")
            held = held and is_ok
        stage.say(f"{sender:>4} -> {'   '.join(row)}")
    return held


def step_vlan(stage: Stage) -> bool:
    """VLANs: web (100) and db (200) do not see each other; the wire sees 802.1Q tags"""
    for name, group in (("web1", "web"), ("web2", "web"), ("db1", "db")):
        stage.attach(name, group, "xdp" if name == "web2" else "auto")
    names = ["web1", "web2", "db1", "vm1", "wire"]
    with tapped(*(stage.place(name) for name in names)) as taps:
        seen = dict(zip(names, taps, strict=True))
        sent = frame(BROADCAST, stage.guests["web1"].mac(), b"to all of web")
        seen["web1"].send(sent)
        arrived = {name: seen[name].seen(payload=b"to all of web", seconds=0.3) for name in names[1:]}
    on_wire = arrived["wire"][0][12:16].hex() if arrived["wire"] else "nothing"
    stage.say(f"web1 broadcasts -> web2 {len(arrived['web2'])}, db1 {len(arrived['db1'])}, vm1 {len(arrived['vm1'])} frames")
    stage.say(f"on the wire, bytes 12-15: {on_wire} (8100 = 802.1Q, 0064 = VLAN 100)")
    for name in ("web1", "web2", "db1"):
        stage.daemon.ask("vf", "detach", stage.daemon.vf_of(stage.guests[name].name)["address"])
    return (arrived["web2"], arrived["db1"], arrived["vm1"], on_wire) == ([sent], [], [], "81000064")


def step_story(stage: Stage) -> bool:
    """The reference's story: a guest changes its MAC, policy rejects it silently, a reset recovers"""
    vm = stage.guests["vm3"]
    admin_mac = stage.daemon.vf_of(vm.name)["admin_mac"]
    server = DhcpServer(stage.wire, "w0", stage.lab.folder)
    try:
        before = lease(vm, stage.lab.folder)
        stage.say(f"vm3 has MAC {admin_mac} and the lease {before}")
        answer = vm.vf("set-mac", NEW_MAC)
        status = vm.vf("status")
        stage.say(f"vm3 asks for {NEW_MAC}: the PF says {'success' if answer['accepted'] else 'no'}")
        stage.say(f"guest MAC {status['guest_mac']}, device MAC {status['device_mac']}: agree = {status['agree']}")
        stage.say(f"log: {_warning(stage)}")
        without = lease(vm, stage.lab.folder)
        stage.say(f"lease: {without}; drops of the port: {stage.daemon.vf_of(vm.name)['drops']}")
        reset = vm.vf("reset")
        after = lease(vm, stage.lab.folder)
        stage.say(f"reset -> MAC {reset['mac']}, lease {after}, ping: {vm.can_ping('10.77.0.99')}")
    finally:
        server.close()
    return (answer["accepted"], status["agree"], without, reset["mac"], bool(after)) == (True, False, None, admin_mac, True)


def _warning(stage: Stage) -> str:
    line = next(line for line in reversed(stage.daemon.log().splitlines()) if "refused by" in line)
    return line.partition('"message": "')[2].removesuffix('"}')


def step_other_policies(stage: Stage) -> bool:
    """The same request where policy accepts it, and where it refuses aloud"""
    held = True
    for group, wanted_status, outcome in (("open", Status.SUCCESS, "granted"), ("told", Status.ERR_ADMIN_QUEUE, "refused")):
        vf = stage.attach(f"vm-{group}", group)
        answer = stage.guests[f"vm-{group}"].vf("set-mac", NEW_MAC, check=False)
        shown = stage.daemon.ask("vf", "show", vf)
        records = stage.daemon.ask("audit", "list", "--vf", vf)
        record = next(record for record in reversed(records) if record["request"].startswith(f"add {NEW_MAC}"))
        stage.say(f"group {group}: status {answer['status']}, effective MAC {shown['effective_mac']}")
        stage.say(f"audit: {record['outcome']} by {record['rule']}")
        held = held and (answer["status"], record["outcome"]) == (wanted_status, outcome)
        held = held and (shown["effective_mac"] == NEW_MAC) == (outcome == "granted")
        stage.daemon.ask("vf", "detach", vf)
    return held


def step_impostor(stage: Stage) -> bool:
    """A guest cannot speak for another: not by socket, not by VSI, not by MAC"""
    impostor, victim = stage.guests["vm1"], stage.daemon.vf_of(stage.guests["vm2"].name)
    with entered(impostor), socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
        try:
            stranger.connect(abstract_name(victim["address"]))
            reached = "connected"
        except ConnectionRefusedError:
            reached = "connection refused"
    stage.say(f"vm1 opens the mailbox of {victim['address']}: {reached}")
    status = _forged_vsi(stage, impostor)
    stage.say(f"vm1 names another VF's VSI in its own mailbox: status {status}")
    before = stage.daemon.vf_of(impostor.name)["drops"]
    uplink_mac = stage.daemon.ask("pf", "show", "pf0")["mac"]
    with tapped((impostor, "eth0"), (stage.guests["vm3"], "eth0")) as (tap, target):
        for source in (victim["effective_mac"], uplink_mac, "02:66:66:66:66:66"):
            tap.send(frame(stage.guests["vm3"].mac(), source, b"impostor"))
        arrived = target.seen(payload=b"impostor", seconds=0.3)
    after = stage.daemon.vf_of(impostor.name)["drops"]
    grown = {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)}
    stage.say(f"vm1 sends as vm2, as the uplink and as a stranger: {len(arrived)} arrived, counted {grown}")
    return (reached, status, arrived) == ("connection refused", -5, []) and grown == {"spoof_mac": 2, "forged_source": 1}


def _forged_vsi(stage: Stage, guest: Namespace) -> int:
    with entered(guest):
        box = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with box:
        box.settimeout(5)
        box.connect(abstract_name(stage.daemon.vf_of(guest.name)["address"]))
        foreign = AddAddressList(vsi_id=2, addresses=(EtherAddress(mac=bytes(5) + b"\2", type=AddressType.PRIMARY),))
        for request in (Version(major=1, minor=1), GetResources(capabilities=1), foreign):
            box.send(codec.encode_request(request))
        while True:
            envelope = codec.split(box.recv(8192))
            if envelope and envelope.opcode == Opcode.ADD_ETH_ADDR:
                return envelope.status


def step_kill(stage: Stage) -> bool:
    """Kill -9 of the daemon under a stream: no frame lost; a new daemon adopts"""
    stream = Stream(stage.guests["vm1"], stage.guests["vm2"], "10.77.0.2")
    wait_until(lambda: stream.sent > 200, "the stream runs")
    stage.daemon.kill()
    gone_at = stream.sent
    wait_until(lambda: stream.sent > gone_at + 300, "frames go without a daemon")
    stage.daemon.start()
    back_at = stream.sent
    wait_until(lambda: stream.sent > back_at + 200, "frames go with the new daemon")
    lost = stream.stop()
    answer = stage.guests["vm3"].vf("status")
    stage.say(f"{stream.sent} datagrams sent, {len(lost)} lost; ready again after {stage.daemon.ready_seconds:.2f} s")
    stage.say(f"mailbox works again: vm3 agrees with its device = {answer['agree']}")
    return not lost and bool(answer["agree"])


def step_unplug(stage: Stage) -> bool:
    """A guest deletes its interface: the VF is free, and can be attached again"""
    guest = stage.guests["vm3"]
    vf = stage.daemon.vf_of(guest.name)["address"]
    guest.ip("link", "del", "eth0")
    wait_until(lambda: stage.daemon.ask("vf", "show", vf)["state"] == "free", "the VF is free")
    stage.say(f"{vf}: free; audit: {stage.daemon.ask('audit', 'list', '--vf', vf)[-1]['request']}")
    again = stage.attach("vm3", "lan")
    guest.address(3)
    pings = guest.can_ping("10.77.0.1")
    stage.say(f"attached again as {again}; ping vm1: {pings}")
    return pings


def step_metrics(stage: Stage) -> bool:
    """Prometheus sees all of it"""
    text = stage.daemon.metrics()
    families = ("vf_receive_packets", "vf_drops", "mailbox_requests", "policy_decisions")
    wanted = [f"sriovxdp_{family}_total" for family in families]
    for name in wanted:
        lines = [line for line in text.splitlines() if line.startswith(name) and not line.endswith(" 0.0")]
        for line in lines[:2]:
            stage.say(line)
    return all(name in text for name in wanted)


STEPS: tuple[Callable[[Stage], bool], ...] = (
    step_attached,
    step_traffic,
    step_vlan,
    step_story,
    step_other_policies,
    step_impostor,
    step_kill,
    step_unplug,
    step_metrics,
)


def run_demo(console: Console) -> int:
    """Runs every step; 0 when all held. Cleans up whatever happens."""
    started = time.monotonic()
    failed = []
    with Lab("demo") as lab:
        stage = _build(lab, console)
        for number, step in enumerate(STEPS, 1):
            console.print(f"\n[bold]{number}. {step.__doc__}[/bold]", highlight=False)
            held = False
            try:
                held = step(stage)
            except (LabError, OSError) as error:
                stage.say(f"fault: {error}")
            console.print(f"   [{'green' if held else 'red'}]{'held' if held else 'DID NOT HOLD'}[/]")
            if not held:
                failed.append(number)
    seconds = time.monotonic() - started
    verdict = f"steps {failed} did not hold" if failed else f"all {len(STEPS)} steps held"
    console.print(f"\n{verdict}, {seconds:.0f} s; the throw-away host is removed")
    return 1 if failed else 0
