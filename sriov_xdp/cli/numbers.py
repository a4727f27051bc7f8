"""A number as an option's value, written as configurations write numbers. For cli."""

from typing import Any

import click

from sriov_xdp.api.numerals import NUMBER


class Number(click.ParamType):  # type: ignore[type-arg]  # no class at run time takes one
    """Digits only, without leading zeros; or the one word that may stand instead of a number."""

    name = "number"

    def __init__(self, *, least: int, most: int, word: str | None = None) -> None:
        self._least, self._most, self._word = least, most, word

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> int | str:
        """Of what was given; a default is a number already."""
        if isinstance(value, int):
            return value
        if self._word and value == self._word:
            return self._word
        if not NUMBER.fullmatch(value) or not self._least <= int(value) <= self._most:
            expected = f"a number from {self._least} to {self._most}{f', or {self._word}' if self._word else ''}"
            self.fail(f"{value!r}: expected {expected}", parameter, context)
        return int(value)
