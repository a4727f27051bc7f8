"""Options of what a switch, a port group and a port can be set to, made from the rows of a policy, and what they say."""

from collections.abc import Callable
from typing import Any

import click

from sriov_xdp.api.numerals import NUMBER
from sriov_xdp.cli.numbers import Number
from sriov_xdp.vswitch.policy import SETTINGS, nested

INHERIT = "inherit"
vlan_option = click.option("--vlan", help="none, access:N or trunk:N,A-B,...; inherit: as the group says (ports).")


def policy_options(command: Callable[..., None]) -> Callable[..., None]:
    """One option a setting."""
    for setting in reversed(SETTINGS.values()):
        form = click.Choice([*setting.choices, INHERIT]) if setting.choices else Number(least=0, most=setting.most, word=INHERIT)
        command = click.option(setting.option, type=form, help=f"{setting.text[0].upper()}{setting.text[1:]}.")(command)
    return command


def policy_of(**said: Any) -> dict[str, Any]:
    """As a configuration file says it."""
    return nested({name: value for name, value in said.items() if value is not None})


def says_nothing(settings: dict[str, Any]) -> bool:
    """Whether no option was given."""
    return all(value is None for value in settings.values())


def vlan_of(text: str | None) -> Any:
    """As a configuration file says it. Raises click.BadParameter."""
    if text in (None, "none", "inherit"):
        return text
    mode, _, setting = text.partition(":")
    if mode == "access" and NUMBER.fullmatch(setting):
        return {"access": int(setting)}
    if mode == "trunk" and setting:
        return {"trunk": [int(part) if NUMBER.fullmatch(part) else part for part in setting.split(",")]}
    raise click.BadParameter(f"{text!r}: expected none, access:N or trunk:N,A-B,...", param_hint="--vlan")
