"""`sriov-xdp demo`."""

import sys

import click

from sriov_xdp.cli.output import fail
from sriov_xdp.host.links import is_root


@click.command()
def demo() -> None:
    """Shows the main job on a throw-away host of namespaces, step by step; removes it afterwards."""
    if not is_root():
        fail(1, "demo: this needs root (network namespaces, BPF); run it as root, for example with sudo")
    from rich.console import Console

    from sriov_xdp.bench.demo import run_demo

    try:
        sys.exit(run_demo(Console(width=None if sys.stdout.isatty() else 160)))
    except KeyboardInterrupt:
        fail(130, "demo: interrupted; the throw-away host is removed")
