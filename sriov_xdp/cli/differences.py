"""Where two documents differ, for people: as lines of YAML for a plan, one line a value for the audit. Pure; for the commands."""

import difflib
from collections.abc import Iterator
from typing import Any

from sriov_xdp.shown import cell, printable

_LINES_AROUND = 2


def yaml_differences(before: Any, after: Any) -> Iterator[str]:
    """Lines of YAML that go, after a minus, and that come, after a plus, with a few around them. None: the object is not there."""
    former, latter = (_yaml_lines(document) for document in (before, after))
    for line in list(difflib.unified_diff(former, latter, lineterm="", n=_LINES_AROUND))[2:]:
        if not line.startswith("@@"):
            yield printable(line)


def _yaml_lines(document: Any) -> list[str]:
    from sriov_xdp.api.yaml_text import dump

    return [] if document is None else dump(document).splitlines()


def differences(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """`path: before -> after` for each value that differs. Lists of named objects are compared by their names, in any order."""
    former, latter = _by_name(before), _by_name(after)
    if isinstance(former, dict) and isinstance(latter, dict):
        for key in {**former, **latter}:
            yield from differences(former.get(key), latter.get(key), f"{path}.{key}" if path else str(key))
    elif before != after:
        yield f"{path}: {cell(before)} -> {cell(after)}"


def _by_name(value: Any) -> Any:
    if isinstance(value, list) and value and all(isinstance(item, dict) and "name" in item for item in value):
        return {item["name"]: {key: inner for key, inner in item.items() if key != "name"} for item in value}
    return value
