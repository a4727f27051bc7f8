"""Boots a kernel under QEMU over this host's files, which it can read but not change, and runs one command inside.

The machine has no network of any kind. Emulated (TCG), so that it works in machines too: about seventeen times slower than the
host. Nothing stays behind: QEMU ends with the caller, whatever ends the caller. For tests/machines.
"""

import contextlib
import json
import re
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sriov_xdp.lab.host import CACHE_VARIABLE
from sriov_xdp.lab.machines.initramfs import COMMAND_FILE, EXIT_FILE, HOST_TAG, KERNEL_TAG, LOG_FILE, MARK, OUT, OUT_TAG, build
from sriov_xdp.lab.machines.kernels import CACHE, Kernel, MachineError

RESULT_FILE = "result.json"
PATIENCE = 5  # of our own time limits inside (sriov_xdp/patience.py)
_PANIC = re.compile(r"Kernel panic - not syncing: .*")
_CHECKOUT = Path(__file__).resolve().parents[3]
_PYTHON = f"{_CHECKOUT}/.venv/bin/python"
_COMPILED = CACHE / "compiled"
# As seen with Debian's kernels: the plainest processor that has what user space needs emulates best, and a clock that is not
# checked again under load does not fall out of use.
_KERNEL_OPTIONS = f"console=ttyS0 quiet panic=-1 oops=panic mitigations=off nokaslr tsc=reliable no_timer_check {MARK}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a machine ended. exit_code: of the command, None when the machine did not live to see it; result: what the command
    left in its result file, None when nothing; panic: the kernel's last words."""

    exit_code: int | None
    result: Any
    panic: str | None
    console: str
    log: str
    seconds: float

    def describe(self) -> str:
        """For a failed assertion."""
        ends = f"exit {self.exit_code} after {self.seconds:.0f} s; {self.panic or 'no panic'}"
        return f"{ends}\n--- console\n{self.console[-6000:]}\n--- log\n{self.log[-6000:]}"


def run(kernel: Kernel, script: Path, *arguments: str, limit_seconds: float, memory_mib: int = 3072) -> Ended:
    """Boots, runs a Python script of this checkout with the path of its result file and the arguments, and powers off. Raises
    MachineError when the machine is not done in time, or does not come to run the script."""
    _compile()
    with tempfile.TemporaryDirectory(prefix="sriov-xdp-machine-") as name:
        folder = Path(name)
        (folder / "out").mkdir()
        (folder / "initramfs").write_bytes(build(kernel))
        (folder / "out" / COMMAND_FILE).write_text(_command(script, arguments))
        started = time.monotonic()
        with _qemu(kernel, folder, memory_mib) as machine:
            try:
                machine.wait(limit_seconds)
            except subprocess.TimeoutExpired as error:
                told = _ended(folder, started).describe()
                raise MachineError(f"machine with {kernel.release}: not done after {limit_seconds:.0f} s: {told}") from error
        ended = _ended(folder, started)
    if ended.exit_code is None and ended.panic is None:
        raise MachineError(f"machine with {kernel.release}: did not come to run {script.name}: {ended.describe()}")
    return ended


def _command(script: Path, arguments: Sequence[str]) -> str:
    python = shlex.join([_PYTHON, str(script), str(OUT / RESULT_FILE), *arguments])
    environment = f"SRIOV_XDP_PATIENCE={PATIENCE} {CACHE_VARIABLE}={shlex.quote(str(_COMPILED))}"
    return f"cd {shlex.quote(str(_CHECKOUT))}\nexport {environment}\nexec {python}\n"


def _compile() -> None:
    """Here, as it takes a minute in a machine; what is compiled knows no kernel."""
    command = [_PYTHON, "-P", "-m", "sriov_xdp.datapath.loader", "--compile", str(_COMPILED)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MachineError(f"programs for a machine: {done.stderr.strip()}")


@contextlib.contextmanager
def _qemu(kernel: Kernel, folder: Path, memory_mib: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [
        *("setpriv", "--pdeathsig", "KILL", "nice", "-n", "5", "qemu-system-x86_64"),
        *("-machine", "q35", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "Nehalem", "-smp", "1", "-m", str(memory_mib)),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-kernel", str(kernel.image), "-initrd", str(folder / "initramfs"), "-append", _KERNEL_OPTIONS),
        *_share(Path("/"), HOST_TAG, "readonly=on,multidevs=remap"),
        *_share(kernel.tree, KERNEL_TAG, "readonly=on"),
        *_share(folder / "out", OUT_TAG, "multidevs=forbid"),
        *("-serial", f"file:{folder}/console"),
    ]
    with (folder / "qemu").open("wb") as words:
        machine = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=words, stderr=words)
        try:
            yield machine
        finally:
            machine.kill()
            machine.wait()


def _share(path: Path, tag: str, options: str) -> tuple[str, str]:
    return "-virtfs", f"local,path={str(path).replace(',', ',,')},mount_tag={tag},security_model=none,{options}"


def _ended(folder: Path, started: float) -> Ended:
    console = _text(folder / "qemu") + _text(folder / "console")
    panic = _PANIC.search(console)
    result, exit_code = _text(folder / "out" / RESULT_FILE), _text(folder / "out" / EXIT_FILE)
    return Ended(
        exit_code=int(exit_code) if exit_code else None,
        result=json.loads(result) if result else None,
        panic=panic[0].strip() if panic else None,
        console=console,
        log=_text(folder / "out" / LOG_FILE),
        seconds=time.monotonic() - started,
    )


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""
