"""The loaded programs, for all random networks of a session."""

from collections.abc import Iterator

import programs
import pytest


@pytest.fixture(scope="session")
def switch() -> Iterator[programs.Switch]:
    with programs.loaded() as switch:
        yield switch
