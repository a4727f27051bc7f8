"""How results are shown: JSON with -j, else text, with the same names. Tables are in tables.py."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click

from sriov_xdp.api.client import call
from sriov_xdp.faults import Fault
from sriov_xdp.shown import json_text, lines_of

DEFAULT_RUN_DIR = "/run/sriov-xdp"
RUN_DIR_VARIABLE = "SRIOV_XDP_RUN_DIR"
_INTERRUPTED = 130  # as a shell says it


def _choose_run_dir(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.find_root().params["run_dir"] = value


def daemon_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--run-dir after the verb, where it may stand as well as before it. For commands that ask the daemon."""
    return click.option("--run-dir", hidden=True, expose_value=False, callback=_choose_run_dir)(command)


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """-j after the verb."""
    return click.option("-j", "--json", "as_json", is_flag=True, help="JSON instead of text.")(command)


def run_dir() -> Path:
    """Of the daemon to talk to."""
    context = click.get_current_context()
    root = context.find_root()
    return Path(root.params.get("run_dir") or os.environ.get(RUN_DIR_VARIABLE) or DEFAULT_RUN_DIR)


def fail(code: int, text: str) -> NoReturn:
    """Message to stderr, and the exit code."""
    click.echo(text, err=True)
    sys.exit(code)


@contextmanager
def ending_with_faults() -> Iterator[None]:
    """A fault, or an error of the system, ends the process with its exit code."""
    try:
        yield
    except Fault as error:
        fail(error.exit_code, str(error))
    except OSError as error:
        fail(Fault.exit_code, str(error))


@contextmanager
def ending_lab(command: str) -> Iterator[None]:
    """Ctrl-C, or a fault of the throw-away host, ends a command that made one with a sentence; the host is gone by then."""
    from sriov_xdp.lab.host import LabError

    try:
        yield
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is said and done; one more changes nothing
        fail(_INTERRUPTED, f"{command}: interrupted; the throw-away host is removed")
    except LabError as error:
        fail(Fault.exit_code, f"{command}: {error}")


def ask(command: str, document: dict[str, Any] | None = None) -> Any:
    """Runs a command in the daemon; ends the process with its exit code when it fails."""
    with ending_with_faults():
        return call(run_dir(), command, document)


def show_json(value: Any) -> None:
    """One JSON document on stdout."""
    click.echo(json_text(value))


def console(width: int) -> Any:
    """Of stdout; width: where it is no terminal. Nothing in what is shown stands for a picture: `:cd:` is part of an address.
    Rich is imported here, as JSON output does not need it."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else width, emoji=False)


def show_object(document: dict[str, Any]) -> None:
    """One object: a line a field."""
    click.echo("\n".join(lines_of(document)))


def show(value: dict[str, Any], *, as_json: bool) -> None:
    """One object, in the form that was asked for."""
    if as_json:
        show_json(value)
    else:
        show_object(value)
