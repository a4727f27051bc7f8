"""How values are written for people, and for programs, by the commands of host and guest alike. Standard library only."""

import json
import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any


def json_text(value: Any) -> str:
    """One JSON document."""
    return json.dumps(value, indent=2 if sys.stdout.isatty() else None)


def lines_of(document: dict[str, Any]) -> list[str]:
    """One object: a line a field."""
    width = max(len(key) for key in document)
    return [f"{key:<{width}}  {cell(value)}" for key, value in document.items()]


def printable(text: str) -> str:
    """Without characters that a terminal would act on: some texts are a guest's."""
    return "".join(character if character.isprintable() or character == "\n" else repr(character)[1:-1] for character in text)


def cell(value: Any) -> str:
    """One value as a table shows it."""
    if value is None or value in ("", {}, []):
        return "-"
    match value:
        case dict():
            return " ".join(f"{key}={cell(inner)}" for key, inner in value.items())
        case list():
            return ",".join(cell(inner) for inner in value)
        case _:
            return printable(str(value))


def exits_cleanly(command: Callable[..., Any]) -> Callable[..., Any]:
    """A reader that went away (`| head`) is no error."""

    @wraps(command)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        try:
            return command(*arguments, **options)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)

    return wrapped
