"""YAML as configuration files use it: text to nodes that know their line, and values to text that is read back as they were.

Not here: what a configuration may say (config.py). Used by api.config, and by the command line for a file's bytes and for export.

All readers must agree on what is read, so this is less than YAML 1.1 (https://yaml.org/spec/1.1): a number is 0 or starts with 1 to
9 and has digits only; `true` and `false` are the truth values; `null`, `~` and nothing are null. All else is text: `on`, `0x64`,
`1:40`, 2026-01-01, 52:54:00:12:34:56. One document, no tags, no directives. Aliases and merge keys count as if written out.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sriov_xdp.api.findings import Finding, Unreadable
from sriov_xdp.api.yaml_nodes import Builder, Node

MAX_FILE_BYTES = 4 << 20

# What YAML 1.1 allows, without other line breaks than \n (a line would have another number in an editor) and without marks.
_UNFIT = re.compile("[^\t\n -~\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_TAB_IN_INDENTATION = re.compile(r"^ *\t", re.MULTILINE)
_DIRECTIVE = re.compile(r"^%", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Reading:
    """A document; root None: empty, or not to be read. findings: what is wrong with it as YAML."""

    root: Node | None
    findings: list[Finding]


def text_of(data: bytes) -> str:
    """The text of a file, lines ending as in Python. Raises Unreadable."""
    if len(data) > MAX_FILE_BYTES:
        raise Unreadable(None, _TOO_LARGE)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Unreadable(line, f"byte 0x{data[error.start]:02x} is not UTF-8; expected UTF-8; save the file as UTF-8") from error
    return _with_newlines(text)


def read_file(path: Path) -> str:
    """The text of a file. Raises Unreadable."""
    try:
        with path.open("rb") as file:
            return text_of(file.read(MAX_FILE_BYTES + 1))  # no more of what never ends
    except OSError as error:
        raise Unreadable(None, f"{error.strerror}; expected a file that can be read; correct the path") from error


def _with_newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read(text: str) -> Reading:
    """The document in a text. Never raises: what cannot be read is a finding."""
    builder = Builder()
    text = _with_newlines(text)
    try:
        _check_characters(text)
        return Reading(builder.build(text), builder.findings)
    except Unreadable as error:
        return Reading(None, [*builder.findings, error.finding])


def plain(node: Node) -> Any:
    """The values alone, as new lists and mappings, with aliases written out."""
    if isinstance(node.value, dict):
        return {key: plain(value) for key, value in node.value.items()}
    return [plain(value) for value in node.value] if isinstance(node.value, list) else node.value


_TOO_LARGE = (
    f"larger than {MAX_FILE_BYTES} bytes; expected at most that, several times what 1008 guests need; remove what is not needed"
)


def _check_characters(text: str) -> None:
    if len(text) > MAX_FILE_BYTES or len(text.encode(errors="replace")) > MAX_FILE_BYTES:
        raise Unreadable(None, _TOO_LARGE)
    unfit = _UNFIT.search(text)
    if unfit and unfit[0] == "\ufeff":
        raise Unreadable(_line_at(text, unfit), "a byte order mark; expected plain UTF-8; save the file without it")
    if unfit:
        name = f"character U+{ord(unfit[0]):04X}"
        raise Unreadable(_line_at(text, unfit), f"{name}; expected printable text; remove it, or write it as an escape in quotes")
    tab = _TAB_IN_INDENTATION.search(text)
    if tab:
        raise Unreadable(_line_at(text, tab), "a tab in the indentation; expected blanks; replace it by blanks")
    directive = _DIRECTIVE.search(text)
    if directive:
        raise Unreadable(_line_at(text, directive), "a directive (%); expected none; remove the line")


def _line_at(text: str, match: re.Match[str]) -> int:
    return text.count("\n", 0, match.start()) + 1


class _Dumper(yaml.SafeDumper):
    """Quotes what any reader could take for something else than text; writes no aliases."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def dump(document: Any) -> str:
    """YAML that read() reads as the document: mappings, lists, text, truth values, None and numbers that are not negative."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=1 << 20)
