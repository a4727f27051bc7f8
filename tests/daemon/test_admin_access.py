"""Who may speak to the daemon, and what stands in its folders: the file system says who, no name but a path leads there, nothing
else is followed or written over, and what people call things does not get into the way of those who read numbers."""

import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from mailbox_wire import GET_STATS, OK, RawMailbox
from prometheus_client.parser import text_string_to_metric_families

from sriov_xdp.host.namespaces import NAMED
from sriov_xdp.lab.host import Daemon, Lab, LabError, Namespace, host_config, run

ROOT = Path(__file__).resolve().parents[2]
NOBODY, OPERATORS = 65534, 64321
GROUPS = [{"name": "lan"}, {"name": "other"}]
SCRAPES = 100
_LISTENS = 1 << 16  # __SO_ACCEPTCON, as /proc/net/unix shows it


class Scene:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.one: Namespace = lab.namespace("one")
        self.uplink = lab.device('"\\}u')
        run("ip", "link", "add", self.uplink, "type", "veth", "peer", "name", "w0", "netns", lab.namespace("w").name)
        run("ip", "link", "set", self.uplink, "up")
        self.config = host_config(self.uplink, [{"guest": self.one.name, "port_group": "lan"}], GROUPS)
        self.daemon: Daemon = lab.daemon(self.config)
        for folder in (lab.folder, self.daemon.folder):
            folder.chmod(0o755)

    @property
    def socket(self) -> Path:
        return self.daemon.run_dir / "admin.sock"

    def command(
        self, *arguments: str, groups: tuple[int, ...] = (), before: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        """As somebody who is in these groups."""
        command = [*before, *self.daemon.program, "--run-dir", str(self.daemon.run_dir), *arguments]
        who = {} if before else {"user": NOBODY, "group": NOBODY, "extra_groups": groups}
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", timeout=60, **who)

    def give(self, *paths: Path, group: int) -> None:
        for path in paths:
            os.chown(path, 0, group)


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab("aa") as lab:
        yield Scene(lab)


def test_who_is_not_in_the_group_is_refused_by_the_kernel(scene: Scene) -> None:
    """By the folder, and by the socket where only the folder is open."""
    sentence = f"{scene.socket}: permission denied; run as root or as a member of the socket's group"
    for opened in ((), (scene.daemon.run_dir,)):
        scene.give(*opened, group=OPERATORS)
        for command in (("vf", "list"), ("vf", "set", "pf0vf0", "--link-state", "disable")):
            done = scene.command(*command, groups=(OPERATORS,))
            assert (6, "") == (done.returncode, done.stdout)
            assert sentence in done.stderr
    assert "auto" == scene.daemon.ask("vf", "show", "pf0vf0")["link_state"]


def test_who_is_in_the_group_may_all_and_is_named_in_the_audit(scene: Scene) -> None:
    scene.give(scene.daemon.run_dir, scene.socket, group=OPERATORS)
    try:
        listed = scene.command("vf", "list", "-j", groups=(OPERATORS,))
        assert (0, scene.daemon.ask("vf", "list")) == (listed.returncode, json.loads(listed.stdout)), listed.stderr
        done = scene.command("vf", "set", "pf0vf0", "--link-state", "disable", groups=(OPERATORS,))
        assert 0 == done.returncode, done.stderr
        assert NOBODY == scene.daemon.ask("audit", "list", "--limit", "1")[0]["peer"]["uid"]
    finally:
        scene.give(scene.daemon.run_dir, scene.socket, group=0)
        scene.daemon.ask("vf", "set", "pf0vf0", "--link-state", "auto")


def test_in_the_hosts_network_but_not_in_its_folders_nobody_finds_it(scene: Scene) -> None:
    """As a container with the host's network; root there."""
    hidden = (
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        f'mount -t tmpfs none {scene.daemon.run_dir} && exec "$@"',
        "sh",
    )
    done = scene.command("vf", "list", before=hidden)
    assert (6, True) == (done.returncode, "daemon: not reachable" in done.stderr), done.stderr
    assert [] == [name for name, flags in abstract_sockets(scene.daemon.process.pid).items() if flags & _LISTENS]


def abstract_sockets(pid: int) -> dict[str, int]:
    """Of a process, in the host's network namespace: name → flags."""
    own = {path.readlink().name for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_socket()}
    rows = [line.split() for line in Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]]
    return {row[7]: int(row[3], 16) for row in rows if f"socket:[{row[6]}]" in own and row[7:] and row[7].startswith("@")}


@pytest.mark.parametrize("place", ["admin.sock", "lock", "state.db"])
def test_a_link_to_somebody_elses_file_leads_nowhere(scene: Scene, tmp_path: Path, place: str) -> None:
    """What it leads to keeps content and mode, and the start is refused with a sentence."""
    theirs = tmp_path / "theirs"
    theirs.write_text("dear")
    theirs.chmod(0o644)
    daemon = Daemon(tmp_path, Path("/sys/fs/bpf") / scene.lab.name(f"l{place[0]}"), host_config(None, [], GROUPS))
    folder = daemon.run_dir if place == "admin.sock" else daemon.state_dir
    folder.mkdir()
    (folder / place).symlink_to(theirs)
    try:
        with pytest.raises(LabError):
            daemon.start()
        assert ("dear", 0o644) == (theirs.read_text(), theirs.stat().st_mode & 0o777)
        assert (True, False) == (daemon.process.returncode > 0, "Traceback" in daemon.log()), daemon.log()
        assert place in daemon.log()
    finally:
        (folder / place).unlink()
        daemon.teardown()


def test_a_link_to_somebody_elses_socket_gives_way(scene: Scene, tmp_path: Path) -> None:
    """As a socket that a killed daemon left does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "theirs"))
        listener.listen()
        scene.daemon.kill()
        scene.socket.unlink(missing_ok=True)
        scene.socket.symlink_to(tmp_path / "theirs")
        scene.daemon.start()
        assert (False, True) == (scene.socket.is_symlink(), (tmp_path / "theirs").is_socket())
    assert scene.daemon.ask("vf", "list")


def test_of_two_configurations_at_the_same_time_one_holds_whole(scene: Scene) -> None:
    """Each is there afterwards, or was refused as a conflict with the other; never some of each."""
    names = ("first", "second")
    for _round in range(3):
        running = {}
        for name in names:
            wanted = json.loads(json.dumps(scene.config))
            wanted["switches"][0]["port_groups"] += [{"name": f"{name}{number}"} for number in range(20)]
            path = scene.lab.folder / f"{name}.yaml"
            path.write_text(yaml.safe_dump(wanted))
            command = [*scene.daemon.program, "--run-dir", str(scene.daemon.run_dir), "apply", "--yes", "-f", str(path)]
            running[name] = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        errors = {name: process.communicate(timeout=60)[1] for name, process in running.items()}
        done = [name for name in names if running[name].returncode == 0]
        for name in set(names) - set(done):
            assert (5, True) == (running[name].returncode, "another configuration is being applied" in errors[name])
        groups = {group["name"] for group in scene.daemon.ask("export")["switches"][0]["port_groups"]}
        assert groups in [{"lan", "other", *(f"{name}{number}" for number in range(20))} for name in done]


def scraped(port: int, header: bytes = b"") -> str:
    """What comes of a scrape."""
    try:
        with socket.create_connection(("127.0.0.1", port), 60) as connection:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n" + header + b"\r\n")
            answer = b""
            while chunk := connection.recv(1 << 16):
                answer += chunk
    except ConnectionError:
        return "cut off"
    if not answer:
        return "cut off"
    if answer.split()[1] == b"200" and not answer.rstrip().splitlines()[-1].startswith(b"sriovxdp_build_info"):
        return "half"
    return answer.split()[1].decode()


def test_a_hundred_scrapes_at_once_keep_no_guest_waiting(scene: Scene) -> None:
    """Each is answered whole, or turned away."""
    outcomes: list[str] = []
    port = scene.daemon.metrics_port
    threads = [threading.Thread(target=lambda: outcomes.append(scraped(port))) for _number in range(SCRAPES)]
    with RawMailbox(scene.one, "pf0vf0") as mailbox:
        for thread in threads:
            thread.start()
        answered = 0
        while any(thread.is_alive() for thread in threads) or answered < SCRAPES:
            assert OK == mailbox.ask(GET_STATS, mailbox.vsi.to_bytes(2, "little") + bytes(10))[0]
            answered += 1
    for thread in threads:
        thread.join()
    assert (SCRAPES, True) == (len(outcomes), {"200"} <= set(outcomes) <= {"200", "503", "cut off"}), set(outcomes)
    assert "200" == scraped(port)


def test_a_header_of_a_megabyte_is_refused(scene: Scene) -> None:
    assert scraped(scene.daemon.metrics_port, b"X-A: " + b"b" * (1 << 20) + b"\r\n") in ("400", "cut off")
    assert "200" == scraped(scene.daemon.metrics_port)


@pytest.mark.parametrize(
    "name", ['q"uote', "back\\slash\\n", "new\nline", 'a"} 1\nfoo{b="', "carriage\rreturn", "brace}{", "\x1b[7m", "ünï"]
)
def test_whatever_a_guest_is_called_the_exposition_is_valid(scene: Scene, name: str) -> None:
    """Refused, or shown as it is called; the uplink has a name of that kind, too."""
    place = scene.lab.adopt(scene.lab.name("odd"))
    done = scene.daemon.command("vf", "attach", "--guest", name, "--netns", place.name, "--port-group", "lan", "-j")
    text = scene.daemon.metrics()
    guests = {sample.labels["guest"] for sample in samples(text) if sample.name == "sriovxdp_vf_info"}
    if done.returncode:
        assert (2, "", {scene.one.name}) == (done.returncode, done.stdout, guests)
        assert not any(character in done.stderr.rstrip("\n") for character in "\n\r\x1b")
        assert not (NAMED / place.name).exists()
    else:
        assert {scene.one.name, name} == guests
        scene.daemon.ask("vf", "detach", json.loads(done.stdout)["address"])
    promtool = ROOT / ".tools/usr/bin/promtool"
    linted = subprocess.run([str(promtool), "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (0, "") == (linted.returncode, linted.stderr)


def samples(text: str) -> list:
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]
