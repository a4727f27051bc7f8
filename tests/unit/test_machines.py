"""What makes virtual machines, as far as it needs none."""

import gzip
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sriov_xdp.lab.machines.initramfs import File, archive
from sriov_xdp.lab.machines.kernels import newest
from sriov_xdp.patience import patient

OFFERED = [
    "linux-image-amd64",
    "linux-image-6.1.0-56-amd64",
    "linux-image-6.12.100+deb12-amd64",
    "linux-image-6.12.113+deb12-amd64",
    "linux-image-6.12.113+deb12-cloud-amd64",
    "linux-image-6.12.117+deb12-amd64",
    "linux-image-6.12.117+deb12-amd64-unsigned",
    "linux-image-6.18.15+deb13-amd64",
]


@pytest.mark.parametrize(
    ("branch", "since", "before", "package"),
    [
        ((6, 12), 0, None, "linux-image-6.12.117+deb12-amd64"),
        ((6, 12), 115, None, "linux-image-6.12.117+deb12-amd64"),
        ((6, 12), 0, 115, "linux-image-6.12.113+deb12-amd64"),
        ((6, 12), 0, 113, "linux-image-6.12.100+deb12-amd64"),
        ((6, 12), 118, None, None),
        ((6, 12), 0, 100, None),
        ((6, 18), 0, None, "linux-image-6.18.15+deb13-amd64"),
        ((6, 1), 0, None, None),
    ],
)
def test_the_newest_kernel_within_bounds_is_chosen(
    branch: tuple[int, int], since: int, before: int | None, package: str | None
) -> None:
    assert package == newest(OFFERED, branch, since=since, before=before)


def test_another_reader_finds_the_files_of_an_archive(tmp_path: Path) -> None:
    files = {
        "init": File(content=b"#!/bin/sh\n", is_executable=True),
        "modules/0-odd.ko": File(content=b"x" * 4097),
        "modules/1-empty.ko": File(content=b""),
    }
    subprocess.run(["busybox", "cpio", "-i"], input=gzip.decompress(archive(files)), cwd=tmp_path, check=True, capture_output=True)
    found = {
        str(path.relative_to(tmp_path)): File(content=path.read_bytes(), is_executable=bool(path.stat().st_mode & stat.S_IXUSR))
        for path in tmp_path.rglob("*")
        if path.is_file()
    }
    assert files == found


@pytest.mark.parametrize(("text", "seconds"), [(None, 60), ("1", 60), ("5", 300), ("2.5", 150)])
def test_patience_multiplies_time_limits(monkeypatch: pytest.MonkeyPatch, text: str | None, seconds: float) -> None:
    monkeypatch.delenv("SRIOV_XDP_PATIENCE", raising=False)
    if text is not None:
        monkeypatch.setenv("SRIOV_XDP_PATIENCE", text)
    assert seconds == patient(60)


@pytest.mark.parametrize("text", ["", "0", "0.5", "-2", "nan", "much"])
def test_patience_is_a_number_from_one_up(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("SRIOV_XDP_PATIENCE", text)
    with pytest.raises(ValueError, match="expected a number from 1 up"):
        patient(60)


def test_the_job_of_a_machine_refuses_to_run_on_a_host() -> None:
    job = Path(__file__).parents[1] / "machines" / "job.py"
    done = subprocess.run([sys.executable, str(job), "/dev/null", "recipe_by_xdp"], capture_output=True, text=True, check=False)
    assert (1, True) == (done.returncode, "not one of our virtual machines" in done.stderr)
