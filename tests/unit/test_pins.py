"""What the kernel answers about tcx links, and what is no answer."""

import errno
from pathlib import Path

import pytest

from sriov_xdp.datapath import libbpf
from sriov_xdp.datapath.errors import DataPathError
from sriov_xdp.datapath.pins import Pins


def pins_of_a_kernel_that_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int) -> Pins:
    """The same call as ever, whose error is the kernel's to choose."""

    def refuse(*_arguments: object, **_named: object) -> int:
        raise DataPathError("link") from OSError(code, errno.errorcode[code])

    monkeypatch.setattr(libbpf, "create_link", refuse)
    monkeypatch.setattr(Pins, "program_fd", lambda _pins, _name: 0)
    return Pins(tmp_path)


@pytest.mark.parametrize(("code", "has_tcx"), [(errno.ENODEV, True), (errno.EINVAL, False)])
def test_the_kernel_says_whether_it_has_tcx(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int, has_tcx: bool) -> None:
    assert has_tcx is pins_of_a_kernel_that_says(monkeypatch, tmp_path, code).supports_tcx()


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOMEM, errno.EBADF, errno.EAGAIN, errno.EMFILE, errno.E2BIG])
def test_an_error_is_no_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int) -> None:
    with pytest.raises(DataPathError, match="the kernel does not say whether it has them"):
        pins_of_a_kernel_that_says(monkeypatch, tmp_path, code).supports_tcx()
