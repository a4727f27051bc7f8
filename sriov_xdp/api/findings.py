"""What is wrong with a configuration, where it stands, and how that is written: FILE:LINE: path: observed; expected; remedy.

Pure. Used by the files of api that read configurations, and by the command line to show it.
"""

import re
from dataclasses import dataclass

Path = tuple[str | int, ...]

_PLAIN_KEY = re.compile(r"[\w-]{1,40}")
_SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem in a configuration. line None: of the whole, or the text is not known. path (): of the whole."""

    line: int | None
    path: Path
    text: str

    def at(self, file: str | None) -> str:
        """FILE:LINE: path: text, on one line."""
        place = f"{file or 'configuration'}:{self.line}" if self.line else file or "configuration"
        return f"{place}: {self}"

    def __str__(self) -> str:
        return f"{path_text(self.path)}: {self.text}" if self.path else self.text


class Unreadable(Exception):
    """The text is no YAML that is read here; finding says why."""

    def __init__(self, line: int | None, text: str) -> None:
        super().__init__(text)
        self.finding = Finding(line, (), text)


def path_text(path: Path) -> str:
    """pfs[0].num_vfs."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part if _PLAIN_KEY.fullmatch(part) else shown(part)}" for part in path]
    return "".join(parts).removeprefix(".")


def shown(text: str) -> str:
    """A text in quotes, short enough for a line, with what cannot be printed escaped."""
    short = text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
    return '"' + "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in short) + '"'
