"""The loaded programs, and the network of cast.py in their maps before each test."""

from collections.abc import Callable, Iterator

import cast
import programs
import pytest

from sriov_xdp.datapath.model import Fate

Judge = Callable[[int, bytes], Fate | None]


@pytest.fixture(scope="session")
def loaded() -> Iterator[programs.Switch]:
    with programs.loaded() as switch:
        yield switch


@pytest.fixture
def switch(loaded: programs.Switch) -> programs.Switch:
    loaded.install(cast.NETWORK)
    return loaded


@pytest.fixture(params=["xdp", "tc"])
def judge(request: pytest.FixtureRequest, switch: programs.Switch) -> Judge:
    """What becomes of a frame: by the XDP program, and by the tc program."""
    return switch.xdp if request.param == "xdp" else switch.tc
