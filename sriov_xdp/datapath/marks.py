"""What bpffs itself knows of its owner: the daemon's instance, the revision of its state, and how uplinks were found, as the names
of empty folders.

Pins outlive the state file: a state that is missing, of another instance or older than what bpffs has seen is not an empty one.
A boot empties bpffs, so that what is said here is always of this boot. Renaming a folder is one step. For the pf package.
"""

from pathlib import Path

_INSTANCE, _REVISION, _FOUND = "instance-", "revision-", "found-"
MARK_PREFIXES = (_INSTANCE, _REVISION, _FOUND)


class Marks:
    """The marks of one folder of pins."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def instance(self) -> str | None:
        """Whose pins these are, None where nobody said so yet."""
        return self._read(_INSTANCE)

    def revision(self) -> int:
        """The last revision of the state that was written down here, 0 for none."""
        said = self._read(_REVISION) or ""
        return int(said) if said.isdecimal() else 0

    def write_instance(self, instance: str) -> None:
        """Raises OSError."""
        self._write(_INSTANCE, instance)

    def write_revision(self, revision: int) -> None:
        """Raises OSError."""
        self._write(_REVISION, str(revision))

    def found(self, number: int) -> str | None:
        """How the uplink of the PF of this number was before it was taken, None where nobody said so."""
        return self._read(f"{_FOUND}{number}-")

    def all_found(self) -> dict[int, str]:
        """The same of every PF, by its number; what cannot be read is left out."""
        said = (path.name.removeprefix(_FOUND).partition("-") for path in self._root.glob(f"{_FOUND}*-*"))
        return {int(number): text for number, _dash, text in said if number.isdecimal()}

    def write_found(self, number: int, text: str) -> None:
        """Of a name's letters and length. Raises OSError."""
        self._write(f"{_FOUND}{number}-", text)

    def forget_found(self, number: int) -> None:
        """It was given back. Raises OSError."""
        for path in self._root.glob(f"{_FOUND}{number}-*"):
            path.rmdir()

    def _read(self, prefix: str) -> str | None:
        found = sorted(self._root.glob(f"{prefix}*")) if self._root.is_dir() else []
        return found[0].name.removeprefix(prefix) if found else None

    def _write(self, prefix: str, value: str) -> None:
        wanted = self._root / f"{prefix}{value}"
        before = self._read(prefix)
        if before is None:
            wanted.mkdir(mode=0o700, parents=True, exist_ok=True)
        elif before != value:
            (self._root / f"{prefix}{before}").rename(wanted)
