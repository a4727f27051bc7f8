"""Tables of commands: a line for each object, values whole.

On a terminal, columns that do not fit go, the least important first; `-o wide` has all of them, as has what goes into a pipe. No
value is broken: a line that is still too long is the terminal's to show.
"""

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from sriov_xdp.cli.output import show_json
from sriov_xdp.shown import cell

Row = dict[str, Any]
_GAP = "  "
WIDE, JSON = "wide", "json"


@dataclass(frozen=True, slots=True)
class Column:
    """pick: its value of a row; several lines where it is a list of texts. rank: 0 for what is always shown, else the higher, the
    sooner it goes."""

    title: str
    pick: Callable[[Row], Any]
    rank: int = 0


def table_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """-o and -j after the verb; the command gets `output`, which is None, wide or json."""
    json_too = click.option("-j", "--json", "output", flag_value=JSON, help="JSON, as -o json.")
    choice = click.option(
        "-o", "--output", type=click.Choice([WIDE, JSON]), help="wide: all columns, whatever the terminal's width."
    )
    return choice(json_too(command))


def _lines_of(value: Any) -> list[str]:
    return [cell(line) for line in value] if isinstance(value, tuple) else cell(value).split("\n")


def _fitting(columns: Sequence[Column], widths: dict[str, int], width: int) -> list[Column]:
    """Those that stay on so many characters."""
    kept = list(columns)
    while sum(widths[column.title] + len(_GAP) for column in kept) - len(_GAP) > width:
        last = max(kept, key=lambda column: column.rank)
        if last.rank == 0:
            break
        kept.remove(last)
    return kept


def lines_of_table(rows: list[Row], columns: Sequence[Column], width: int | None) -> list[str]:
    """The table as text; width None: all columns."""
    from rich.cells import cell_len  # a character may be two wide

    cells = [{column.title: _lines_of(column.pick(row)) for column in columns} for row in rows]
    widths = {
        column.title: max([len(column.title), *(cell_len(line) for row in cells for line in row[column.title])])
        for column in columns
    }
    kept = list(columns) if width is None else _fitting(columns, widths, width)

    def line(texts: Sequence[str]) -> str:
        padded = (text + " " * (widths[column.title] - cell_len(text)) for text, column in zip(texts, kept, strict=True))
        return _GAP.join(padded).rstrip()

    def lines_of(row: dict[str, list[str]]) -> list[str]:
        heights = range(max(len(row[column.title]) for column in kept))
        return [line([row[column.title][at] if at < len(row[column.title]) else "" for column in kept]) for at in heights]

    return [line([column.title for column in kept]), *(text for row in cells for text in lines_of(row))]


def show_table(rows: list[Row], columns: Sequence[Column], *, is_wide: bool = False) -> None:
    """A row for each on stdout."""
    is_terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if is_terminal and not is_wide else None
    head, *body = lines_of_table(rows, columns, width)
    click.echo(click.style(head, bold=True) if is_terminal else head)
    for line in body:
        click.echo(line)
    left_out = [column.title for column in columns if column.title not in head] if width else []
    if left_out and rows:
        click.echo(click.style(f"without {', '.join(left_out)}: -o wide", dim=True), err=True)


def show_rows(rows: list[Row], columns: Sequence[Column], output: str | None) -> None:
    """A list in the form that was asked for (table_options())."""
    if output == JSON:
        show_json(rows)
    else:
        show_table(rows, columns, is_wide=output == WIDE)
