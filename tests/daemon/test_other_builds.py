"""Builds that come after and before: an earlier one takes over again as a later one did, and what cannot be started is refused
before anything is touched: frames go on by the programs that are there."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from mailbox_wire import ADD_ETH, EXTRA, OK, RawMailbox
from neighbours import losing_nothing

from sriov_xdp.datapath import compiled, libbpf
from sriov_xdp.lab.host import Daemon, Lab, LabError, Namespace, host_config, run

ROOT = Path(__file__).resolve().parents[2]
GROUPS = [{"name": "lan", "policy": {"security": {"mac_changes": "accept"}}}]
FURTHER = "02:00:00:00:32:99"
REFUSED_BY_THE_VERIFIER = '\twhile (transit.slot != 7)\n\t\tasm volatile("" ::: "memory");\n'


class Scene:
    """one and two send to each other all the while; two was granted a further address."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.one: Namespace = lab.namespace("one")
        self.two: Namespace = lab.namespace("two")
        guests = [
            {"guest": self.one.name, "port_group": "lan", "datapath": "xdp"},
            {"guest": self.two.name, "port_group": "lan", "datapath": "tcx"},
        ]
        self.daemon: Daemon = lab.daemon(host_config(None, guests, GROUPS))
        self.daemon.settle()
        self.one.address(1)
        self.two.address(2)
        with RawMailbox(self.two, "pf0vf1") as mailbox:
            assert OK == mailbox.addresses(ADD_ETH, FURTHER, kind=EXTRA)

    def use(self, sources: Path | None) -> None:
        """Which build is started next; None: this one."""
        self.daemon.environment = {"PYTHONPATH": str(sources), "SRIOV_XDP_CACHE_DIR": str(sources / "cache")} if sources else {}

    def running(self) -> dict[str, int]:
        """Which programs the links run."""
        found = {}
        for pin in sorted((self.daemon.bpffs / "links").iterdir()):
            fd = libbpf.open_pin(pin)
            found[pin.name] = libbpf.link_info(fd).program_id
            os.close(fd)
        return found

    def builds(self) -> set[str]:
        return {path.parent.name for path in self.daemon.bpffs.glob("*/progs")}

    def devices(self) -> list[str]:
        representors = [vf["representor"] for vf in self.daemon.ask("vf", "list") if vf["guest"]]
        return [run("ip", "-d", "link", "show", device) for device in representors]

    def refused_start(self) -> str:
        """What it says; it does not become ready."""
        environment = {**os.environ, **self.daemon.environment}
        done = subprocess.run(self.daemon._command(), env=environment, capture_output=True, text=True, check=False, timeout=120)
        assert (True, False) == (done.returncode > 0, "Traceback" in done.stderr), done.stderr
        return done.stderr


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab("ob") as lab:
        yield Scene(lab)


@pytest.fixture(autouse=True)
def traffic(scene: Scene) -> Iterator[None]:
    """Not a frame is lost, whatever is started."""
    with losing_nothing((scene.one, scene.two, "10.77.0.2"), (scene.two, scene.one, "10.77.0.1")):
        yield


def product(folder: Path) -> Path:
    """A copy of it, to be changed."""
    shutil.copytree(ROOT / "sriov_xdp", folder / "sriov_xdp", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "bpf", folder / "bpf")
    return folder


def test_an_earlier_build_takes_over_again(scene: Scene, tmp_path: Path) -> None:
    """Which is told by its sources, whichever came first."""
    earlier, running = scene.builds(), scene.running()
    later = product(tmp_path)
    with (later / "bpf" / "xdp.c").open("a") as source:
        source.write("/* a later build */\n")
    scene.daemon.stop()
    scene.use(later)
    scene.daemon.start()
    scene.daemon.settle()
    assert (1, set()) == (len(scene.builds()), earlier & scene.builds())
    assert (list(running), set()) == (list(scene.running()), set(running.values()) & set(scene.running().values()))
    scene.daemon.stop()
    scene.use(None)
    scene.daemon.start()
    scene.daemon.settle()
    assert (earlier, list(running)) == (scene.builds(), list(scene.running()))
    assert [FURTHER] == scene.daemon.vf_of(scene.two.name)["filters"]


def test_the_state_of_a_later_version_is_refused_and_nothing_is_touched(scene: Scene) -> None:
    before = scene.running(), scene.devices(), scene.builds()
    version = set_version(scene, 99)
    assert "written by another version" in scene.refused_start()
    assert 99 == set_version(scene, version)
    scene.daemon.start()
    assert before == (scene.running(), scene.devices(), scene.builds())
    assert [FURTHER] == scene.daemon.vf_of(scene.two.name)["filters"]


def set_version(scene: Scene, version: int) -> int:
    """Of the state's tables, while nobody runs; which it was."""
    if scene.daemon.process.poll() is None:
        scene.daemon.stop()
    with closing(sqlite3.connect(scene.daemon.state_dir / "state.db")) as database:
        former = database.execute("PRAGMA user_version").fetchone()[0]
        database.execute(f"PRAGMA user_version={version}")
    return int(former)


def test_programs_that_the_kernel_refuses_are_told_of_in_its_words_and_the_old_ones_stay(scene: Scene, tmp_path: Path) -> None:
    before = scene.running(), scene.devices(), scene.builds()
    broken = product(tmp_path)
    source = broken / "bpf" / "xdp.c"
    head, entry, rest = source.read_text().partition("\treturn xdp_enter(ctx, &transit);\n")
    source.write_text(head + REFUSED_BY_THE_VERIFIER + entry + rest)
    scene.daemon.stop()
    scene.use(broken)
    with pytest.raises(LabError, match=r"program xdp_vf: the kernel refused it: .*infinite loop detected"):
        scene.daemon.start()
    assert 1 == scene.daemon.process.returncode
    scene.use(None)
    scene.daemon.start()
    assert before == (scene.running(), scene.devices(), scene.builds())


def test_no_headers_of_the_kernel_are_needed(tmp_path: Path) -> None:
    """Neither those that a distribution installs, nor a folder of its modules that leads to them."""
    script = 'for folder in /lib/modules /usr/src; do [ ! -d $folder ] || mount -t tmpfs none $folder || exit 1; done; exec "$@"'
    hidden = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]
    compiling = [sys.executable, "-P", "-m", "sriov_xdp.datapath.loader", "--compile", str(tmp_path)]
    done = subprocess.run([*hidden, *compiling], capture_output=True, text=True, check=False, timeout=120)
    assert 0 == done.returncode, done.stderr
    codes = compiled.find(compiled.file_of_build(tmp_path))
    assert codes is not None
    assert {"xdp_vf", "tc_vf"} <= set(codes)


def test_a_host_without_the_compiler_is_told_so_by_doctor(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "bcc.py").write_text("raise ImportError")
    command = [*scene.daemon.program, "--run-dir", str(scene.daemon.run_dir), "doctor"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("PROBLEM")]
    assert (1, True) == (done.returncode, "apt install python3-bpfcc" in done.stdout)
    assert ["bcc", "cannot", "be", "imported"] == line.split()[1:5]
