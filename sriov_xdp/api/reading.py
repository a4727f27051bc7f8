"""Reads configurations for the daemon, in short-lived processes: megabytes of YAML take seconds and hundreds of MiB, and Python's
threads share one lock, which collecting that garbage holds for half a second (measured), while guests wait.

The parent's half is ConfigurationReader, the child's main(): a request's body on stdin, a pickled result on stdout. The child
runs at low priority with limits on time and memory; it is our own code, so its pickle is trusted.
"""

import asyncio
import os
import pickle
import resource
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections import Counter
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sriov_xdp.api import config, sentences
from sriov_xdp.pf.errors import Invalid
from sriov_xdp.pf.state.intent import HostIntent
from sriov_xdp.pf.state.trial import MOST_SECONDS

CHILD_SECONDS = 100
_CHILD_MEMORY_BYTES = 1 << 30  # 4 MiB of YAML take 0.6
_CHILD_NICENESS = 10
_RESULT_BYTES = 8 << 20
_MOST_WAITING = 4  # of one peer
_SHOWN_PROBLEMS = 1000
_USAGE, _ERROR = 2, 1


class Configuration(BaseModel):
    """A whole configuration, as text, so that the daemon sees what a person wrote. file: its name, for messages; path: where it is,
    absolute; yes: what is removed by it is meant, whatever it is; consented: the steps that somebody was shown and meant;
    confirm_timeout_seconds: it is taken back unless somebody confirms it by then; since_seconds: how old the requests may be that
    are decided again by it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str
    file: str | None = None
    path: str | None = None
    yes: bool = False
    consented: list[str] = []
    since_seconds: Annotated[int, Field(strict=True, ge=1, le=10 * 366 * 86_400)] | None = None
    confirm_timeout_seconds: Annotated[int, Field(strict=True, ge=1, le=MOST_SECONDS)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a request with a configuration asks for. The request comes without its text, of which fingerprint remains."""

    request: Configuration
    intent: HostIntent
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unusable:
    """Why there is nothing to ask for; code is the CLI's exit code."""

    code: int
    text: str


class TooBusy(Exception):
    """Not now; nothing was done."""


def problems_of(model: type[BaseModel], error: ValidationError) -> str:
    """A line a problem: path, value, what was expected."""
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return f"request: {first['msg']}"
    return "\n".join(str(finding) for finding in sentences.findings(model, error, None, config.MAX_FINDINGS))


def _first_problems(text: str) -> str:
    lines = text.splitlines()
    more = len(lines) - _SHOWN_PROBLEMS
    return text if more <= 0 else "\n".join([*lines[:_SHOWN_PROBLEMS], f"configuration: {more} more problems"])


class ConfigurationReader:
    """One configuration at a time for root, and one for all others; the rest of their requests waits."""

    def __init__(self) -> None:
        self._lanes = {is_root: asyncio.Lock() for is_root in (True, False)}
        self._waiting: Counter[int] = Counter()

    async def read(self, body: bytes, uid: int) -> Wanted | Unusable:
        """The body of a request for apply or diff. Raises TooBusy when the peer has too many of them waiting."""
        if self._waiting[uid] >= _MOST_WAITING:
            raise TooBusy(f"{_MOST_WAITING} configurations of this user wait to be read")
        self._waiting[uid] += 1
        try:
            async with self._lanes[uid == 0]:
                return await _read_in_child(body)
        finally:
            self._waiting[uid] -= 1
            if not self._waiting[uid]:
                del self._waiting[uid]


async def _read_in_child(body: bytes) -> Wanted | Unusable:
    command = [sys.executable, "-I", "-c", f"from {__name__} import main; main()"]
    child = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL)
    try:
        async with asyncio.timeout(CHILD_SECONDS):
            output, _errors = await child.communicate(body)
    except TimeoutError:
        return Unusable(code=_ERROR, text=f"configuration: reading it takes longer than {CHILD_SECONDS} s; split the host")
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode:
        text = f"configuration: its reader ended with {child.returncode}; it may need more memory than there is; split the host"
        return Unusable(code=_ERROR, text=text)
    result = pickle.loads(output)  # noqa: S301  # written by main() below
    assert isinstance(result, Wanted | Unusable)
    return result


def main() -> None:
    """The child."""
    os.nice(_CHILD_NICENESS)
    resource.setrlimit(resource.RLIMIT_AS, (_CHILD_MEMORY_BYTES, _CHILD_MEMORY_BYTES))
    result = _result_of(sys.stdin.buffer.read())
    output = pickle.dumps(result)
    if len(output) > _RESULT_BYTES:
        output = pickle.dumps(Unusable(code=_ERROR, text="configuration: it stands for more than a host can be; split the host"))
    sys.stdout.buffer.write(output)


def _result_of(body: bytes) -> Wanted | Unusable:
    try:
        request = Configuration.model_validate_json(body)
        return Wanted(
            request=request.model_copy(update={"text": ""}),
            intent=config.parse(request.text, request.file),
            fingerprint=config.fingerprint(request.text),
        )
    except ValidationError as error:
        return Unusable(code=_USAGE, text=problems_of(Configuration, error))
    except Invalid as error:
        return Unusable(code=_ERROR, text=_first_problems(str(error)))
    except MemoryError:
        text = f"configuration: reading it needs more than {_CHILD_MEMORY_BYTES >> 20} MiB; split the host"
        return Unusable(code=_ERROR, text=text)
