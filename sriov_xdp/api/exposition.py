"""The text of a scrape: prometheus-client renders it; what many VFs say and rarely change is kept as text between scrapes.

Rendering is most of a scrape's time. So the lines of a VF in a family of that kind are rendered again only when what they say
is another. Lives in the writer thread; steps() lets mailbox requests in between, after so many samples, as a host may have a
thousand VFs.
"""

import copy
import gc
from collections.abc import Generator, Hashable, Iterator, Mapping
from contextlib import contextmanager

from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from sriov_xdp.api.metrics import PfCollector, VfFamily
from sriov_xdp.pf.process.service import PfService

_HEADER_LINES = 2  # HELP and TYPE
_SAMPLES_A_STEP = 256
_VFS_A_STEP = 16
Parts = Generator[None, None, str]


class _Single(Collector):
    """A family as something that can be rendered."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterator[Metric]:
        """The one family."""
        yield self._family


def _text_of(family: Metric) -> str:
    with _collector_paused():
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
        """Work for the writer; its result is the text."""
        parts: list[str] = []
        for family in PfCollector(self._service, self._refused).families():
            text = yield from self._kept(family) if isinstance(family, VfFamily) else _rendered(family)
            parts.append(text)
            yield
        return "".join(parts).encode()

    def _kept(self, family: VfFamily) -> Parts:
        before, now = self._lines.get(family.name, {}), {}
        rendered = 0
        for vf, state in family.states.items():
            kept = before.get(vf)
            if kept is None or kept[0] != state:
                kept = (state, _without_header(_text_of(family.samples(vf))))
                rendered += 1
                if rendered % _VFS_A_STEP == 0:
                    yield
            now[vf] = kept
        self._lines[family.name] = now
        return _text_of(family.header()) + "".join(lines for _state, lines in now.values())


def _rendered(family: Metric) -> Parts:
    part = copy.copy(family)
    part.samples = family.samples[:_SAMPLES_A_STEP]
    text = _text_of(part)
    for start in range(_SAMPLES_A_STEP, len(family.samples), _SAMPLES_A_STEP):
        yield
        part.samples = family.samples[start : start + _SAMPLES_A_STEP]
        text += _without_header(_text_of(part))
    return text


def _without_header(text: str) -> str:
    return text.split("\n", _HEADER_LINES)[_HEADER_LINES]
