"""What a machine may do to this host, and what stays of it: nothing."""

from pathlib import Path

import pytest

from sriov_xdp.lab.machines import machine
from sriov_xdp.lab.machines.kernels import Kernel, MachineError

JOB = Path(__file__).with_name("job.py")


def processes_with(text: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if text in words:
            found.append(words)
    return found


def test_what_a_machine_writes_is_gone_with_it(fixed: Kernel, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("the host's")
    ended = machine.run(fixed, JOB, "write", str(kept), limit_seconds=300)
    assert (None, 0, {"before": "the host's", "after": "the machine's"}) == (ended.panic, ended.exit_code, ended.result), ended.log
    assert "the host's" == kept.read_text()


def test_a_job_that_fails_is_told(fixed: Kernel) -> None:
    ended = machine.run(fixed, JOB, "unheard_of", limit_seconds=300)
    assert (None, 1, None, True) == (ended.panic, ended.exit_code, ended.result, "KeyError: 'unheard_of'" in ended.log)


def test_a_machine_that_takes_too_long_leaves_nothing(fixed: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(MachineError, match="not done after 1 s"):
        machine.run(fixed, JOB, "standard_mtu", limit_seconds=1)
    assert ([], []) == (list(tmp_path.iterdir()), processes_with(str(tmp_path)))
