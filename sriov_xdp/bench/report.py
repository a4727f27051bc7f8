"""The benchmark's results for people: tables (rich), targets beside results, and a picture."""

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sriov_xdp.bench.arms import AUTO, BARE, BRIDGE, CABLE, NOISE, TCX, XDP
from sriov_xdp.bench.builds import Comparison
from sriov_xdp.bench.prices import Price
from sriov_xdp.bench.runner import Results
from sriov_xdp.bench.shaping import Kept
from sriov_xdp.bench.targets import TARGETS, Target, is_met

_PICTURE_ARMS = (NOISE, "macvlan", BRIDGE, BARE, TCX, XDP, AUTO)


def value_of(results: Results, target: Target) -> tuple[float, float, float] | None:
    """The result that a target is about, with the ends of its interval, which are the same where none is known; None when this run
    did not measure it."""
    if target.key in results.single:
        value = results.single[target.key]
        low, high = results.intervals.get(target.key, (value, value))
        return value, low, high
    workload, _, rest = target.key.partition("|")
    arm, _, reference = rest.partition("|")
    if workload not in results.values or not any(results.values[workload].get(reference, ())):
        return None
    found = results.ratio(workload, arm, reference)
    return found.median, found.low, found.high


def outcome_of(target: Target, low: float, high: float) -> str:
    """What an interval says of a bound; one that holds it says nothing."""
    outcomes = {is_met(target, value) for value in (low, high)}
    if len(outcomes) > 1:
        return "too noisy to tell"
    return "met" if outcomes == {True} else "MISSED"


def show(results: Results, console: Console) -> None:
    """All tables."""
    facts = results.host
    console.print(f"{facts['cpu']}, {facts['cpus']} CPUs, Linux {facts['kernel']}, Python {facts['python']}", highlight=False)
    for name, measured in results.values.items():
        console.print(_workload_table(results, name, measured))
    single = Table("single figures", "value", box=None, pad_edge=False)
    for key, value in results.single.items():
        single.add_row(key, f"{value:.3f}" if value < 10 else f"{value:.1f}")
    console.print(single)
    console.print(_target_table(results))
    console.print(f"took {results.took_seconds:.0f} s", highlight=False)


def show_shaping(rows: Iterable[Kept], console: Console) -> None:
    """A row a rate and mode. UDP and TCP in percent of the rate, by frames."""
    table = Table(
        "mode",
        "kbps",
        "UDP %",
        "TCP 1 %",
        "TCP 4 %",
        "worst 1 s",
        "at most",
        "ping lost %",
        "slowest ms",
        "free",
        box=None,
        pad_edge=False,
    )
    for row in rows:
        shares = (row.udp_percent, row.tcp_one_percent, row.tcp_four_percent)
        ratios = (row.worst_second, row.most_second)
        table.add_row(
            f"{row.mode}, {row.datapath}",
            str(row.kbps),
            *(f"{share:.1f}" for share in shares),
            *(f"{ratio:.2f}" for ratio in ratios),
            f"{row.ping_lost_percent:.0f}",
            f"{row.ping_worst_ms:.1f}",
            f"{row.unshaped:.0f} x",
        )
    console.print(table)


def show_prices(prices: Sequence[Price], console: Console) -> None:
    """A row a feature, with both hooks."""
    table = Table("feature", "tc ns", "vs plain", "95 %", "XDP ns", "vs plain", "95 %", box=None, pad_edge=False)
    by_hook = {hook: {price.feature: price for price in prices if price.hook == hook} for hook in ("tc", "xdp")}
    plain = [by_hook[hook][next(iter(by_hook[hook]))].off_ns for hook in by_hook]
    table.add_row("plain port", f"{plain[0]:.0f}", "", "", f"{plain[1]:.0f}", "", "")
    for feature in by_hook["tc"]:
        cells = []
        for of_hook in by_hook.values():
            price = of_hook[feature]
            interval = f"{price.ratio.low:.2f}-{price.ratio.high:.2f}"
            cells += [f"{price.on_ns:.0f}", f"{price.ratio.median:.2f}", interval]
        table.add_row(feature, *cells)
    console.print(table)


def _workload_table(results: Results, name: str, measured: dict[str, list[float]]) -> Table:
    unit, _is_time = results.units[name]
    reference = results.reference_of(name)
    columns = [name, unit, f"vs {reference}", "95 %", *([f"vs {BARE}"] if BARE in measured else [])]
    seconds = results.seconds.get(name)
    table = Table(*columns, *(["p99 / loss"] if seconds else []), box=None, pad_edge=False)
    for arm, column in measured.items():
        found = results.ratio(name, arm, reference)
        row = [arm, f"{statistics.median(column):.2f}", f"{found.median:.3f}", f"{found.low:.3f} - {found.high:.3f}"]
        if BARE in measured:
            row.append(f"{results.ratio(name, arm, BARE).median:.3f}")
        if seconds:
            row.append(f"{seconds[arm]:.3f}")
        table.add_row(*row)
    return table


def _target_table(results: Results) -> Table:
    table = Table("target", "bound", "result", "", box=None, pad_edge=False)
    for target in TARGETS:
        measured = value_of(results, target)
        bound = f"{target.bound} {target.value:g} {target.unit}"
        if measured is None:
            table.add_row(target.text, bound, "not in this run", "")
        else:
            remark = f" ({results.remarks[target.key]})" if target.key in results.remarks else ""
            value, low, high = measured
            outcome = outcome_of(target, low, high)
            style = "bold red" if outcome == "MISSED" else ""
            table.add_row(target.text, bound, f"{value:.3g} {target.unit}{remark}", Text(outcome, style))
    return table


def show_builds(found: list[Comparison], console: Console) -> None:
    """Another build beside this one. A change within the noise is none that this run can tell."""
    table = Table("this build, by the former", "change", "95 %", "noise", "95 %", box=None, pad_edge=False)
    for row in found:
        columns = (f"{part.median:.3f}|{part.low:.3f} - {part.high:.3f}" for part in (row.change, row.noise))
        table.add_row(row.workload, *(text for column in columns for text in column.split("|")))
    console.print(table)


def draw(results: Results, path: Path) -> None:
    """Bars of speed relative to the cable, with 95 % intervals; the kind of picture follows from the path's ending."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = [name for name, measured in results.values.items() if CABLE in measured]
    figure, axes = plt.subplots(figsize=(11, 0.62 * len(names) + 1.8))
    height = 0.8 / len(_PICTURE_ARMS)
    for place, arm in enumerate(_PICTURE_ARMS):
        bars, lows, highs, rows = [], [], [], []
        for row, name in enumerate(names):
            if arm not in results.values[name]:
                continue
            found = results.ratio(name, arm, CABLE)
            speeds = (found.median, found.low, found.high)
            if results.units[name][1]:
                speeds = (1 / found.median, 1 / found.high, 1 / found.low)
            bars.append(speeds[0])
            lows.append(speeds[0] - speeds[1])
            highs.append(speeds[2] - speeds[0])
            rows.append(row + (place - len(_PICTURE_ARMS) / 2 + 0.5) * height)
        axes.barh(rows, bars, height, xerr=[lows, highs], label=arm, error_kw={"linewidth": 0.8})
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("speed relative to a cable (a veth pair between the guests); more is better, times are inverted")
    axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=len(_PICTURE_ARMS), fontsize=8, frameon=False)
    axes.margins(y=0.01)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
