"""What is wrong with a configuration is said at once: each mistake with file, line, path, what was observed and expected, and a
remedy, and nothing that only follows from another mistake."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from host_example import ADAPTER, EXAMPLE, WEB, example, guests, problems

from sriov_xdp.api import documents
from sriov_xdp.api.config import from_content, parse
from sriov_xdp.api.sentences import one_of
from sriov_xdp.pf.errors import Invalid


@dataclass(frozen=True, slots=True)
class Mistake:
    """A change of the example, and what is said of it."""

    name: str
    old: str
    new: str
    lines: list[str]


def _keys(found: re.Match[str]) -> str:
    names = one_of(list(getattr(documents, found["model"]).model_fields))
    return names.replace(" or ", " and ") if found["and"] else names


def _mistake(block: str) -> Mistake:
    name, *rest = block.splitlines()
    change = {sign: "\n".join(line[2:] for line in rest if line.startswith(sign)) for sign in "-+"}
    lines = [re.sub(r"<(?P<model>\w+)(?P<and>, and)?>", _keys, line) for line in rest if line[:1].isdigit()]
    return Mistake(name, change["-"], change["+"], lines)


_TEXT = Path(__file__).with_name("configuration_mistakes.txt").read_text()
MISTAKES = [_mistake(block) for block in re.split(r"^# ", _TEXT, flags=re.MULTILINE)[1:]]


@pytest.mark.parametrize("mistake", MISTAKES, ids=[mistake.name for mistake in MISTAKES])
def test_a_mistake_is_named_alone_with_line_path_and_remedy(mistake: Mistake) -> None:
    assert [f"host.yaml:{line}" for line in mistake.lines] == problems(example(mistake.old, mistake.new))


@pytest.mark.parametrize(("first", "second"), [("web", "web"), ("web", "both"), ("both", "db"), ("both", "both")])
def test_one_address_twice_where_vlans_meet_is_a_contradiction(first: str, second: str) -> None:
    adapters = [f'{{name: eth0, port_group: {group}, mac: "02:00:00:00:01:01"}}' for group in (first, second)]
    wanted = "also vm0's eth0 in the same VLAN; expected an address of its own; give each its own"
    assert [f"host.yaml:6: guests[1].adapters[0].mac: 02:00:00:00:01:01: {wanted}"] == problems(guests(*adapters))


@pytest.mark.parametrize("num_vfs", [1, 2])
def test_a_pf_has_a_vf_for_each_of_its_adapters(num_vfs: int) -> None:
    text = guests(*["{name: eth0, port_group: web}"] * 3).replace("num_vfs: 8", f"num_vfs: {num_vfs}")
    wanted = f"{num_vfs}, but 3 adapters are on this PF; expected as many; raise it or remove adapters"
    assert [f"host.yaml:2: pfs[0].num_vfs: {wanted}"] == problems(text)
    assert 3 == len(parse(text.replace(f"num_vfs: {num_vfs}", "num_vfs: 3")).adapters)


def test_a_host_has_at_most_sixteen_pfs() -> None:
    sixteen, seventeen = (
        "version: 1\npfs:\n" + "".join(f"- {{name: pf{n}, num_vfs: 1}}\n" for n in range(count)) for count in (16, 17)
    )
    assert 16 == len(parse(sixteen).pfs)
    assert ["host.yaml:3: pfs: 17 PFs; a host has at most 16; remove PFs"] == problems(seventeen)


@pytest.mark.parametrize(
    ("old", "new", "line", "path", "first"),
    [
        ("    num_vfs: 8 ", "    name: pf1\n    num_vfs: 8 ", 5, "pfs[0].name", 3),
        ("guests:\n", "pfs: []\nguests:\n", 20, "pfs", 2),
        ("{access: 100}", "{access: 100, access: 101}", 16, "switches[0].port_groups[0].vlan.access", 16),
    ],
)
def test_a_key_given_twice_is_named_with_both_lines_and_alone(old: str, new: str, line: int, path: str, first: int) -> None:
    wanted = f"host.yaml:{line}: {path}: given twice, first on line {first}; expected once; keep one"
    assert [wanted] == problems(example(old, new))


def test_mistakes_of_every_kind_are_reported_at_once_by_line() -> None:
    text = example("num_vfs: 8", "num_vfs: 0100").replace("deny_reply: silent", "deny_reply: loud").replace("kind: vf", "king: vf")
    text = text.replace("    pf: pf0", "    pf: pf9").replace("mtu: 1500", "mtu: 10").replace("port_group: web", "port_group: www")
    keys = one_of(list(documents.AdapterDocument.model_fields))
    assert [
        "host.yaml:5: pfs[0].num_vfs: 0100; expected a number from 1 to 256; 0100 is octal for some readers: write 100 or 64",
        "host.yaml:9: switches[0].pf: pf9: no such PF; expected pf0; correct it or add the PF",
        "host.yaml:10: switches[0].mtu: 10; expected a number from 68 to 9216; write one in this range",
        "host.yaml:13: switches[0].policy.deny_reply: loud; expected silent or nack; write one of them",
        f"host.yaml:24: guests[0].adapters[0].king: unknown key; expected {keys}; write kind, or remove it",
        "host.yaml:24: guests[0].adapters[0].port_group: www: no such port group; expected lab, web; correct it or add the group",
        "host.yaml:25: version: given twice, first on line 1; expected once; keep one",
    ] == problems(text + "version: 1\n")


WEB_TWICE = ADAPTER + ADAPTER.replace("eth0", "eth1")
SAME_MAC = "25: guests[0].adapters[1].mac: 02:00:00:00:01:01: also vm1's eth0 in the same VLAN; expected an address of its own;"
TAIL = EXAMPLE[EXAMPLE.index(WEB) :]
DOUBTS = {
    "a PF whose name is wrong may be the one": ("  - name: pf0", "  - name: PF0", ["3: pfs[0].name"]),
    "a PF whose name is missing may be the one": ("  - name: pf0", "  - nam: pf0", ["3: pfs[0].name", "3: pfs[0].nam"]),
    "a list of PFs that is none may hold it": ("pfs:\n  - name: pf0", "pfs:\n    name: pf0", ["3: pfs"]),
    "a PF that is no mapping may be it": ("switches:\n", "  - 7\nswitches:\n", ["6: pfs[1]"]),
    "a misspelt list may hold it": ("pfs:\n", "pf:\n", ["2: pf"]),
    "a group whose name is wrong may be the one": (
        "      - name: web",
        "      - name: w/b",
        ["15: switches[0].port_groups[0].name"],
    ),
    "a misspelt list of groups may hold it": ("    port_groups:", "    port_group:", ["14: switches[0].port_group"]),
    "a list that is given twice may hold it": ("guests:\n", "switches: []\nguests:\n", ["20: switches"]),
    "a VLAN that is wrong may not be another's": (
        TAIL,
        TAIL.replace("100", "0x64") + ADAPTER.replace("eth0", "eth1").replace("web", "lab"),
        ["16: switches[0].port_groups[0].vlan.access"],
    ),
}


@pytest.mark.parametrize(("old", "new", "places"), DOUBTS.values(), ids=DOUBTS)
def test_nothing_is_concluded_from_what_is_wrong(old: str, new: str, places: list[str]) -> None:
    text = example(old, new)
    assert [f"host.yaml:{place}" for place in places] == [": ".join(line.split(": ")[:2]) for line in problems(text)]


CERTAINTIES = {
    "a PF without VFs has its name": (
        "num_vfs: 8 ",
        "num_vfs: eight ",
        "    pf: pf0",
        "    pf: pf9",
        "9: switches[0].pf: pf9: no such PF;",
    ),
    "a group without its VLAN has its name": (
        "vlan: {access: 100}",
        "vlan: 100",
        "port_group: web",
        "port_group: www",
        "24: guests[0].adapters[0].port_group: www: no such port group; expected lab, web;",
    ),
    "a group's ports meet whatever its VLAN is": (
        "vlan: {access: 100}",
        "vlan: {access: 0}",
        ADAPTER,
        WEB_TWICE,
        SAME_MAC,
    ),
    "a guest without its namespace has its name": (
        "netns: vm1 ",
        "netns: 7:7 ",
        ADAPTER,
        ADAPTER + ADAPTER.replace("web", "lab"),
        "25: guests[0].adapters[1].name: eth0: guest vm1 has an adapter of this name;",
    ),
    "an adapter without its data path has its address": (
        "datapath: auto",
        "datapath: fast",
        ADAPTER,
        WEB_TWICE,
        SAME_MAC,
    ),
}


@pytest.mark.parametrize(("old", "new", "other_old", "other_new", "line"), CERTAINTIES.values(), ids=CERTAINTIES)
def test_what_is_right_is_concluded_from(old: str, new: str, other_old: str, other_new: str, line: str) -> None:
    """The same contradiction is said with the mistake and without it."""
    (said,) = problems(example(other_old, other_new))
    assert said.startswith(f"host.yaml:{line}")
    assert said in problems(example(other_old, other_new).replace(old, new))
    assert 1 < len(problems(example(other_old, other_new).replace(old, new)))


def test_a_document_names_its_problems_as_the_file_is_called() -> None:
    with pytest.raises(Invalid) as refusal:
        parse("version: 2\n")
    assert "configuration:1: version: 2; expected 1; write 1" == str(refusal.value)
    with pytest.raises(Invalid) as refusal:
        from_content({"version": 2})
    assert "configuration: version: 2; expected 1; write 1" == str(refusal.value)
