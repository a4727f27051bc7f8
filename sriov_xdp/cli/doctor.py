"""`sriov-xdp doctor`: whether this host can run the product, and whether each guest end is as it must be."""

import os
import platform
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from sriov_xdp.api.client import CommandFailed, call
from sriov_xdp.cli.output import daemon_options, json_option, run_dir, show_json
from sriov_xdp.cli.tables import Column, show_table
from sriov_xdp.host import kernel
from sriov_xdp.host.kernel import JumboXdp
from sriov_xdp.pf.state.modes import LARGEST_XDP_MTU_BYTES

# 5.18: programs that accept multi-buffer frames (BPF_F_XDP_HAS_FRAGS) and bpf_xdp_get_buff_len().
OLDEST_KERNEL = (5, 18)
TCX_KERNEL = (6, 6)
_SENTENCE_CHARACTERS = 56
_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13, "CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38, "CAP_BPF": 39}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One finding; remedy is empty when all is well."""

    subject: str
    is_ok: bool
    observed: str
    remedy: str = ""


def kernel_check(release: str) -> Check:
    """release: as `uname -r` prints it."""
    found = re.match(r"(\d+)\.(\d+)", release)
    version = (int(found[1]), int(found[2])) if found else (0, 0)
    if version < OLDEST_KERNEL:
        text = f"run Linux {OLDEST_KERNEL[0]}.{OLDEST_KERNEL[1]} or later: multi-buffer XDP programs came with it"
        return Check(subject="kernel", is_ok=False, observed=release, remedy=text)
    kind = "tcx links" if version >= TCX_KERNEL else "clsact filters, tcx links come with 6.6"
    return Check(subject="kernel", is_ok=True, observed=f"{release} ({kind})")


def _btf() -> Check:
    is_there = os.access("/sys/kernel/btf/vmlinux", os.R_OK)
    remedy = "" if is_there else "use a kernel with CONFIG_DEBUG_INFO_BTF=y, as Debian's is"
    return Check(subject="kernel BTF", is_ok=is_there, observed="readable" if is_there else "not readable", remedy=remedy)


def _jit() -> Check:
    path = Path("/proc/sys/net/core/bpf_jit_enable")
    value = path.read_text().strip() if path.exists() else "1"
    remedy = "" if value != "0" else "sysctl -w net.core.bpf_jit_enable=1: interpreted programs are many times slower"
    return Check(subject="BPF JIT", is_ok=value != "0", observed=value, remedy=remedy)


def _bcc() -> Check:
    done = subprocess.run([sys.executable, "-c", "import bcc; print(bcc.__version__)"], capture_output=True, text=True, check=False)
    if done.returncode:
        text = "apt install python3-bpfcc, and make the virtual environment with --system-site-packages"
        return Check(subject="bcc", is_ok=False, observed="cannot be imported", remedy=text)
    return Check(subject="bcc", is_ok=True, observed=done.stdout.strip())


def _bpffs() -> Check:
    from sriov_xdp.host import bpffs

    if bpffs.is_mounted():
        return Check(subject="bpffs", is_ok=True, observed=f"mounted on {bpffs.MOUNT_POINT}")
    text = f"mount -t bpf bpf {bpffs.MOUNT_POINT} (the daemon does it at its start)"
    return Check(subject="bpffs", is_ok=False, observed="not mounted", remedy=text)


def _capabilities() -> Check:
    status = Path("/proc/self/status").read_text()
    effective = int(next(line for line in status.splitlines() if line.startswith("CapEff")).split()[1], 16)
    missing = [name for name, bit in _CAPABILITIES.items() if not effective >> bit & 1]
    remedy = f"run as root, or grant {', '.join(missing)}" if missing else ""
    return Check(
        subject="capabilities",
        is_ok=not missing,
        observed=f"missing {', '.join(missing)}" if missing else "complete",
        remedy=remedy,
    )


def _daemon_checks() -> list[Check]:
    try:
        ends, faults = call(run_dir(), "guest-ends"), call(run_dir(), "host-health")
    except CommandFailed as error:
        return [Check(subject="daemon", is_ok=False, observed=str(error), remedy="start it: sriov-xdp daemon --config FILE")]
    checks = [Check(subject="daemon", is_ok=True, observed="answers")]
    checks += [Check(is_ok=False, **fault) for fault in faults]
    for end in ends:
        problems = [problem.rpartition("; ") for problem in end["problems"]]
        subject = f"guest end of {end['vf']}"
        if not problems:
            checks.append(Check(subject=subject, is_ok=True, observed="GRO on, link up, MAC agrees"))
        checks += [Check(subject=subject, is_ok=False, observed=observed, remedy=remedy) for observed, _, remedy in problems]
    return checks


def jumbo_check(jumbo: JumboXdp) -> Check:
    """A fact more than a fault: nothing runs that the kernel cannot bear."""
    limit = "" if jumbo.is_allowed else f": no XDP on veths above MTU {LARGEST_XDP_MTU_BYTES}, they stay on tc"
    return Check(subject="jumbo by XDP", is_ok=True, observed=f"{jumbo.because}{limit}")


def _jumbo() -> Check:
    return jumbo_check(kernel.read())


def _kernel() -> Check:
    return kernel_check(platform.release())


HOST_CHECKS: tuple[Callable[[], Check], ...] = (_kernel, _jumbo, _btf, _jit, _bcc, _bpffs, _capabilities)


def _sentences(row: dict[str, Any]) -> tuple[str, ...]:
    """What was observed and what to do, broken between words, for a terminal."""
    texts = [row["observed"], *([f"-> {row['remedy']}"] if row["remedy"] else [])]
    return tuple(line for text in texts for line in textwrap.wrap(text, _SENTENCE_CHARACTERS, subsequent_indent="   "))


_CHECKED = (Column("", lambda row: "ok" if row["is_ok"] else "PROBLEM"), Column("CHECK", lambda row: row["subject"]))
_ON_TERMINAL = (*_CHECKED, Column("OBSERVED", _sentences))
_IN_PIPE = (*_CHECKED, Column("OBSERVED", lambda row: row["observed"]), Column("REMEDY", lambda row: row["remedy"]))


@click.command()
@daemon_options
@json_option
def doctor(as_json: bool) -> None:
    """Checks kernel, BPF, bcc, bpffs, capabilities, the daemon and each guest end; each problem with a remedy."""
    checks = [*(check() for check in HOST_CHECKS), *_daemon_checks()]
    if as_json:
        show_json([asdict(check) for check in checks])
    else:
        show_table([asdict(check) for check in checks], _ON_TERMINAL if sys.stdout.isatty() else _IN_PIPE)
    raise SystemExit(0 if all(check.is_ok for check in checks) else 1)
