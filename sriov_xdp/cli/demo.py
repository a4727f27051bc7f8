"""`sriov-xdp demo`."""

import os
import sys

import click

from sriov_xdp.cli.output import console, ending_lab, fail


@click.command()
def demo() -> None:
    """Shows the main job on a throw-away host of namespaces, step by step; removes it afterwards."""
    if os.geteuid() != 0:
        fail(1, "demo: this needs root (network namespaces, BPF); run it as root, for example with sudo")
    from sriov_xdp.lab.demo import run_demo

    with ending_lab("demo"):
        sys.exit(run_demo(console(160)))
