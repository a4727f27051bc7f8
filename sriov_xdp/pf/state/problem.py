"""What is wrong with a host intent: where, what, and what it was concluded from. Pure values; for validation and its callers."""

from dataclasses import dataclass

Path = tuple[str | int | None, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """path: of the value, as in a configuration file, except that adapters are counted over all guests and have the names of
    AdapterSpec: ("adapters", 7, "mac"). text: observed; expected; remedy. rests_on: the other values that it was concluded from;
    None stands for each entry of a list."""

    path: Path
    text: str
    rests_on: tuple[Path, ...] = ()
