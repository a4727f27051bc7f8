"""Options of what a switch, a port group and a port can be set to, made from the rows of a policy, and what they say."""

from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import CompletionItem

from sriov_xdp.api.numerals import NUMBER
from sriov_xdp.api.sentences import one_of
from sriov_xdp.vswitch.policy import INHERIT, SETTINGS, Setting, nested

_WITH = {"access": {"access", "qos", "proto"}, "trunk": {"trunk", "native", "proto"}}
_VLAN_FORMS = "none, access:N[;qos:P] or trunk:N,A-B,...[;native:N], with ;proto:802.1ad for service tags"
vlan_option = click.option("--vlan", help=f"{_VLAN_FORMS}; +N or -N: one VLAN of a trunk; inherit: as the group says (ports).")


def policy_options(command: Callable[..., None]) -> Callable[..., None]:
    """One option a setting."""
    for setting in reversed(SETTINGS.values()):
        help_text = f"{setting.text[0].upper()}{setting.text[1:]}."
        if not setting.values.choices:
            help_text += f" {setting.values.words[0].upper()}{setting.values.words[1:]}; or {INHERIT}."
        command = click.option(setting.option, setting.name, type=SettingValue(setting), help=help_text)(command)
    return command


class SettingValue(click.ParamType):  # type: ignore[type-arg]  # no class at run time takes one
    """As configurations say it, from the text of an option; or `inherit`."""

    def __init__(self, setting: Setting) -> None:
        self._values = setting.values
        self._words = [*setting.values.choices, INHERIT] if setting.values.choices else []
        self.name = "|".join(self._words) or "value"

    def get_metavar(self, *_arguments: Any, **_options: Any) -> str | None:
        """What the help shows."""
        return f"[{self.name}]" if self._words else None

    def shell_complete(self, _context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The words that are taken."""
        return [CompletionItem(word) for word in self._words or [INHERIT] if word.startswith(incomplete)]

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        """What is not a text was converted already."""
        if value == INHERIT or not isinstance(value, str):
            return value
        try:
            return self._values.read(value)
        except ValueError as error:
            expected = one_of([*(self._values.choices or [self._values.words]), INHERIT])
            said = f"{value!r}" if self._words else str(error)
            text = said if "expected" in said else f"{said}; expected {expected}"
            self.fail(text, parameter, context)


def policy_of(**said: Any) -> dict[str, Any]:
    """As a configuration file says it."""
    return nested({name: value for name, value in said.items() if value is not None})


def says_nothing(settings: dict[str, Any]) -> bool:
    """Whether no option was given."""
    return all(value is None for value in settings.values())


def vlan_of(text: str | None) -> Any:
    """As a configuration file says it. Raises click.BadParameter."""
    if text is None or text in ("none", INHERIT) or text[:1] in ("+", "-"):
        return text
    said = dict(part.partition(":")[::2] for part in text.split(";"))
    mode = next(iter(said))
    if said.keys() <= _WITH.get(mode, set()) and all(said.values()):
        return {key: _vlan_part(key, value) for key, value in said.items()}
    raise click.BadParameter(f"{text!r}: expected {_VLAN_FORMS}", param_hint="--vlan")


def _vlan_part(key: str, value: str) -> Any:
    if key == "trunk":
        return [int(part) if NUMBER.fullmatch(part) else part for part in value.split(",")]
    return int(value) if NUMBER.fullmatch(value) else value
