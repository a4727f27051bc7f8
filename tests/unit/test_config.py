"""The host configuration file: what is right is read as it is meant, and files are read as they are."""

import contextlib
from pathlib import Path

import pytest
from host_example import EXAMPLE, WEB, example, guests, problems
from hypothesis import given, settings
from hypothesis import strategies as st

from sriov_xdp.api.config import fingerprint, from_content, load, parse
from sriov_xdp.api.yaml_text import MAX_FILE_BYTES
from sriov_xdp.pf.errors import Invalid
from sriov_xdp.pf.state.intent import AdapterSpec, Datapath, HostIntent, PfSpec
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.policy import DenyReply, Override, PolicySettings, Security
from sriov_xdp.vswitch.ports import PortGroup, Switch
from sriov_xdp.vswitch.vlan import NO_VLAN, Vlan

STRICT = PolicySettings(
    promiscuous=Security.REJECT, mac_changes=Security.REJECT, forged_transmits=Security.REJECT, deny_reply=DenyReply.SILENT
)
OPEN = PolicySettings(mac_changes=Security.ACCEPT, forged_transmits=Security.ACCEPT, deny_reply=DenyReply.NACK)


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
    assert ("mac_changes", Security.REJECT) in parse(text).switches[0].port_groups[1].policy.said


def test_a_python_object_is_not_made(tmp_path: Path) -> None:
    target = tmp_path / "made"
    problems(f"version: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{target}']]\n")
    assert not target.exists()


@pytest.mark.parametrize("letter", ["x", "é"])
def test_a_file_beyond_the_limit_is_refused_by_its_bytes(letter: str) -> None:
    filler = letter * ((MAX_FILE_BYTES - len("version: 1\n# ")) // len(letter.encode()))
    assert parse(f"version: 1\n# {filler}") == parse("version: 1\n")
    (found,) = problems(f"version: 1\n# {filler}xx")
    assert found.startswith(f"host.yaml: larger than {MAX_FILE_BYTES} bytes; expected at most that")


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


UNREADABLE = {
    "missing": (None, "{file}: No such file or directory; expected a file that can be read; correct the path"),
    "not UTF-8": (b"version: 1\n# \xff\n", "{file}:2: byte 0xff is not UTF-8; expected UTF-8; save the file as UTF-8"),
    "UTF-16": ("version: 1\n".encode("utf-16"), "{file}:1: byte 0xff is not UTF-8; expected UTF-8; save the file as UTF-8"),
    "a byte order mark": (
        b"\xef\xbb\xbfversion: 1\n",
        "{file}:1: a byte order mark; expected plain UTF-8; save the file without it",
    ),
    "wrong": (b"version: 2\n", "{file}:1: version: 2; expected 1; write 1"),
}


@pytest.mark.parametrize(("content", "line"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_file_that_cannot_be_read_is_named(content: bytes | None, line: str, tmp_path: Path) -> None:
    file = tmp_path / "host.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(Invalid) as refusal:
        load(file)
    assert line.format(file=file) == str(refusal.value)


def test_a_file_that_never_ends_is_too_large() -> None:
    with pytest.raises(Invalid, match=f"/dev/zero: larger than {MAX_FILE_BYTES} bytes"):
        load(Path("/dev/zero"))


def test_a_file_of_another_system_reads_the_same_and_has_the_same_fingerprint(tmp_path: Path) -> None:
    file = tmp_path / "host.yaml"
    file.write_bytes(EXAMPLE.replace("\n", "\r\n").encode())
    assert (parse(EXAMPLE), fingerprint(EXAMPLE)) == load(file)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("vm1", "vm1"),
        ("/run/netns/vm1", "vm1"),
        ("/var/run/netns/vm1", "vm1"),
        ("/run/netns/vm1/x", "/run/netns/vm1/x"),
        ("/proc/7/ns/net", "/proc/7/ns/net"),
    ],
)
def test_a_namespace_that_ip_netns_knows_by_a_name_has_that_one(said: str, kept: str) -> None:
    text = f"""
version: 1
pfs: [{{name: pf0, num_vfs: 2}}]
switches: [{{name: s, pf: pf0, port_groups: [{{name: g}}]}}]
guests: [{{name: a, netns: {said}, adapters: [{{name: eth0, port_group: g}}]}}]
"""
    assert [kept] == [spec.netns for spec in parse(text).adapters]


@pytest.mark.parametrize("name", ["lo", "all", "default", ".", ".."])
def test_names_of_the_kernels_own_are_no_adapters(name: str) -> None:
    text = f"""
version: 1
pfs: [{{name: pf0, num_vfs: 2}}]
switches: [{{name: s, pf: pf0, port_groups: [{{name: g}}]}}]
guests: [{{name: a, adapters: [{{name: {name}, port_group: g}}]}}]
"""
    with pytest.raises(Invalid, match="is the kernel's own"):
        parse(text)
