"""`sriov-xdp bench`."""

import os
from dataclasses import asdict
from pathlib import Path

import click

from sriov_xdp.cli.output import console, ending_lab, fail, json_option, show_json


@click.command()
@click.option("--quick", is_flag=True, help="Under a minute: fewer workloads, fewer rounds.")
@click.option("--picture", type=click.Path(path_type=Path), help="Draws the result as PNG or SVG.")
@click.option("--soak", type=float, help="Only watches the daemon's memory for so many seconds.")
@click.option(
    "--against",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="CHECKOUT",
    help="Only compares this build's plain paths with those of another checkout of it, in pairs.",
)
@click.option("--shaping", is_flag=True, help="Only measures how ports keep their rates, 1 Mbit/s to 1 Gbit/s; five minutes.")
@click.option("--prices", is_flag=True, help="Only measures what each feature costs a frame, against a plain port.")
@json_option
def bench(
    quick: bool, picture: Path | None, soak: float | None, against: Path | None, prices: bool, shaping: bool, as_json: bool
) -> None:
    """Measures this product against a cable, macvlan, the Linux bridge and a bare redirect, in pairs, on this machine.

    Everything lives in throw-away namespaces. Run it on an otherwise idle machine.
    """
    if os.geteuid() != 0:
        fail(1, "bench: this needs root (network namespaces, BPF); run it as root, for example with sudo")
    with ending_lab("bench"):
        if prices:
            _prices(as_json=as_json)
        elif shaping:
            _shaping(as_json=as_json)
        else:
            _bench(quick=quick, picture=picture, soak=soak, against=against, as_json=as_json)


def _shaping(*, as_json: bool) -> None:
    from sriov_xdp.bench import report, shaping

    found = list(shaping.measure("bns"))
    if as_json:
        show_json([asdict(row) for row in found])
    else:
        report.show_shaping(found, console(140))


def _prices(*, as_json: bool) -> None:
    from sriov_xdp.bench import prices, report

    found = prices.measure("bnp")
    if as_json:
        show_json([asdict(price) for price in found])
    else:
        report.show_prices(found, console(140))


def _bench(*, quick: bool, picture: Path | None, soak: float | None, against: Path | None, as_json: bool) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from sriov_xdp.bench import builds, control, report, runner

    if soak is not None:
        show_json(control.soak("bnk", soak))
        return
    plan = runner.QUICK if quick else runner.FULL
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("building", total=None)
        if against is not None:
            found = builds.compare(against.resolve(), plan, lambda name: bar.update(task, description=name))
        else:
            results = runner.run(plan, lambda name: bar.update(task, description=name))
    if against is not None:
        if as_json:
            show_json([asdict(row) for row in found])
        else:
            report.show_builds(found, console(140))
        return
    if picture:
        report.draw(results, picture)
    if as_json:
        show_json(runner.document(results))
    else:
        report.show(results, console(140))
