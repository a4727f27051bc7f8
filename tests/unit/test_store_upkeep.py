"""The daemon's timer for the state: a fault that lasts is one line in the log."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from sriov_xdp.pf.hands.beside import Beside
from sriov_xdp.pf.hands.turns import finish
from sriov_xdp.pf.process.folders import Folders
from sriov_xdp.pf.process.service import PfService
from sriov_xdp.store.database import Database


@pytest.fixture
def service(tmp_path: Path) -> Iterator[PfService]:
    service = PfService(Folders(state_dir=tmp_path, run_dir=tmp_path / "run", bpffs=tmp_path / "bpf"))
    with closing(Database(tmp_path)) as database, closing(service.loop), closing(Beside()) as beside:
        service.context = SimpleNamespace(database=database, clock=lambda: 0.0, beside=beside)
        yield service


def test_a_checkpoint_that_fails_each_time_is_logged_once(
    service: PfService, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state.db").rename(tmp_path / "away")
    for _round in range(5):
        finish(service._checkpoint())
    assert 1 == len(caplog.messages)
    assert caplog.messages[0].startswith(f"state: checkpoint: {tmp_path}/state.db: state.db was removed or replaced")
    (tmp_path / "away").rename(tmp_path / "state.db")
    finish(service._checkpoint())
    assert 1 == len(caplog.messages)
