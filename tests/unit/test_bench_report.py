"""What the benchmark makes of its measurements."""

from pathlib import Path

import pytest
from rich.console import Console

from sriov_xdp.bench import report, runner
from sriov_xdp.bench.statistics_of_pairs import estimate, order_of, ratios
from sriov_xdp.bench.targets import AT_LEAST, AT_MOST, TARGETS, Target, is_met


def results() -> runner.Results:
    made = runner.Results(host={"kernel": "6.18", "cpu": "a CPU", "cpus": "2", "python": "3.11"})
    made.values["TCP stream, 1 flow"] = {
        "cable": [10.0, 20.0, 30.0],
        "Linux bridge": [5.0, 10.0, 15.0],
        "bare redirect": [10.0, 20.0, 30.0],
        "vf auto": [9.0, 20.0, 33.0],
    }
    made.units["TCP stream, 1 flow"] = ("Gbit/s", False)
    made.values["TCP round trip, same CPU"] = {"cable": [5.0, 5.0], "bare redirect": [5.0, 5.0], "vf auto": [6.0, 6.0]}
    made.units["TCP round trip, same CPU"] = ("µs", True)
    made.single["cold start s"] = 4.0
    return made


def test_ratios_are_taken_within_a_round() -> None:
    """A drift of the whole machine leaves them alone."""
    assert [0.5, 0.5, 0.5] == ratios([5.0, 50.0, 500.0], [10.0, 100.0, 1000.0])


def test_interval_holds_the_median_and_is_the_same_every_time() -> None:
    data = [0.9, 1.0, 1.1, 1.2, 0.95, 1.05]
    found = estimate(data)
    assert found == estimate(data)
    assert found.low <= found.median <= found.high
    assert (1.025, 6) == (pytest.approx(found.median), found.count)


def test_every_other_round_runs_backwards() -> None:
    assert [["a", "b", "c"], ["c", "b", "a"], ["a", "b", "c"]] == [order_of(["a", "b", "c"], number) for number in range(3)]


@pytest.mark.parametrize(
    ("bound", "value", "wanted"), [(AT_LEAST, 0.97, True), (AT_LEAST, 0.96, False), (AT_MOST, 0.97, True), (AT_MOST, 0.98, False)]
)
def test_target_is_met_at_its_bound(bound: str, value: float, wanted: bool) -> None:
    assert wanted == is_met(Target(key="k", text="t", bound=bound, value=0.97), value)


def test_result_of_a_target_is_found_or_said_to_be_missing() -> None:
    measured = {target.text: report.value_of(results(), target) for target in TARGETS}
    by_text = {text: found and found[0] for text, found in measured.items()}
    assert 1.0 == by_text["VF ↔ VF TCP stream, auto, vs cable"]
    assert pytest.approx(1.2) == by_text["VF ↔ VF TCP round trip p50, auto, vs cable"]
    assert 4.0 == by_text["cold start"]
    assert by_text["scrape with 256 VFs"] is None


def test_a_block_in_which_the_reference_stood_still_is_left_out_and_the_rest_counts() -> None:
    made = results()
    made.values["TCP stream, 1 flow"]["cable"][1] = 0.0
    assert 2 == made.ratio("TCP stream, 1 flow", "vf auto", "cable").count
    by_text = {target.text: report.value_of(made, target) for target in TARGETS}
    assert pytest.approx(1.0) == (by_text["VF ↔ VF TCP stream, auto, vs cable"] or ())[0]


def test_a_reference_that_passes_nothing_is_none() -> None:
    made = results()
    made.values["wire to hairpin XDP guest"] = {"Linux bridge": [0.0, 0.0], "bare redirect": [3.0, 3.0], "vf auto": [2.7, 2.7]}
    made.units["wire to hairpin XDP guest"] = ("Mpps", False)
    assert "bare redirect" == made.reference_of("wire to hairpin XDP guest")
    assert "vs Linux bridge" not in runner.document(made)["workloads"]["wire to hairpin XDP guest"]["arms"]["vf auto"]


def test_report_names_missed_targets(tmp_path: Path) -> None:
    with (tmp_path / "report").open("w") as file:
        report.show(results(), Console(file=file, width=140))
    text = (tmp_path / "report").read_text()
    lines = {line.split("  ")[0]: line for line in text.splitlines()}
    assert "MISSED" in lines["cold start"]
    assert lines["VF ↔ VF TCP stream, auto, vs cable"].rstrip().endswith("too noisy to tell")
    assert lines["VF ↔ VF TCP stream, both on one CPU, auto, vs cable"].rstrip().endswith("not in this run")
    assert "not in this run" in lines["scrape with 256 VFs"]


def test_document_has_each_ratio_with_its_interval() -> None:
    arm = runner.document(results())["workloads"]["TCP stream, 1 flow"]["arms"]["vf auto"]
    assert {"median", "low", "high", "rounds"} == set(arm["vs cable"])
    assert pytest.approx(2.0) == arm["vs Linux bridge"]["median"]


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_picture_is_drawn(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"bench.{ending}"
    report.draw(results(), path)
    assert path.stat().st_size > 1000


@pytest.mark.parametrize(
    ("bound", "low", "high", "outcome"),
    [
        (AT_LEAST, 0.98, 1.0, "met"),
        (AT_LEAST, 0.90, 0.96, "MISSED"),
        (AT_LEAST, 0.96, 0.98, "too noisy to tell"),
        (AT_MOST, 0.90, 0.97, "met"),
        (AT_MOST, 0.98, 1.0, "MISSED"),
        (AT_MOST, 0.96, 0.98, "too noisy to tell"),
    ],
)
def test_an_interval_that_holds_the_bound_tells_nothing(bound: str, low: float, high: float, outcome: str) -> None:
    assert outcome == report.outcome_of(Target(key="k", text="t", bound=bound, value=0.97), low, high)
