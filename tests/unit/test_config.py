"""The host configuration file: what is right is read, and what is wrong is named with its path and a remedy."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sriov_xdp.api.config import MAX_FILE_BYTES, fingerprint, from_content, load, parse
from sriov_xdp.pf.errors import Invalid
from sriov_xdp.pf.intent import AdapterSpec, Datapath, HostIntent, PfSpec, WireOwnSource
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.policy import DenyReply, Override, PolicySettings, PortGroup, Security, Switch
from sriov_xdp.vswitch.vlan import NO_VLAN, Vlan

EXAMPLE = """\
version: 1
pfs:
  - name: pf0
    uplink: wire0            # an existing netdev; leave out for a switch without uplink
    num_vfs: 8               # 1..256
switches:
  - name: vSwitch0
    kind: standard
    pf: pf0
    mtu: 1500
    policy:
      security: {promiscuous: reject, mac_changes: reject, forged_transmits: reject}
      deny_reply: silent     # silent | nack
    port_groups:
      - name: web
        vlan: {access: 100}            # none | access: N | trunk: [N, "A-B"]
      - name: lab
        vlan: none
        policy: {security: {mac_changes: accept, forged_transmits: accept}, deny_reply: nack}
guests:
  - name: vm1
    netns: vm1               # created when missing; removed on detach only if created by us
    adapters:
      - {name: eth0, kind: vf, port_group: web, mac: "02:00:00:00:01:01", datapath: auto}   # mac optional
"""
STRICT = PolicySettings(
    promiscuous=Security.REJECT, mac_changes=Security.REJECT, forged_transmits=Security.REJECT, deny_reply=DenyReply.SILENT
)
OPEN = PolicySettings(mac_changes=Security.ACCEPT, forged_transmits=Security.ACCEPT, deny_reply=DenyReply.NACK)
ADAPTER = '      - {name: eth0, kind: vf, port_group: web, mac: "02:00:00:00:01:01", datapath: auto}   # mac optional\n'
WEB = '        vlan: {access: 100}            # none | access: N | trunk: [N, "A-B"]\n'


def example(old: str, new: str) -> str:
    """The example with one change."""
    assert 1 == EXAMPLE.count(old), old
    return EXAMPLE.replace(old, new)


def problems(text: str) -> list[str]:
    """What is said of a configuration that is refused, a line each."""
    with pytest.raises(Invalid) as refusal:
        parse(text)
    return str(refusal.value).splitlines()


def guests(*adapters: str) -> str:
    """A host whose guests vm0, vm1... have these adapters, in groups web (VLAN 100), db (200) and both (trunk)."""
    groups = "{name: web, vlan: {access: 100}}, {name: db, vlan: {access: 200}}, {name: both, vlan: {trunk: [100, 200]}}"
    head = f"version: 1\npfs: [{{name: pf0, num_vfs: 8}}]\nswitches: [{{name: s, pf: pf0, port_groups: [{groups}]}}]\nguests:\n"
    return head + "".join(f"- {{name: vm{number}, adapters: [{adapter}]}}\n" for number, adapter in enumerate(adapters))


# What is right.


def test_the_example_is_read_as_it_is_meant() -> None:
    web = PortGroup(name="web", vlan=Vlan.access(100))
    lab = PortGroup(name="lab", vlan=NO_VLAN, policy=OPEN)
    mac = MacAddress.parse("02:00:00:00:01:01")
    assert HostIntent(
        pfs=(PfSpec(name="pf0", uplink="wire0", num_vfs=8),),
        switches=(Switch(name="vSwitch0", pf="pf0", mtu_bytes=1500, policy=STRICT, port_groups=(web, lab)),),
        adapters=(AdapterSpec(guest="vm1", netns="vm1", interface="eth0", port_group="web", mac=mac, datapath=Datapath.AUTO),),
    ) == parse(EXAMPLE)


def test_what_is_left_out_has_its_default() -> None:
    text = """
version: 1
pfs: [{name: pf0, num_vfs: 1}]
switches: [{name: s, pf: pf0, port_groups: [{name: g}]}]
guests: [{name: vm1, adapters: [{name: eth0, port_group: g}]}]
"""
    group = PortGroup(name="g", vlan=NO_VLAN)
    assert HostIntent(
        pfs=(PfSpec(name="pf0", uplink=None, num_vfs=1),),
        switches=(Switch(name="s", pf="pf0", mtu_bytes=1500, policy=PolicySettings(), port_groups=(group,)),),
        adapters=(AdapterSpec(guest="vm1", netns="vm1", interface="eth0", port_group="g", mac=None, datapath=Datapath.AUTO),),
    ) == parse(text)


def test_an_empty_host_is_a_host() -> None:
    assert HostIntent(pfs=(), switches=(), adapters=()) == parse("version: 1\n")


@pytest.mark.parametrize(
    ("written", "vlan"),
    [
        ("none", NO_VLAN),
        ("{access: 4094}", Vlan.access(4094)),
        ("{trunk: [7]}", Vlan.trunk(frozenset({7}))),
        ('{trunk: [10, "20-22"]}', Vlan.trunk(frozenset({10, 20, 21, 22}))),
    ],
)
def test_a_vlan_is_none_access_or_trunk(written: str, vlan: Vlan) -> None:
    assert vlan == parse(example(WEB, f"        vlan: {written}\n")).switches[0].port_groups[0].vlan


def test_a_group_names_the_overrides_it_allows() -> None:
    text = example(WEB, WEB + "        overrides_allowed: [vlan, security]\n")
    assert {Override.VLAN, Override.SECURITY} == parse(text).switches[0].port_groups[0].overrides_allowed


@pytest.mark.parametrize("name", ["auto", "xdp", "tcx"])
def test_an_adapter_names_its_datapath(name: str) -> None:
    assert name == parse(example("datapath: auto", f"datapath: {name}")).adapters[0].datapath


def test_one_address_may_be_used_in_two_vlans() -> None:
    adapters = [f'{{name: eth0, port_group: {group}, mac: "02:00:00:00:01:01"}}' for group in ("web", "db")]
    assert 2 == len(parse(guests(*adapters)).adapters)


def test_an_alias_reads_as_if_written_out() -> None:
    anchored = example("security: {promiscuous: reject", "security: &strict {promiscuous: reject")
    text = anchored.replace("{security: {mac_changes: accept, forged_transmits: accept}", "{security: *strict")
    assert Security.REJECT is parse(text).switches[0].port_groups[1].policy.mac_changes


@pytest.mark.parametrize("setting", WireOwnSource)
def test_a_pf_says_what_becomes_of_its_own_sources_from_the_wire(setting: WireOwnSource) -> None:
    text = example("    num_vfs: 8 ", f"    wire_own_source: {setting}\n    num_vfs: 8 ")
    assert (PfSpec(name="pf0", uplink="wire0", num_vfs=8, wire_own_source=setting),) == parse(text).pfs


@pytest.mark.parametrize(
    ("written", "settings"),
    [
        ("{}", PolicySettings()),
        ("{storm: {}}", PolicySettings()),
        ("{storm: {broadcast_pps: 0}}", PolicySettings(storm_broadcast_pps=0)),
        (
            "{storm: {broadcast_pps: 500, multicast_pps: 10000000}}",
            PolicySettings(storm_broadcast_pps=500, storm_multicast_pps=10_000_000),
        ),
    ],
)
def test_a_policy_says_how_many_group_frames_a_guest_may_send(written: str, settings: PolicySettings) -> None:
    text = example(WEB, f"{WEB}        policy: {{guards: {written}}}\n        overrides_allowed: [guards]\n")
    web = parse(text).switches[0].port_groups[0]
    assert (settings, {Override.GUARDS}) == (web.policy, web.overrides_allowed)


# What is wrong: the change, the path that is named, and the remedy.

SCHEMA_MISTAKES = {
    "unknown key on top": ("version: 1\n", "version: 1\nhosts: []\n", "hosts", "unknown key; remove it or correct its spelling"),
    "unknown key in a PF": ("    uplink: wire0", "    up_link: wire0", "pfs[0].up_link", "unknown key; remove it"),
    "unknown key in a policy": ("deny_reply: silent", "deny: silent", "switches[0].policy.deny", "unknown key; remove it"),
    "unknown key in an adapter": (
        "datapath: auto",
        "datapath: auto, vlans: 7",
        "guests[0].adapters[0].vlans",
        "unknown key; remove it",
    ),
    "missing version": ("version: 1\n", "", "version", "missing; add it"),
    "missing num_vfs": ("    num_vfs: 8 ", "    # ", "pfs[0].num_vfs", "missing; add it"),
    "missing port_group": ("port_group: web, ", "", "guests[0].adapters[0].port_group", "missing; add it"),
    "another version": ("version: 1\n", "version: 2\n", "version: 2", "should be 1"),
    "a version in quotes": ("version: 1\n", 'version: "1"\n', "version: '1'", "should be 1"),
    "a boolean version": ("version: 1\n", "version: true\n", "version: True", "should be"),
    "pfs as a mapping": ("pfs:\n  - name: pf0", "pfs:\n    name: pf0", "pfs: 'given'", "should be a valid list"),
    "num_vfs as a word": ("num_vfs: 8", "num_vfs: eight", "pfs[0].num_vfs: 'eight'", "should be a valid integer"),
    "num_vfs in quotes": ("num_vfs: 8", 'num_vfs: "8"', "pfs[0].num_vfs: '8'", "should be a valid integer"),
    "num_vfs as a boolean": ("num_vfs: 8", "num_vfs: true", "pfs[0].num_vfs: True", "should be a valid integer"),
    "num_vfs as a fraction": ("num_vfs: 8", "num_vfs: 8.5", "pfs[0].num_vfs: 8.5", "should be a valid integer"),
    "no VFs": ("num_vfs: 8", "num_vfs: 0", "pfs[0].num_vfs: 0", "greater than or equal to 1"),
    "too many VFs": ("num_vfs: 8", "num_vfs: 257", "pfs[0].num_vfs: 257", "less than or equal to 256"),
    "a name as a number": ("- name: vm1", "- name: 7", "guests[0].name: 7", "should be a valid string"),
    "a PF's name with capitals": ("  - name: pf0", "  - name: PF0", "pfs[0].name: 'PF0'", "should match pattern"),
    "an interface's name too long": (
        "name: eth0",
        "name: sixteenletters16",
        "guests[0].adapters[0].name: 'sixteenletters16'",
        "should match pattern",
    ),
    "another kind of switch": ("kind: standard", "kind: magic", "switches[0].kind: 'magic'", "should be 'standard'"),
    "another datapath": ("datapath: auto", "datapath: ovs", "guests[0].adapters[0].datapath: 'ovs'", "'auto', 'xdp' or 'tcx'"),
    "another security value": (
        "promiscuous: reject",
        "promiscuous: maybe",
        "switches[0].policy.security.promiscuous: 'maybe'",
        "'accept' or 'reject'",
    ),
    "another reply": ("deny_reply: silent", "deny_reply: loud", "switches[0].policy.deny_reply: 'loud'", "'silent' or 'nack'"),
    "another word for own sources": (
        "    num_vfs: 8 ",
        "    wire_own_source: reject\n    num_vfs: 8 ",
        "pfs[0].wire_own_source: 'reject'",
        "'drop' or 'accept'",
    ),
    "a negative guard": (
        "deny_reply: silent",
        "guards: {storm: {broadcast_pps: -1}}",
        "switches[0].policy.guards.storm.broadcast_pps: -1",
        "greater than or equal to 0",
    ),
    "a guard beyond every rate": (
        "deny_reply: silent",
        "guards: {storm: {multicast_pps: 10000001}}",
        "switches[0].policy.guards.storm.multicast_pps: 10000001",
        "less than or equal to 10000000",
    ),
    "a guard as a word": (
        "deny_reply: silent",
        "guards: {storm: {multicast_pps: none}}",
        "switches[0].policy.guards.storm.multicast_pps: 'none'",
        "should be a valid integer",
    ),
    "a guard of another name": ("deny_reply: silent", "guards: {storms: {}}", "switches[0].policy.guards.storms", "unknown key"),
    "VLAN 0": ("{access: 100}", "{access: 0}", "switches[0].port_groups[0].vlan", "expected 1..4094"),
    "VLAN 4095": ("{access: 100}", "{access: 4095}", "switches[0].port_groups[0].vlan", "expected 1..4094"),
    "a VLAN without mode": ("{access: 100}", "100", "switches[0].port_groups[0].vlan: 100", "expected none, {access: N}"),
    "a VLAN in two modes": ("{access: 100}", "{access: 100, trunk: [7]}", "port_groups[0].vlan", "expected none, {access: N}"),
    "an empty trunk": ("{access: 100}", "{trunk: []}", "switches[0].port_groups[0].vlan", "expected none, {access: N}"),
    "a range turned round": ("{access: 100}", '{trunk: ["20-10"]}', "port_groups[0].vlan", "the smaller first"),
    "a range beyond the last": ("{access: 100}", '{trunk: ["4000-4095"]}', "port_groups[0].vlan", "numbers from 1 to 4094"),
    "an address as a number": (
        '"02:00:00:00:01:01"',
        "12:00:00:00:01:01",
        "guests[0].adapters[0].mac: 9331200061",
        "put it in quotes",
    ),
    "an address too short": (
        '"02:00:00:00:01:01"',
        '"02:00:00"',
        "guests[0].adapters[0].mac: '02:00:00'",
        "expected six hexadecimal bytes",
    ),
}
HOST_MISTAKES = {
    "an MTU too small": ("mtu: 1500", "mtu: 67", "switches[0].mtu: 67", "expected 68 to 9216"),
    "an MTU too large": ("mtu: 1500", "mtu: 9217", "switches[0].mtu: 9217", "expected 68 to 9216"),
    "a switch on no PF": ("    pf: pf0", "    pf: pf9", "switches[0].pf: pf9", "known: pf0"),
    "an adapter in no group": (
        "port_group: web",
        "port_group: www",
        "guests: vm1: adapter eth0: port_group www",
        "known: lab, web",
    ),
    "a multicast address": (
        '"02:00:00:00:01:01"',
        '"03:00:00:00:01:01"',
        "guests: vm1: adapter eth0: mac 03:00:00:00:01:01",
        "first byte must be even",
    ),
    "the zero address": (
        '"02:00:00:00:01:01"',
        '"00:00:00:00:00:00"',
        "guests: vm1: adapter eth0: mac 00:00:00:00:00:00",
        "not a unicast address",
    ),
    "a PF's name twice": ("switches:\n", "  - {name: pf0, num_vfs: 1}\nswitches:\n", "pfs: name pf0", "give each PF its own"),
    "an uplink of two PFs": (
        "switches:\n",
        "  - {name: pf1, uplink: wire0, num_vfs: 1}\nswitches:\n",
        "pfs: uplink wire0",
        "the uplink of one",
    ),
    "a switch's name twice": (
        "guests:\n",
        "  - {name: vSwitch0, pf: pf0}\nguests:\n",
        "switches: name vSwitch0",
        "give each switch its own",
    ),
    "two switches on a PF": ("guests:\n", "  - {name: s1, pf: pf0}\nguests:\n", "switches: pf pf0", "one embedded switch"),
    "a group's name twice": ("      - name: lab", "      - name: web", "switches: port group web", "it must be unique"),
    "an adapter's name twice": (ADAPTER, ADAPTER + ADAPTER, "guests: adapter vm1/eth0", "give each adapter of a guest its own"),
    "an interface twice in a namespace": (
        ADAPTER,
        ADAPTER + "  - {name: vm2, netns: vm1, adapters: [{name: eth0, port_group: lab}]}\n",
        "guests: interface vm1/eth0",
        "unique in its namespace",
    ),
}


def lines_that_say(found: list[str], path: str, remedy: str) -> list[str]:
    return [line for line in found if path in line and remedy in line]


@pytest.mark.parametrize(("old", "new", "path", "remedy"), SCHEMA_MISTAKES.values(), ids=SCHEMA_MISTAKES)
def test_a_mistake_of_form_is_named_alone_with_path_and_remedy(old: str, new: str, path: str, remedy: str) -> None:
    found = problems(example(old, new))
    assert found == lines_that_say(found, path, remedy)


@pytest.mark.parametrize(("old", "new", "path", "remedy"), HOST_MISTAKES.values(), ids=HOST_MISTAKES)
def test_a_contradiction_is_named_once_with_path_and_remedy(old: str, new: str, path: str, remedy: str) -> None:
    found = problems(example(old, new))
    assert 1 == len(lines_that_say(found, path, remedy)), found


@pytest.mark.parametrize(("first", "second"), [("web", "web"), ("web", "both"), ("both", "db"), ("both", "both")])
def test_one_address_twice_where_vlans_meet_is_a_contradiction(first: str, second: str) -> None:
    adapters = [f'{{name: eth0, port_group: {group}, mac: "02:00:00:00:01:01"}}' for group in (first, second)]
    wanted = "guests: vm1: mac 02:00:00:00:01:01: also vm0's in the same VLAN; give each its own"
    assert [wanted] == problems(guests(*adapters))


@pytest.mark.parametrize("num_vfs", [1, 2])
def test_a_pf_has_a_vf_for_each_of_its_adapters(num_vfs: int) -> None:
    text = guests(*["{name: eth0, port_group: web}"] * 3).replace("num_vfs: 8", f"num_vfs: {num_vfs}")
    assert [f"pfs[0].num_vfs: {num_vfs}, but 3 adapters are on this PF; raise it or remove adapters"] == problems(text)
    assert 3 == len(parse(text.replace(f"num_vfs: {num_vfs}", "num_vfs: 3")).adapters)


def test_a_host_has_at_most_sixteen_pfs() -> None:
    sixteen, seventeen = (
        "version: 1\npfs:\n" + "".join(f"- {{name: pf{n}, num_vfs: 1}}\n" for n in range(count)) for count in (16, 17)
    )
    assert 16 == len(parse(sixteen).pfs)
    assert ["pfs: 17 PFs; a host has at most 16"] == problems(seventeen)


@pytest.mark.parametrize(
    ("old", "new", "line", "key"),
    [
        ("    num_vfs: 8 ", "    name: pf1\n    num_vfs: 8 ", 5, "name"),
        ("guests:\n", "pfs: []\nguests:\n", 20, "pfs"),
        ("{access: 100}", "{access: 100, access: 101}", 16, "access"),
    ],
)
def test_a_key_given_twice_is_named_with_its_line(old: str, new: str, line: int, key: str) -> None:
    assert f"line {line}: key {key}: given twice; keep one" in problems(example(old, new))


def test_all_mistakes_of_form_are_reported_at_once() -> None:
    text = example("num_vfs: 8", "num_vfs: 0").replace("deny_reply: silent", "deny_reply: loud").replace("kind: vf", "king: vf")
    text += "version: 1\n"
    paths = ["line 25: key version", "pfs[0].num_vfs", "switches[0].policy.deny_reply", "guests[0].adapters[0].king"]
    found = problems(text)
    assert [1, 1, 1, 1, 4] == [*(sum(line.startswith(path) for line in found) for path in paths), len(found)]


def test_all_contradictions_are_reported_at_once() -> None:
    text = example("    pf: pf0", "    pf: pf9").replace("mtu: 1500", "mtu: 10").replace("port_group: web", "port_group: www")
    paths = ["switches[0].pf: pf9", "switches[0].mtu: 10", "guests: vm1: adapter eth0: port_group www"]
    found = problems(text)
    assert [1, 1, 1, 3] == [*(sum(line.startswith(path) for line in found) for path in paths), len(found)]


# What is no configuration at all.

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefg", "bcdefgh", strict=True)
)
NO_CONFIGURATION = {
    "nothing": "",
    "only a comment": "# later\n",
    "a word": "hello",
    "a list": "- version: 1\n",
    "two documents": "version: 1\n---\nversion: 1\n",
    "an open bracket": "version: 1\npfs: [",
    "a tab": "version: 1\npfs:\n\t- name: pf0\n",
    "a Python object": "version: !!python/object/apply:os.getpid []\n",
    "a Python name": "version: !!python/name:os.system\n",
    "an unknown tag": "version: !number 1\n",
    "an unknown alias": "version: *one\n",
    "a value inside itself": "version: 1\npfs: &pfs [*pfs]\n",
    "a bomb of aliases": BOMB,
    "a control character": "version: 1\n# \x00\n",
    "a list as a key": "version: 1\n? [a, b]\n: 1\n",
    "a mapping as a key": "version: 1\n? {a: b}\n: 1\n",
    "a number as a key": "version: 1\n2: 3\n",
    "a date that is none": "version: 2001-99-99\n",
    "a number that is none": "version: !!int one\n",
    "a truth value that is none": "version: !!bool perhaps\n",
    "a deep nest": "version: " + "[" * 5000 + "]" * 5000,
}


@pytest.mark.parametrize("text", NO_CONFIGURATION.values(), ids=NO_CONFIGURATION)
def test_what_is_no_configuration_is_invalid(text: str) -> None:
    assert problems(text)[0]


def test_a_python_object_is_not_made(tmp_path: Path) -> None:
    target = tmp_path / "made"
    problems(f"version: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{target}']]\n")
    assert not target.exists()


@pytest.mark.parametrize("letter", ["x", "é"])
def test_a_file_beyond_the_limit_is_refused_by_its_bytes(letter: str) -> None:
    filler = letter * ((MAX_FILE_BYTES - len("version: 1\n# ")) // len(letter.encode()))
    assert parse(f"version: 1\n# {filler}") == parse("version: 1\n")
    assert [f"configuration: larger than {MAX_FILE_BYTES} bytes; split the host"] == problems(f"version: 1\n# {filler}xx")


yaml_like = st.text("-:[]{}&*!?|>'\"%@`#,. \n\t\\0123456789abevrsionpf<~=_x\x00\u2028é", max_size=60)


@settings(deadline=None, max_examples=300)
@given(text=yaml_like | st.text(max_size=60) | yaml_like.map(lambda rest: f"version: 1\npfs: {rest}"))
def test_any_text_is_a_configuration_or_invalid(text: str) -> None:
    with contextlib.suppress(Invalid):
        assert isinstance(parse(text), HostIntent)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
host_documents = st.fixed_dictionaries(
    {"version": st.just(1)}, optional={"pfs": json_values, "switches": json_values, "guests": json_values}
)


@settings(deadline=None, max_examples=200)
@given(content=json_values | host_documents)
def test_any_document_is_a_configuration_or_invalid(content: object) -> None:
    with contextlib.suppress(Invalid):
        assert isinstance(from_content(content), HostIntent)


# Files.


def test_a_file_is_read_with_the_fingerprint_of_its_text(tmp_path: Path) -> None:
    file = tmp_path / "host.yaml"
    file.write_text(EXAMPLE)
    assert (parse(EXAMPLE), fingerprint(EXAMPLE)) == load(file)


def test_a_fingerprint_changes_with_the_text() -> None:
    assert fingerprint(EXAMPLE) != fingerprint(EXAMPLE + "\n")
    assert 16 == len(fingerprint(EXAMPLE))


@pytest.mark.parametrize("content", [None, b"version: 1\n# \xff\n"], ids=["missing", "not UTF-8"])
def test_a_file_that_cannot_be_read_is_named(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "host.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(Invalid, match=f"configuration {file}: "):
        load(file)
