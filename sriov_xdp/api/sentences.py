"""What is wrong with a document, in sentences for its writer: what was observed, what is expected, what to do.

pydantic finds what does not fit the models; its words stay inside. A sentence says what the field is declared to be, so a new field
needs no text here: a Form in its type where the type alone does not say enough. Used by api.config, and by api.server for requests.
"""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le
from pydantic import BaseModel, StringConstraints, ValidationError
from pydantic.fields import FieldInfo

from sriov_xdp.api import numerals
from sriov_xdp.api.findings import Finding, Path, path_text, shown
from sriov_xdp.api.yaml_nodes import Node

_LONGEST_TYPO = 64
_FEW_KEYS = 4
KEY = "[key]"  # how pydantic ends the path of a key that does not fit


@dataclass(frozen=True, slots=True)
class Form:
    """Metadata of a field. text: what is expected, in words; keys: the model of the mapping that it may be written as; is_number:
    whether a number may stand there, too."""

    text: str
    keys: type[BaseModel] | None = None
    is_number: bool = False


@dataclass(frozen=True, slots=True)
class Declared:
    """What the models say about a path. kind: a type without Optional and Annotated; None where no field is declared."""

    kind: Any
    metadata: tuple[Any, ...] = ()
    is_required: bool = False

    @property
    def form(self) -> Form | None:
        """What its type says about it in words."""
        return next((item for item in self.metadata if isinstance(item, Form)), None)

    @property
    def model(self) -> type[BaseModel] | None:
        """Of the mapping that it is or may be."""
        if isinstance(self.kind, type) and issubclass(self.kind, BaseModel):
            return self.kind
        return self.form.keys if self.form else None

    @property
    def choices(self) -> list[str]:
        """Of an enumeration or a literal."""
        if isinstance(self.kind, type) and issubclass(self.kind, Enum):
            return [str(member.value) for member in self.kind]
        return [str(value) for value in get_args(self.kind)] if get_origin(self.kind) is Literal else []

    @property
    def is_number(self) -> bool:
        """Whether it is written as a number."""
        if self.form:
            return self.form.is_number
        return self.kind is int or (get_origin(self.kind) is Literal and all(type(value) is int for value in get_args(self.kind)))


def declared(model: type[BaseModel], path: Path) -> Declared:
    """What is declared at a path below a document of this model."""
    found = Declared(model)
    for part in path:
        if isinstance(part, int):
            found = _bare(get_args(found.kind)[0], ()) if get_origin(found.kind) is list else Declared(None)
        elif get_origin(found.kind) is dict:
            key, value = get_args(found.kind)
            found = _bare(key if part == KEY else value, ())
        elif found.model and part in found.model.model_fields:
            field = found.model.model_fields[part]
            bare = _bare(field.annotation, tuple(field.metadata))
            found = Declared(bare.kind, bare.metadata, field.is_required())
        else:
            return Declared(None)
    return found


def _bare(annotation: Any, metadata: tuple[Any, ...]) -> Declared:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _bare(arguments[0], (*metadata, *_flat(arguments[1:])))
    if origin in {Union, UnionType}:
        others = [argument for argument in arguments if argument is not NoneType]
        return _bare(others[0], metadata) if len(others) == 1 else Declared(annotation, metadata)
    return Declared(annotation, metadata)


def _flat(metadata: tuple[Any, ...]) -> Iterator[Any]:
    for item in metadata:
        yield from item.metadata if isinstance(item, FieldInfo) else (item,)


def expected(what: Declared) -> str:
    """What is expected there, in words."""
    if what.form:
        return what.form.text
    if what.choices:
        return one_of(what.choices)
    if what.model:
        return f"a mapping with {' and '.join(_few(list(what.model.model_fields)))}"
    if get_origin(what.kind) is list:
        return "a list"
    if get_origin(what.kind) is dict:
        return f"a mapping, whose keys are {expected(_bare(get_args(what.kind)[0], ()))}"
    return {bool: "true or false", int: _range(what.metadata)}.get(what.kind, "a text")


def _range(metadata: tuple[Any, ...]) -> str:
    least = next((item.ge for item in metadata if isinstance(item, Ge)), None)
    most = next((item.le for item in metadata if isinstance(item, Le)), None)
    match least, most:
        case None, None:
            return "a number"
        case _, None:
            return f"a number, {least} or more"
        case None, _:
            return f"a number, {most} or less"
        case _:
            return f"a number from {least} to {most}"


def _few(names: list[str]) -> list[str]:
    return [", ".join(names[:-1]), names[-1]] if len(names) > 1 else names


def one_of(names: list[str]) -> str:
    """a, b or c."""
    return " or ".join(_few(names))


def observed(value: Any, node: Node | None) -> str:
    """A value as it was written. node None: it comes from JSON."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case dict():
            return _observed_mapping(value)
        case list():
            return "a list" if value else "an empty list"
        case str():
            quoted = shown(value)
            return quoted[1:-1] if node and node.is_plain else quoted
        case _:
            return shown(str(value))[1:-1]


def _observed_mapping(value: dict[Any, Any]) -> str:
    keys = [path_text((str(key),)) for key in value]
    if not keys:
        return "an empty mapping"
    return f"a mapping with {' and '.join(_few(keys))}" if len(keys) <= _FEW_KEYS else f"a mapping of {len(keys)} keys"


def findings(model: type[BaseModel], error: ValidationError, root: Node | None, most: int) -> list[Finding]:
    """A finding for each thing that does not fit the model, at most so many. root: the document as YAML, where it is."""
    items = error.errors(include_url=False, include_context=False)
    return [_finding(item["type"], model, item["loc"], item["input"], root) for item in items[:most]]


def _finding(kind: str, model: type[BaseModel], path: Path, value: Any, root: Node | None) -> Finding:
    if kind == "extra_forbidden":
        line = root.line_of_key(path) if root else None
        return Finding(line, path, _unknown_key(declared(model, path[:-1]), str(path[-1])))
    if path[-1:] == (KEY,):
        what, path = declared(model, (*path[:-2], KEY)), path[:-1]
        return Finding(root.line_of_key(path) if root else None, path, f"a key; expected {expected(what)}; correct it")
    what, line = declared(model, path), root.line_of(path) if root else None
    if kind == "missing":
        return Finding(line, path, f"missing; expected {expected(what)}; add it")
    node = root.at(path) if root else None
    return Finding(line, path, f"{observed(value, node)}; expected {expected(what)}; {_remedy(what, value, node)}")


def _unknown_key(parent: Declared, key: str) -> str:
    known = list(parent.model.model_fields) if parent.model else []
    if not known:
        return "unknown key; remove it"
    meant = _meant(key, known)
    remedy = f"write {meant}, or remove it" if meant else "remove it or correct its spelling"
    return f"unknown key; expected {one_of(known)}; {remedy}"


def _meant(text: str, known: list[str]) -> str | None:
    close = difflib.get_close_matches(text, known, 1) if len(text) <= _LONGEST_TYPO else []
    return close[0] if close else None


def _remedy(what: Declared, value: Any, node: Node | None) -> str:
    if value is None:
        return "write it" if what.is_required else "write it or leave the key out"
    if what.is_number:
        return _number_remedy(what, value, node)
    return _choice_remedy(what, value) if what.choices else _shape_remedy(what, value, node)


def _choice_remedy(what: Declared, value: Any) -> str:
    meant = what.choices[0] if len(what.choices) == 1 else _meant(value, what.choices) if isinstance(value, str) else None
    return f"write {meant}" if meant else "write one of them"


def _shape_remedy(what: Declared, value: Any, node: Node | None) -> str:
    if get_origin(what.kind) is list:
        return "add to it" if isinstance(value, list) else "write it as a list, each entry after `- `"
    if get_origin(what.kind) is dict:
        return "write its keys, each on a line of its own"
    if what.model and not what.form:
        return "write its keys, each on a line of its own"
    if what.kind is bool:
        return "write one of them, without quotes"
    if what.kind is str and isinstance(value, bool | int) and _fits_as_text(what, observed(value, node)):
        return "put it in quotes"
    return "correct it"


def _fits_as_text(what: Declared, text: str) -> bool:
    patterns = [item.pattern for item in what.metadata if isinstance(item, StringConstraints) and item.pattern]
    return all(re.search(pattern, text) for pattern in patterns)


def _number_remedy(what: Declared, value: Any, node: Node | None) -> str:
    otherwise = f"write {what.choices[0]}" if len(what.choices) == 1 else "correct it" if what.form else "write digits only"
    if isinstance(value, str):
        is_quoted = node is None or not node.is_plain
        if is_quoted and numerals.NUMBER.fullmatch(value):
            return "remove the quotes"
        return numerals.remedy(value) or otherwise
    return "write one in this range" if type(value) is int and not what.choices and not what.form else otherwise
