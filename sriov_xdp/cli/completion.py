"""Names that a shell completes, asked of the daemon; none where it does not answer at once."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from sriov_xdp.api.client import CommandFailed, call
from sriov_xdp.cli.output import DEFAULT_RUN_DIR, RUN_DIR_VARIABLE

Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def _names(command: str, key: str) -> Complete:
    def complete(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
        run_dir = context.find_root().params.get("run_dir") or os.environ.get(RUN_DIR_VARIABLE) or DEFAULT_RUN_DIR
        try:
            rows: list[dict[str, Any]] = call(Path(run_dir), command)
        except CommandFailed:
            return []
        return sorted({str(row[key]) for row in rows if row[key] and str(row[key]).startswith(incomplete)})

    return complete


pf_names = _names("pf-list", "name")
vf_names = _names("vf-list", "address")
ports_in_use = _names("port-list", "vf")
ports = _names("port-list", "port")
guest_names = _names("port-list", "guest")
switch_names = _names("switch-list", "name")
group_names = _names("port-group-list", "name")
