"""Configurations are read in processes of their own, a peer's one after the other; the daemon gets the result or the reason."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from sriov_xdp.api import config, reading
from sriov_xdp.api.reading import ConfigurationReader, TooBusy, Unusable, Wanted

TEXT = """
version: 1
pfs: [{name: pf0, num_vfs: 4}]
switches: [{name: s0, pf: pf0, port_groups: [{name: web, vlan: {trunk: [10, 20-29]}}, {name: db, vlan: {access: 7}}]}]
guests: [{name: vm1, adapters: [{name: eth0, port_group: web, mac: "02:00:00:00:01:01"}]}]
"""


def body(text: str) -> bytes:
    return json.dumps({"text": text}).encode()


def read(content: bytes, uid: int = 0) -> Wanted | Unusable:
    async def told() -> Wanted | Unusable:
        return await ConfigurationReader().read(content, uid)

    return asyncio.run(told())


def test_what_a_file_says_arrives_whole() -> None:
    wanted = read(body(TEXT))
    assert isinstance(wanted, Wanted)
    assert (config.parse(TEXT), "") == (wanted.intent, wanted.request.text)


@pytest.mark.parametrize(
    ("content", "code", "text"),
    [
        (body("version: 2"), 1, "version"),
        (body("a: [b"), 1, "not YAML"),
        (body("[" * 100_000), 1, "nested deeper"),
        (b"{", 2, "Invalid JSON"),
        (b"[" * 100_000, 2, "Invalid JSON"),
        (b"\xff\xfe", 2, "Invalid JSON"),
        (b'{"text": 7}', 2, "text: 7;"),
        (b'{"text": "a", "more": 1}', 2, "more"),
        (b"[]", 2, "an empty list"),
    ],
)
def test_what_cannot_be_used_comes_with_its_reason(content: bytes, code: int, text: str) -> None:
    unusable = read(content)
    assert isinstance(unusable, Unusable)
    assert code == unusable.code
    assert text in unusable.text


def test_problems_are_shown_up_to_a_number() -> None:
    groups = "".join(f"  - {{name: g{number}, vlan: 9}}\n" for number in range(3000))
    unusable = read(body(f"version: 1\npfs: []\nswitches:\n- name: s\n  pf: pf0\n  port_groups:\n{groups}"))
    assert isinstance(unusable, Unusable)
    assert 1001 >= len(unusable.text.splitlines())


def with_child(program: str) -> Callable[[pytest.MonkeyPatch], None]:
    """Has the reader run another program."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        real = asyncio.create_subprocess_exec
        monkeypatch.setattr(asyncio, "create_subprocess_exec", lambda *_command, **pipes: real("/bin/sh", "-c", program, **pipes))

    return patch


def test_a_child_that_dies_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with_child("kill -9 $$")(monkeypatch)
    unusable = read(body(TEXT))
    assert isinstance(unusable, Unusable)
    assert (1, True) == (unusable.code, "ended with -9" in unusable.text)


def test_a_child_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    with_child("exec sleep 1000")(monkeypatch)
    monkeypatch.setattr(reading, "CHILD_SECONDS", 0.2)
    unusable = read(body(TEXT))
    assert isinstance(unusable, Unusable)
    assert "takes longer than 0.2 s" in unusable.text


# One after the other.


class Children:
    """Stands for the processes: notes how many run at once, and ends when told."""

    def __init__(self) -> None:
        self.now: list[int] = []
        self.may_end = asyncio.Event()

    async def read(self, content: bytes) -> Unusable:
        self.now.append(int(content))
        await self.may_end.wait()
        self.now.remove(int(content))
        return Unusable(code=1, text="")


def among_children(monkeypatch: pytest.MonkeyPatch, story: Callable[[ConfigurationReader, Children], Awaitable[None]]) -> None:
    async def told() -> None:
        children = Children()
        monkeypatch.setattr(reading, "_read_in_child", children.read)
        await story(ConfigurationReader(), children)

    asyncio.run(told())


def test_root_does_not_wait_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(reader: ConfigurationReader, children: Children) -> None:
        tasks = [asyncio.create_task(reader.read(b"%d" % uid, uid)) for uid in (1000, 1000, 1001, 0, 0)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [1000, 0] == children.now
        children.may_end.set()
        await asyncio.gather(*tasks)
        assert [] == children.now

    among_children(monkeypatch, story)


def test_only_so_many_of_one_peer_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(reader: ConfigurationReader, children: Children) -> None:
        tasks = [asyncio.create_task(reader.read(b"1", 1000)) for _time in range(4)]
        await asyncio.sleep(0)
        with pytest.raises(TooBusy, match="4 configurations of this user wait to be read"):
            await reader.read(b"1", 1000)
        other = asyncio.create_task(reader.read(b"2", 1001))
        children.may_end.set()
        await asyncio.gather(*tasks, other)
        await reader.read(b"1", 1000)

    among_children(monkeypatch, story)
