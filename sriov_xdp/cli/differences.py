"""Where two documents differ, for people who read a plan: one line a value, by its path. Pure; for the commands."""

from collections.abc import Iterator
from typing import Any

from sriov_xdp.cli.output import cell


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
