"""Text that is kept between scrapes says what a fresh rendering would."""

import pytest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import CollectorRegistry

from sriov_xdp.api.exposition import Exposition, Parts, _rendered
from sriov_xdp.api.metrics import VfFamily

LABELS = ("vf", "reason")


class Drops:
    """A family of drops by VF and reason, which counts how often a VF was rendered."""

    def __init__(self) -> None:
        self.counts: dict[str, tuple[int, int]] = {}
        self.rendered: list[str] = []

    def header(self) -> CounterMetricFamily:
        return CounterMetricFamily("drops", "Frames dropped.", labels=LABELS)

    def add(self, family: CounterMetricFamily, vf: str) -> None:
        for reason, count in zip(("oversize", 'a "quoted" one'), self.counts[vf], strict=True):
            family.add_metric((vf, reason), count)

    def samples(self, vf: str) -> CounterMetricFamily:
        self.rendered.append(vf)
        family = self.header()
        self.add(family, vf)
        return family

    def family(self) -> VfFamily:
        return VfFamily(name="drops", states=dict(self.counts), header=self.header, samples=self.samples)

    def collect(self) -> list[CounterMetricFamily]:
        family = self.header()
        for vf in self.counts:
            self.add(family, vf)
        return [family]

    def describe(self) -> list[CounterMetricFamily]:
        return []

    def fresh(self) -> str:
        registry = CollectorRegistry()
        registry.register(self)  # type: ignore[arg-type]
        return generate_latest(registry).decode()


@pytest.fixture
def drops() -> Drops:
    made = Drops()
    made.counts = {"pf0vf0": (0, 0), "pf0vf1": (3, 0)}
    return made


def kept(exposition: Exposition, drops: Drops) -> tuple[str, list[str]]:
    """One scrape's text, and which VFs were rendered for it."""
    drops.rendered.clear()
    return finished(exposition._kept(drops.family()))[0], list(drops.rendered)


def finished(parts: Parts) -> tuple[str, int]:
    """The text, and in how many steps it was made."""
    steps = 1
    while True:
        try:
            next(parts)
            steps += 1
        except StopIteration as end:
            return end.value, steps


def test_what_did_not_change_is_not_rendered_again(drops: Drops) -> None:
    exposition = Exposition(None, {})  # type: ignore[arg-type]
    assert (drops.fresh(), ["pf0vf0", "pf0vf1"]) == kept(exposition, drops)
    assert (drops.fresh(), []) == kept(exposition, drops)
    drops.counts["pf0vf1"] = (3, 1)
    assert (drops.fresh(), ["pf0vf1"]) == kept(exposition, drops)


def test_a_vf_that_goes_takes_its_text_along(drops: Drops) -> None:
    exposition = Exposition(None, {})  # type: ignore[arg-type]
    kept(exposition, drops)
    gone = drops.counts.pop("pf0vf0")
    assert (drops.fresh(), []) == kept(exposition, drops)
    drops.counts["pf0vf0"] = gone
    assert (drops.fresh(), ["pf0vf0"]) == kept(exposition, drops)


def test_thousands_of_samples_are_rendered_in_steps(drops: Drops) -> None:
    drops.counts = {f"pf0vf{number}": (number, 0) for number in range(1000)}
    family = drops.collect()[0]
    assert (drops.fresh(), 8) == finished(_rendered(family))
    exposition = Exposition(None, {})  # type: ignore[arg-type]
    assert (drops.fresh(), 63) == finished(exposition._kept(drops.family()))
    assert (drops.fresh(), 1) == finished(exposition._kept(drops.family()))
