"""From YAML's events to nodes that know their line: what a value is, what is written twice, how much is too much.

Not here: characters and bytes (yaml_text.py), what a configuration may say (config.py). Used by api.yaml_text.

libyaml scans, as PyYAML's own scanner takes sixteen times as long. It gives one event after the other. They are counted first,
which takes a quarter of the time of making nodes, so that a text beyond a limit is left at that place with nothing made.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from sriov_xdp.api.findings import Finding, Path, Unreadable, shown

MAX_VALUES = 200_000  # keys count, too; a bomb of aliases is small as text and endless as values
MAX_DEPTH = 32

_NULL, _BOOL, _INT = (f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int"))
_VALUES: dict[str, Callable[[str], Any]] = {_NULL: lambda _text: None, _BOOL: lambda text: text == "true", _INT: int}

_SECOND_DOCUMENT = "a second document (---) begins; expected one; remove it or give it a file of its own"
_TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels; expected less; take out what is nested too deep"
_PLAIN = (None, "")  # libyaml's and PyYAML's word for a scalar without quotes

# Said by libyaml from 0.2.6 on, which looks ahead: before there is an event of the level that is too deep for us.
_BEYOND_LIBYAML = "exceeded maximum nesting depth"

# libyaml's words for what it could not read, and ours.
_SYNTAX = {
    "mapping values are not allowed in this context": "a `:` where no key can be; indent the line as its neighbours, or put a text "
    "with `: ` in quotes",
    "found character that cannot start any token": "a character that starts no value; put the text in quotes",
    "did not find expected key": "expected a key; indent the line as the keys above it",
    "did not find expected '-' indicator": "expected `- `; indent the line as the entries above it",
    "did not find expected node content": "expected a value; close what is open",
    "did not find expected ',' or ']'": "expected `,` or `]`; close the list",
    "did not find expected ',' or '}'": "expected `,` or `}`; close the mapping",
    "found unexpected end of stream": "expected a closing quote before the end; close the text",
    "did not find expected <document start>": "something after the end of the document (...); remove one of the two",
}


@dataclass(slots=True)
class Node:
    """A value of a document. value: str, int, bool, None, list[Node] or dict[str, Node]. text: a scalar as it stands there, without
    its quotes; None for a collection. size, height: in values and levels, aliases written out."""

    line: int
    value: Any
    text: str | None = None
    is_plain: bool = False
    key_lines: dict[str, int] | None = None
    size: int = 1
    height: int = 0

    def at(self, path: Path) -> "Node | None":
        """The value at a path below this one."""
        node, depth = self._deepest(path)
        return node if depth == len(path) else None

    def line_of(self, path: Path) -> int:
        """Of the value at a path; of what it is missing in, where it is not there."""
        return self._deepest(path)[0].line

    def line_of_key(self, path: Path) -> int:
        """Of the key that a path ends with; else as line_of()."""
        parent, depth = self._deepest(path[:-1])
        is_there = depth == len(path) - 1 and parent.key_lines is not None
        return (parent.key_lines or {}).get(str(path[-1]), parent.line) if is_there else parent.line

    def _deepest(self, path: Path) -> "tuple[Node, int]":
        """The node at the longest part of a path that is there, and the length of that part."""
        node = self
        for depth, part in enumerate(path):
            try:
                below = node.value[part]
            except (KeyError, IndexError, TypeError):
                return node, depth
            if not isinstance(below, Node):  # a letter of a text
                return node, depth
            node = below
        return node, len(path)


class _Events(yaml.CBaseLoader):
    """libyaml's events, and our meaning of plain scalars."""


for _tag, _pattern, _first in (
    (_NULL, r"(?:~|null)?\Z", ["", "~", "n"]),
    (_BOOL, r"(?:true|false)\Z", ["t", "f"]),
    (_INT, r"(?:0|[1-9][0-9]{0,17})\Z", list("0123456789")),  # what is longer is no number of a configuration
):
    _Events.add_implicit_resolver(_tag, re.compile(_pattern), _first)
_resolve: Callable[..., str] = _Events("").resolve


def _events(text: str) -> Iterator[Any]:
    """Raises yaml.YAMLError."""
    events = _Events(text)
    try:
        while (event := events.get_event()) is not None:
            yield event
    finally:
        events.dispose()


def _count(text: str) -> int:
    """How many values stand there. Raises Unreadable, for whatever ends the reading."""
    values = documents = 0
    unclosed: list[yaml.CollectionStartEvent] = []
    try:
        for event in _events(text):
            match event:
                case yaml.ScalarEvent() | yaml.AliasEvent():
                    values += 1
                case yaml.CollectionStartEvent():
                    values += 1
                    unclosed.append(event)
                case yaml.CollectionEndEvent():
                    unclosed.pop()
                case yaml.DocumentStartEvent():
                    documents += 1
                case yaml.StreamStartEvent() | yaml.DocumentEndEvent() | yaml.StreamEndEvent():
                    pass
                case _:
                    raise NotImplementedError(f"{type(event).__name__}: what it adds is not known")
            if values > MAX_VALUES or len(unclosed) > MAX_DEPTH:
                _check_limits(event, values, len(unclosed))
            if documents > 1:
                raise Unreadable(_line(event), _SECOND_DOCUMENT)
    except yaml.YAMLError as error:
        raise _syntax_fault(error, text, [_line(event) for event in unclosed if event.flow_style]) from error
    return values


def _check_limits(event: Any, values: int, depth: int) -> None:
    if values > MAX_VALUES:
        text = f"more than {MAX_VALUES} values, aliases written out; expected at most that; remove what is not needed"
        raise Unreadable(_line(event), text)
    if depth > MAX_DEPTH:
        raise Unreadable(_line(event), _TOO_DEEP)


@dataclass(slots=True)
class _Open:
    """A collection whose end is still to come. key: of the value that comes next in a mapping; None: that value is left out."""

    node: Node
    anchor: str | None
    expects_key: bool = True
    key: str | None = None
    merges: bool = False
    merged: list[Node] = field(default_factory=list)


class Builder:
    """Makes nodes of events. What is wrong but lets the rest be read is kept in findings."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self._open: list[_Open] = []
        self._anchors: dict[str, Node | None] = {}  # None: its value has not ended
        self._root: Node | None = None
        self._values = 0

    def build(self, text: str) -> Node | None:
        """The document's value; None when there is none. Raises Unreadable."""
        self._values = _count(text)
        steps: dict[type, Callable[[Any], None]] = {
            yaml.AliasEvent: self._alias,
            yaml.ScalarEvent: self._scalar,
            yaml.SequenceStartEvent: self._start,
            yaml.MappingStartEvent: self._start,
            yaml.SequenceEndEvent: self._end,
            yaml.MappingEndEvent: self._end,
        }
        for event in _events(text):
            step = steps.get(type(event))
            if step:
                step(event)
        return self._root

    def _alias(self, event: Any) -> None:
        node = self._anchors.get(event.anchor)
        if node is None:
            name = shown(event.anchor)[1:-1]
            where = "inside its own value" if event.anchor in self._anchors else f"without &{name} above it"
            raise Unreadable(_line(event), f"alias *{name} {where}; expected a value that ended before; write the value out")
        self._values += node.size - 1
        _check_limits(event, self._values, len(self._open) + node.height)
        self._add(node)

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        text, is_plain = event.value, event.style in _PLAIN
        make = _VALUES.get(_resolve(yaml.ScalarNode, text, (True, False))) if is_plain else None
        node = Node(_line(event), make(text) if make else text, text, is_plain)
        if event.anchor:
            self._anchors[event.anchor] = node
        if event.tag is not None:
            self._note_tag(event)
        self._add(node)

    def _start(self, event: yaml.SequenceStartEvent | yaml.MappingStartEvent) -> None:
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        node = Node(_line(event), {} if is_mapping else [], key_lines={} if is_mapping else None, height=1)
        if event.tag is not None:
            self._note_tag(event)
        if event.anchor:
            self._anchors[event.anchor] = None
        self._open.append(_Open(node, event.anchor))

    def _end(self, _event: yaml.Event) -> None:
        ended = self._open.pop()
        self._merge(ended)
        if ended.anchor:
            self._anchors[ended.anchor] = ended.node
        self._add(ended.node)

    def _note(self, line: int, path: Path, text: str) -> None:
        self.findings.append(Finding(line, path, text))

    def _path(self) -> Path:
        """Of the value that comes next."""
        keys = (len(part.node.value) if isinstance(part.node.value, list) else part.key for part in self._open)
        return tuple(key for key in keys if key is not None)

    def _note_tag(self, event: Any) -> None:
        tag = shown(event.tag.replace("tag:yaml.org,2002:", "!!"))[1:-1]
        self._note(_line(event), self._path(), f"tag {tag}; expected a value without a tag; remove it")

    def _add(self, node: Node) -> None:
        if not self._open:
            self._root = node
            return
        into = self._open[-1]
        parent = into.node
        parent.size += node.size
        if parent.height <= node.height:
            parent.height = node.height + 1
        if parent.key_lines is None:
            parent.value.append(node)
        elif into.expects_key:
            self._add_key(into, node)
        else:
            self._add_value(into, node)

    def _add_key(self, into: _Open, node: Node) -> None:
        into.expects_key = False
        into.key, into.merges = node.text, node.is_plain and node.text == "<<"
        if node.text is None:
            kind = "a list" if isinstance(node.value, list) else "a mapping"
            self._note(node.line, self._path(), f"{kind} as a key; expected a name; remove it or write the key in quotes")
            return
        assert into.node.key_lines is not None
        if node.text in into.node.key_lines:
            first = into.node.key_lines[node.text]
            self._note(node.line, self._path(), f"given twice, first on line {first}; expected once; keep one")
        into.node.key_lines[node.text] = node.line

    def _add_value(self, into: _Open, node: Node) -> None:
        into.expects_key = True
        if into.merges:
            into.merged += node.value if isinstance(node.value, list) else [node]
        elif into.key is not None:
            into.node.value[into.key] = node
        into.key = None

    def _merge(self, ended: _Open) -> None:
        """`<<: *base`: what the mapping does not say itself is base's; of several, the first one's."""
        for source in ended.merged:
            if not isinstance(source.value, dict):
                text = "no mapping to merge; expected an alias of a mapping, or a list of them; remove the key"
                self._note(source.line, (*self._path(), "<<"), text)
                continue
            assert ended.node.key_lines is not None
            for key, value in source.value.items():
                if key not in ended.node.value:
                    ended.node.value[key] = value
                    ended.node.key_lines[key] = (source.key_lines or {})[key]


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _syntax_fault(error: yaml.YAMLError, text: str, brackets: list[int]) -> Unreadable:
    """brackets: lines of those that are not closed."""
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    if problem is None or mark is None:
        return Unreadable(None, "not YAML; expected YAML 1.1; compare it with the examples")
    last_line = text.rstrip("\n").count("\n") + 1
    line = min(mark.line + 1, last_line)
    if problem == _BEYOND_LIBYAML:
        return Unreadable(line, _TOO_DEEP)
    said = _SYNTAX.get(problem, f"{problem}; correct it, or put the text in quotes")
    place = f"at column {mark.column + 1}" if mark.line < last_line else "at the end"
    context = getattr(error, "context_mark", None)
    begun = brackets[0] if brackets else context.line + 1 if context else line
    since = f" (begun on line {begun})" if begun != line else ""
    return Unreadable(line, f"not YAML {place}: {said}{since}")
