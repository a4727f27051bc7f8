"""`sriov-xdp`: all commands."""

import sys
from typing import Any, NoReturn

import click

from sriov_xdp.cli.audits import audit
from sriov_xdp.cli.benchmark import bench
from sriov_xdp.cli.configuration import FILE, request_of, validate
from sriov_xdp.cli.daemon import daemon, recover, teardown
from sriov_xdp.cli.demo import demo
from sriov_xdp.cli.differences import yaml_differences
from sriov_xdp.cli.doctor import doctor
from sriov_xdp.cli.numbers import Number
from sriov_xdp.cli.output import DEFAULT_RUN_DIR, RUN_DIR_VARIABLE, ask, daemon_options, fail, json_option, show_json
from sriov_xdp.cli.pfs import pf
from sriov_xdp.cli.switches import port, port_group, switch
from sriov_xdp.cli.traces import trace
from sriov_xdp.cli.verdicts import verdicts
from sriov_xdp.cli.vfs import vf
from sriov_xdp.cli.what_ifs import what_if
from sriov_xdp.pf.state.trial import MOST_SECONDS
from sriov_xdp.shown import exits_cleanly

REFUSED, DIFFERENCES_FOUND = 4, 7


_HELP: dict[str, Any] = {"help_option_names": ["-h", "--help"]}


@click.group(context_settings=_HELP)
@click.option(
    "--run-dir",
    envvar=RUN_DIR_VARIABLE,
    show_envvar=True,
    default=None,
    help=f"Of the daemon to talk to; may also stand behind a command.  [default: {DEFAULT_RUN_DIR}]",
)
@click.version_option(package_name="sriov-xdp")
def main(run_dir: str | None) -> None:
    """SR-IOV without SR-IOV hardware: virtual functions in eBPF, governed by port policy.

    Exit codes: 0 ok, 1 error, 2 usage, 3 not found, 4 refused, 5 conflict, 6 daemon not reachable, 7 differences found.
    """


def _show_steps(steps: list[dict[str, Any]]) -> None:
    for step in steps:
        click.echo(f"{step['action']} {step['kind']} {step['name']}")
        if step["consequence"]:
            click.echo(f"  {step['consequence']}")
        for line in yaml_differences(step["before"], step["after"]):
            click.echo(f"  {line}")


@main.command()
@FILE
@click.option("--dry-run", is_flag=True, help="Only shows the steps; exit code 7 when there are any.")
@click.option("--yes", is_flag=True, help="What the file removes is meant; without it, a terminal is asked, a script refused.")
@click.option(
    "--confirm-timeout",
    type=Number(least=1, most=MOST_SECONDS),
    help="What was before comes back after so many seconds, also over a restart, unless `confirm` comes.",
)
@daemon_options
@json_option
def apply(file: str, dry_run: bool, yes: bool, confirm_timeout: int | None, as_json: bool) -> None:
    """Makes the host what a configuration file says, whole: what it does not name is removed."""
    request = request_of(file)
    if dry_run:
        _show_plan(ask("diff", request), as_json)
    is_asked = not yes and sys.stdin.isatty() and file != "-"
    consented = _ask_consent(ask("diff", request)) if is_asked else []
    steps = ask("apply", {**request, "yes": yes, "consented": consented, "confirm_timeout_seconds": confirm_timeout})
    if as_json:
        show_json(steps)
    elif steps:
        _show_steps(steps)
        if confirm_timeout:
            click.echo(f"what was before comes back in {confirm_timeout} s; `sriov-xdp confirm` says that this stays")
    else:
        click.echo("nothing to do")


@main.command()
@daemon_options
@json_option
def confirm(as_json: bool) -> None:
    """Says that the configuration which is on trial (`apply --confirm-timeout`) is to stay."""
    document = ask("confirm")
    if as_json:
        show_json(document)
    else:
        click.echo(f"configuration {document['configuration']} stays")


def _ask_consent(steps: list[dict[str, Any]]) -> list[str]:
    """The steps that are meant: those that were shown, whatever else the plan would be by then."""
    losses = [step for step in steps if step["consequence"]]
    if not losses:
        return []
    _show_steps(losses)
    if not click.confirm(f"apply: steps that take something away: {len(losses)}; go on?"):
        fail(REFUSED, "apply: nothing was done")
    return [f"{step['action']} {step['kind']} {step['name']}" for step in losses]


def _show_plan(steps: list[dict[str, Any]], as_json: bool) -> NoReturn:
    if as_json:
        show_json(steps)
    else:
        _show_steps(steps)
    raise SystemExit(DIFFERENCES_FOUND if steps else 0)


@main.command()
@FILE
@daemon_options
@json_option
def diff(file: str, as_json: bool) -> None:
    """Shows what `apply` would do; exit code 7 when there is something to do."""
    _show_plan(ask("diff", request_of(file)), as_json)


@main.command()
@daemon_options
@json_option
def export(as_json: bool) -> None:
    """Prints the host as a configuration file; applying it changes nothing."""
    document = ask("export")
    if as_json:
        show_json(document)
        return
    from sriov_xdp.api.yaml_text import dump

    click.echo(dump(document), nl=False)


_COMMANDS: list[click.Command] = [
    daemon,
    teardown,
    recover,
    validate,
    doctor,
    trace,
    what_if,
    verdicts,
    demo,
    bench,
    pf,
    vf,
    switch,
    port_group,
    port,
    audit,
]
for _command in _COMMANDS:
    main.add_command(_command)

run = exits_cleanly(main)
