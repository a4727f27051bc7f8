"""Programs that were compiled are found again as they were, or not at all."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sriov_xdp.datapath import compiled, sources

CODES = {"xdp_vf": bytes(range(256)), "tc_vf": b"\x95" + bytes(7)}


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    path = tmp_path / "cache" / f"one{compiled.SUFFIX}"
    compiled.store(path, CODES)
    return path


def test_what_was_kept_is_found(kept: Path) -> None:
    assert CODES == compiled.find(kept)
    assert [kept] == list(kept.parent.iterdir())
    assert (0o700, 0o600) == (kept.parent.stat().st_mode & 0o777, kept.stat().st_mode & 0o777)


def _as_a_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


SPOILT: dict[str, Callable[[Path], None]] = {
    "gone": lambda path: path.unlink(),
    "cut off": lambda path: os.truncate(path, path.stat().st_size - 1),
    "empty": lambda path: os.truncate(path, 0),
    "another byte": lambda path: path.write_bytes(path.read_bytes().replace(b"95", b"96")),
    "others may write it": lambda path: path.chmod(0o620),
    "others may write beside it": lambda path: path.parent.chmod(0o777),
    "somebody else's": lambda path: os.chown(path, 65534, 65534),
    "a link": _as_a_link,
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_what_is_not_as_it_was_kept_is_not_there(kept: Path, spoil: Callable[[Path], None]) -> None:
    spoil(kept)
    assert compiled.find(kept) is None


def test_a_folder_that_cannot_be_made_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / f"one{compiled.SUFFIX}"
    compiled.store(path, CODES)
    assert compiled.find(path) is None


def test_few_builds_are_kept(kept: Path) -> None:
    for age, name in enumerate("bcdef", 1):
        compiled.store(kept.with_name(f"{name}{compiled.SUFFIX}"), CODES)
        os.utime(kept.with_name(f"{name}{compiled.SUFFIX}"), (age, age))
    os.utime(kept, (0, 0))
    compiled.store(kept.with_name(f"newest{compiled.SUFFIX}"), CODES)
    assert ["d", "e", "f", "newest"] == sorted(path.stem for path in kept.parent.iterdir())


def test_a_file_is_of_one_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = compiled.file_of_build(tmp_path)
    changed = tmp_path / "bpf"
    shutil.copytree(sources.source_dir(), changed)
    monkeypatch.setattr(sources, "source_dir", lambda: changed)
    assert before == compiled.file_of_build(tmp_path)
    with (changed / "abi" / "numbers.h").open("a") as header:
        header.write("\n")
    assert before != compiled.file_of_build(tmp_path)
