"""The text of a scrape: prometheus-client renders it; what many VFs say and rarely change is kept as text between scrapes.

Rendering is most of a scrape's time. So the lines of a VF in a family of that kind are rendered again only when what they say
is another. Lives in the writer thread; steps() lets mailbox requests in between.
"""

import gc
from collections.abc import Generator, Hashable, Iterator, Mapping
from contextlib import contextmanager

from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from sriov_xdp.api.metrics import PfCollector, VfFamily
from sriov_xdp.pf.service import PfService

_HEADER_LINES = 2  # HELP and TYPE


class _Single(Collector):
    """A family as something that can be rendered."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterator[Metric]:
        """The one family."""
        yield self._family


def _text_of(family: Metric) -> str:
    return generate_latest(_Single(family)).decode()


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Thousands of short-lived samples and no cycles: nothing for the garbage collector to find, and much to look at."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Exposition:
    """What is kept between scrapes. refused: counted by the API."""

    def __init__(self, service: PfService, refused: Mapping[tuple[str, str], int]) -> None:
        self._service = service
        self._refused = refused
        self._lines: dict[str, dict[str, tuple[Hashable, str]]] = {}  # family → VF → what it says, its lines

    def steps(self) -> Generator[None, None, bytes]:
        """Work for the writer, a family a step; its result is the text."""
        parts: list[str] = []
        for family in PfCollector(self._service, self._refused).families():
            with _collector_paused():
                parts.append(self._kept(family) if isinstance(family, VfFamily) else _text_of(family))
            yield
        return "".join(parts).encode()

    def _kept(self, family: VfFamily) -> str:
        before, now = self._lines.get(family.name, {}), {}
        for vf, state in family.states.items():
            kept = before.get(vf)
            if kept is None or kept[0] != state:
                kept = (state, _text_of(family.samples(vf)).split("\n", _HEADER_LINES)[_HEADER_LINES])
            now[vf] = kept
        self._lines[family.name] = now
        return _text_of(family.header()) + "".join(lines for _state, lines in now.values())
