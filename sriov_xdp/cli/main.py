"""`sriov-xdp`: all commands."""

from typing import Any

import click

from sriov_xdp.cli import objects
from sriov_xdp.cli.benchmark import bench
from sriov_xdp.cli.configuration import FILE, request_of, validate
from sriov_xdp.cli.daemon import daemon, teardown
from sriov_xdp.cli.demo import demo
from sriov_xdp.cli.doctor import doctor
from sriov_xdp.cli.output import DEFAULT_RUN_DIR, RUN_DIR_VARIABLE, ask, exits_cleanly, json_option, show_json

DIFFERENCES_FOUND = 7


_HELP: dict[str, Any] = {"help_option_names": ["-h", "--help"]}


@click.group(context_settings=_HELP)
@click.option("--run-dir", envvar=RUN_DIR_VARIABLE, default=None, help=f"Of the daemon to talk to. [default: {DEFAULT_RUN_DIR}]")
@click.version_option(package_name="sriov-xdp")
def main(run_dir: str | None) -> None:
    """SR-IOV without SR-IOV hardware: virtual functions in eBPF, governed by port policy.

    Exit codes: 0 ok, 1 error, 2 usage, 3 not found, 4 refused, 5 conflict, 6 daemon not reachable, 7 differences found.
    """


def _show_steps(steps: list[dict[str, Any]]) -> None:
    for step in steps:
        before, after = step["before"] or {}, step["after"] or {}
        changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]
        detail = "; ".join(f"{key}: {before.get(key)} -> {after.get(key)}" for key in changed) if before and after else ""
        click.echo(f"{step['action']:<7} {step['kind']:<8} {step['name']}{'  ' + detail if detail else ''}")


@main.command()
@FILE
@json_option
def apply(file: str, as_json: bool) -> None:
    """Makes the host what a configuration file says, whole: what it does not name is removed."""
    steps = ask("apply", request_of(file))
    if as_json:
        show_json(steps)
    elif steps:
        _show_steps(steps)
    else:
        click.echo("nothing to do")


@main.command()
@FILE
@json_option
def diff(file: str, as_json: bool) -> None:
    """Shows what `apply` would do; exit code 7 when there is something to do."""
    steps = ask("diff", request_of(file))
    if as_json:
        show_json(steps)
    else:
        _show_steps(steps)
    raise SystemExit(DIFFERENCES_FOUND if steps else 0)


@main.command()
@json_option
def export(as_json: bool) -> None:
    """Prints the host as a configuration file; applying it changes nothing."""
    document = ask("export")
    if as_json:
        show_json(document)
        return
    from sriov_xdp.api.yaml_text import dump

    click.echo(dump(document), nl=False)


_COMMANDS: list[click.Command] = [daemon, teardown, doctor, demo, bench, objects.pf, objects.vf, objects.switch, objects.port_group]
for _command in [*_COMMANDS, objects.port, objects.audit, validate]:
    main.add_command(_command)

run = exits_cleanly(main)
