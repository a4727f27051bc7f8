"""The well-formed part of a document: what does not fit the models is left out or stood in for, and remembered as doubtful, so
that the rest can be checked as a whole in the same run. Pure. Used by api.config.
"""

import copy
import itertools
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any, Literal, TypeVar, get_args, get_origin

from annotated_types import Le
from pydantic import BaseModel, ValidationError

from sriov_xdp.api.findings import Path
from sriov_xdp.api.sentences import KEY, Declared, declared

_ROUNDS = 4  # a list where a mapping should be is repaired, then what the mapping lacks, then what that lacks
AnyPath = tuple[str | int | None, ...]  # None: any entry of the list
Model = TypeVar("Model", bound=BaseModel)


class Doubt:
    """Values that are not what the writer meant. Nothing can be concluded from them."""

    def __init__(self, paths: Iterable[Path] = ()) -> None:
        self._paths: set[AnyPath] = set()
        for path in paths:
            self.add(path)

    def add(self, path: Path) -> None:
        """The value at the path, and all below it."""
        self._paths.add(path)
        self._paths.add(_any(path))

    def covers(self, path: AnyPath) -> bool:
        """Whether the value there is doubtful; with None in the path, whether one of them is."""
        wanted = _any(path) if None in path else path
        return any(wanted[:length] in self._paths for length in range(len(path) + 1))


def _any(path: AnyPath) -> AnyPath:
    return tuple(part if isinstance(part, str) else None for part in path)


def well_formed(model: type[Model], content: Any, error: ValidationError, doubt: Doubt) -> Model | None:
    """A document of what is right in content, whose error this is; None where too much is wrong. What is not as it was written is
    added to doubt."""
    repaired, stand_ins = copy.deepcopy(content), itertools.count()
    for _round in range(_ROUNDS):
        for item in error.errors(include_url=False, include_context=False, include_input=False):
            _repair(model, repaired, item["type"], item["loc"], doubt, stand_ins)
        try:
            return model.model_validate(repaired)
        except ValidationError as remaining:
            error = remaining
    return None


def _repair(model: type[BaseModel], content: Any, kind: str, path: Path, doubt: Doubt, stand_ins: Iterator[int]) -> None:
    if path[-1:] == (KEY,):
        _repair(model, content, "extra_forbidden", path[:-1], doubt, stand_ins)
        return
    parent = _at(content, path[:-1])
    if not path or not isinstance(parent, dict | list):
        return
    key: Any = path[-1]
    if kind == "extra_forbidden":
        siblings = declared(model, path[:-1]).model
        del parent[key]
        for name in siblings.model_fields if siblings else ():
            if name not in parent:  # the writer may have meant this one
                doubt.add((*path[:-1], name))
        return
    what = declared(model, path)
    if isinstance(parent, list) and not what.model:
        _repair(model, content, kind, path[:-1], doubt, stand_ins)
        return
    doubt.add(path)
    if what.is_required or isinstance(parent, list):
        parent[key] = _stand_in(what, next(stand_ins))
    elif key in parent:
        del parent[key]


def _at(content: Any, path: Path) -> Any:
    for part in path:
        try:
            content = content[part]
        except (KeyError, IndexError, TypeError):
            return None
    return content


def _stand_in(what: Declared, number: int) -> Any:
    """A value that fits; of a text, one that nobody else has, and that fits each kind of name."""
    if what.model:
        return {}
    if get_origin(what.kind) is list:
        return []
    if get_origin(what.kind) is Literal:
        return get_args(what.kind)[0]
    if isinstance(what.kind, type) and issubclass(what.kind, Enum):
        return next(iter(what.kind))
    if what.kind is int:
        return next((item.le for item in what.metadata if isinstance(item, Le)), 0)
    return f"z{number:06d}"
