"""Sets of numbers as configurations write them: single ones, and "A-B" for runs. Pure."""

import re
from collections.abc import Iterable
from typing import Any

_FORM = re.compile(r"(0|[1-9][0-9]{0,4})(-(0|[1-9][0-9]{0,4}))?")  # without leading zeros, which some take for octal


def to_ranges(numbers: Iterable[int]) -> list[int | str]:
    """In order, runs as "A-B"."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return [first if first == last else f"{first}-{last}" for first, last in runs]


def of_range(part: Any, what: str, least: int, most: int) -> range:
    """The numbers of a single one, or of a run, as a person writes it. Raises ValueError."""
    if not _FORM.fullmatch(str(part)):
        raise ValueError(f'{what} {part!r}: expected a number or "A-B"')
    first, _dash, last = str(part).partition("-")
    numbers = range(int(first), int(last or first) + 1)
    if not numbers or numbers[0] < least or numbers[-1] > most:
        raise ValueError(f"{what} {part!r}: expected numbers from {least} to {most}, the smaller first")
    return numbers
