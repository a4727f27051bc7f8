"""`sriov-xdp daemon` and `sriov-xdp teardown`: the composition root."""

import gc
import logging
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from sriov_xdp.cli.output import DEFAULT_RUN_DIR, RUN_DIR_VARIABLE, ending_with_faults, fail
from sriov_xdp.logs import configure_logging

if TYPE_CHECKING:
    import socket

    from sriov_xdp.api.server import Server
    from sriov_xdp.host.kernel import JumboXdp
    from sriov_xdp.pf.process.folders import Folders
    from sriov_xdp.pf.process.service import PfService

DEFAULT_STATE_DIR = "/var/lib/sriov-xdp"
DEFAULT_CACHE_DIR = "/var/cache/sriov-xdp"
DEFAULT_BPFFS = "/sys/fs/bpf/sriov-xdp"
DEFAULT_METRICS = "127.0.0.1:9808"
# A start makes many objects and little garbage: looking for it seldom saves it a tenth of its time (measured; and memory, while
# not looking at all costs 3 MiB). Afterwards Python's default.
_OBJECTS_BETWEEN_LOOKS_AT_START, _OBJECTS_BETWEEN_LOOKS = 3000, 700
_log = logging.getLogger("sriov_xdp.daemon")
_PATH = click.Path(path_type=Path, readable=False)  # who may read it is found out by whoever reads it

_PLACES = [
    click.option("--state-dir", default=DEFAULT_STATE_DIR, show_default=True, type=_PATH),
    click.option(
        "--run-dir",
        default=None,
        help=f"[env var: {RUN_DIR_VARIABLE}; default: {DEFAULT_RUN_DIR}]",
        type=_PATH,
    ),
    click.option("--bpffs", default=DEFAULT_BPFFS, show_default=True, type=_PATH),
]


_cache_option = click.option(
    "--cache-dir",
    default=DEFAULT_CACHE_DIR,
    show_default=True,
    envvar="SRIOV_XDP_CACHE_DIR",
    show_envvar=True,
    type=_PATH,
    help="Compiled programs, so that a start after a reboot needs no compiler.",
)


def _with_folders(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_PLACES):
        command = option(command)
    return command


def _metrics_endpoint(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[str, int] | None:
    if value == "none":
        return None
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise click.BadParameter(f"{value!r}: expected ADDRESS:PORT, as in {DEFAULT_METRICS}, or none")
    return host.strip("[]"), int(port)


def _own_run_dir(run_dir: Path | None) -> Path:
    root = click.get_current_context().find_root()
    return run_dir or Path(root.params.get("run_dir") or DEFAULT_RUN_DIR)


@click.command()
@click.option("--config", "config_file", required=True, type=_PATH, help="Host configuration (YAML).")
@_with_folders
@_cache_option
@click.option("--metrics", default=DEFAULT_METRICS, show_default=True, callback=_metrics_endpoint, help="ADDRESS:PORT or none.")
@click.option(
    "--tc", type=click.Choice(["auto", "tcx", "clsact"]), default="auto", show_default=True, help="How tc programs attach."
)
@click.option(
    "--jumbo-xdp",
    type=click.Choice(["auto", "allow", "refuse"]),
    default="auto",
    show_default=True,
    help="XDP on veths above MTU 3502; auto: on kernels known to carry the page_pool fix, else a guest can panic the host.",
)
@click.option("--yes", is_flag=True, help="A changed file counts at the start also when it removes something.")
def daemon(
    config_file: Path,
    state_dir: Path,
    run_dir: Path | None,
    bpffs: Path,
    cache_dir: Path,
    metrics: tuple[str, int] | None,
    tc: str,
    jumbo_xdp: str,
    yes: bool,
) -> None:
    """Runs the PF controller in the foreground. Stopping it leaves traffic as it is."""
    gc.set_threshold(_OBJECTS_BETWEEN_LOOKS_AT_START)
    from sriov_xdp.api import config
    from sriov_xdp.host import descriptors
    from sriov_xdp.pf.process import start_file
    from sriov_xdp.pf.process.folders import Folders
    from sriov_xdp.pf.process.service import PfService

    _require_root("daemon")
    configure_logging()
    descriptors.raise_limit()
    use_tcx = {"auto": None, "tcx": True, "clsact": False}[tc]
    folders = Folders(state_dir=state_dir, run_dir=_own_run_dir(run_dir), bpffs=bpffs, cache_dir=cache_dir)
    with ending_with_faults():
        intent, fingerprint = config.load(config_file)
        service = PfService(folders, use_tcx=use_tcx, jumbo_xdp=_said_of_jumbo(jumbo_xdp))
        service.own()
        listeners = _listen(metrics)  # what is in the way is found before anything is done
        service.start({spec.key for spec in intent.adapters})
        service.context.started_with = str(config_file.resolve())
        start_file.take(service.context, intent, fingerprint, is_first_start=service.is_first_start, yes=yes)
        server = _start_server(service, folders, listeners)
    _serve(service)
    service.loop.abandon()
    server.close()
    service.close()


def _require_root(command: str) -> None:
    if os.geteuid() != 0:
        fail(1, f"{command}: this needs root (programs, devices, namespaces); run it as root, for example with sudo")


def _said_of_jumbo(option: str) -> "JumboXdp | None":
    """None: nothing was said, so the kernel's version decides."""
    from sriov_xdp.host.kernel import JumboXdp

    if option == "auto":
        return None
    return JumboXdp(is_allowed=option == "allow", because=f"--jumbo-xdp {option} says so")


def _listen(metrics: tuple[str, int] | None) -> "list[socket.socket]":
    """For scrapes. Raises Conflict."""
    from sriov_xdp.api.server import listen

    return listen(*metrics) if metrics else []


def _start_server(service: "PfService", folders: "Folders", listeners: "list[socket.socket]") -> "Server":
    from sriov_xdp.api.exposition import Exposition
    from sriov_xdp.api.server import Endpoints, Server
    from sriov_xdp.pf.process.folders import ADMIN_SOCKET

    endpoints = Endpoints(admin_socket=folders.run_dir / ADMIN_SOCKET, metrics=listeners)
    refused: Counter[tuple[str, str]] = Counter()
    server = Server(endpoints, service.context, service.loop.submit, Exposition(service, refused).steps, refused)
    server.start()
    return server


def _serve(service: "PfService") -> None:
    from sriov_xdp.host import systemd

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        service.loop.stop()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    sys.setswitchinterval(0.0005)  # a scrape in the other thread must not hold up a mailbox for 5 ms
    gc.collect()
    gc.freeze()  # what is there at the start stays; looking through it again and again is a mailbox's worst case
    gc.set_threshold(_OBJECTS_BETWEEN_LOOKS)
    count = len(service.context.inventory.vfs)
    systemd.notify(f"READY=1\nSTATUS={count} VFs attached")
    _log.info("ready: %d VFs attached, tc by %s", count, "tcx links" if service.context.hooks.has_tcx else "clsact filters")
    service.loop.run()
    systemd.notify("STOPPING=1")
    _log.info("stopping; the data path stays as it is")


@click.command()
@_with_folders
@click.option("-f", "--file", type=_PATH, help="Host configuration or an export: policy, uplinks, groups.")
@click.option("--yes", is_flag=True, help="Also when the state is sound, which then goes aside.")
def recover(state_dir: Path, run_dir: Path | None, bpffs: Path, file: Path | None, yes: bool) -> None:
    """Rebuilds a state that is lost from devices, maps and marks, and from a configuration; guests notice nothing.

    For a stopped daemon whose start says that guests are served and the state is not there. What is damaged is kept aside.
    """
    _require_root("recover")
    from sriov_xdp.api import config
    from sriov_xdp.pf.process.folders import Folders
    from sriov_xdp.pf.process.recover import recover as rebuild

    with ending_with_faults():
        wanted, fingerprint = config.load(file) if file else (None, "")
        folders = Folders(state_dir=state_dir, run_dir=_own_run_dir(run_dir), bpffs=bpffs)
        lines = rebuild(folders, wanted, fingerprint, is_meant=yes)
    for line in lines:
        click.echo(f"recovered {line}")
    if file is None:
        click.echo(
            "policy and overrides are not known to the data path: groups have the strict defaults now, but for what their ports"
            " use; uplink_loss, and a link_state that made no difference, are as by default"
        )


@click.command()
@_with_folders
@_cache_option
@click.option("--purge", is_flag=True, help="Also the state directory, with audit and history, and compiled programs.")
@click.option("--yes", is_flag=True, help="Does not ask on a terminal.")
def teardown(state_dir: Path, run_dir: Path | None, bpffs: Path, cache_dir: Path, purge: bool, yes: bool) -> None:
    """Removes all that a daemon made: programs, devices, namespaces it created, and pins. Guests lose their interfaces."""
    from sriov_xdp.pf.process.folders import Folders
    from sriov_xdp.pf.process.teardown import teardown as remove_all

    _require_root("teardown")
    if not yes and sys.stdin.isatty():
        click.confirm("teardown: all guests of this host lose their interfaces; go on?", abort=True)
    with ending_with_faults():
        folders = Folders(state_dir=state_dir, run_dir=_own_run_dir(run_dir), bpffs=bpffs, cache_dir=cache_dir)
        for line in remove_all(folders, purge=purge):
            click.echo(f"removed {line}")
