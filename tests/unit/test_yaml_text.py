"""YAML as it is read here: what a plain scalar is, where it stands, how much is too much, what is refused; and what is written is
read back as it was."""

import tracemalloc
from typing import Any

import pytest
from host_example import problems
from hypothesis import given, settings
from hypothesis import strategies as st

from sriov_xdp.api import config
from sriov_xdp.api.findings import Finding, Unreadable
from sriov_xdp.api.yaml_nodes import MAX_DEPTH, MAX_VALUES, Node
from sriov_xdp.api.yaml_text import MAX_FILE_BYTES, dump, plain, read, text_of


def document(text: str) -> Node:
    """A document that is right."""
    reading = read(text)
    assert [] == reading.findings
    assert reading.root is not None
    return reading.root


# What a scalar is.

SCALARS: dict[str, Any] = {
    "0": 0, "7": 7, "1500": 1500, "999999999999999999": 999999999999999999,
    "1000000000000000000000": "1000000000000000000000", "007": "007", "0100": "0100", "00": "00", "0x64": "0x64", "0o17": "0o17",
    "0b1": "0b1", "1_500": "1_500", "+5": "+5", "-5": "-5", "-0": "-0", "1:40": "1:40", "190:20:30": "190:20:30", "1e3": "1e3",
    "1.0": "1.0", ".5": ".5", ".inf": ".inf", ".nan": ".nan", "٣": "٣",
    "true": True, "false": False, "True": "True", "TRUE": "TRUE", "False": "False", "yes": "yes", "no": "no", "on": "on",
    "off": "off", "y": "y", "n": "n", "Yes": "Yes", "ON": "ON",
    "null": None, "~": None, "": None, "Null": "Null", "NULL": "NULL", "none": "none",
    "2026-01-01": "2026-01-01", "2026-01-01 10:00:00": "2026-01-01 10:00:00", "12:30:45": "12:30:45",
    "02:00:00:00:01:01": "02:00:00:00:01:01", "12:00:00:00:01:01": "12:00:00:00:01:01", "52:54:00:12:34:56": "52:54:00:12:34:56",
    "10:20:30:40:50:59": "10:20:30:40:50:59", "200-299": "200-299", "=": "=", "<<": "<<", "web": "web",
    '"8"': "8", "'8'": "8", '"true"': "true", '"null"': "null", "''": "", '"0100"': "0100", "|-\n 8": "8", ">-\n true": "true",
}  # fmt: skip


@pytest.mark.parametrize(("written", "value"), SCALARS.items(), ids=repr)
def test_a_scalar_is_a_number_a_truth_value_nothing_or_text(written: str, value: Any) -> None:
    found = plain(document(f"a: {written}\nb: [x]\n"))
    assert ({"a": value, "b": ["x"]}, type(value)) == (found, type(found["a"]))


def test_a_key_is_text_as_it_stands_there() -> None:
    assert {"on": 1, "2": 2, "1:40": 3, "true": 4, "~": 5} == plain(document('on: 1\n2: 2\n1:40: 3\n"true": 4\n~: 5\n'))


# Aliases and merge keys.


def test_an_alias_and_a_merge_key_read_as_if_written_out() -> None:
    text = "a: &a {x: 1, y: 2}\nb: *a\nc: {<<: *a, y: 3}\nd:\n  <<: [{y: 4}, *a]\n"
    a = {"x": 1, "y": 2}
    assert {"a": a, "b": a, "c": {"x": 1, "y": 3}, "d": {"x": 1, "y": 4}} == plain(document(text))


def test_what_is_read_through_an_alias_stands_where_it_is_written() -> None:
    root = document("a: &a\n  x: 1\nb: *a\nc:\n  <<: *a\n  y: 2\n")
    assert [2, 2, 2, 6] == [root.line_of(path) for path in (("a", "x"), ("b", "x"), ("c", "x"), ("c", "y"))]
    assert [2, 2, 2, 6] == [root.line_of_key(path) for path in (("a", "x"), ("b", "x"), ("c", "x"), ("c", "y"))]


@pytest.mark.parametrize("merged", ["7", "[*a, 7]", "web"])
def test_a_merge_key_takes_mappings_only(merged: str) -> None:
    wanted = Finding(2, ("b", "<<"), "no mapping to merge; expected an alias of a mapping, or a list of them; remove the key")
    assert [wanted] == read(f"a: &a {{x: 1}}\nb: {{<<: {merged}}}\n").findings


# Where a value stands.


def test_a_value_stands_on_its_line_and_what_is_missing_on_that_of_what_it_is_missing_in() -> None:
    root = document("# comment\na:\n  - x: 1\n    y:\n      2\n    z:\n\n  -\n    x: [1,\n         2]\n")
    lines = {
        (): 2, ("a",): 3, ("a", 0): 3, ("a", 0, "x"): 3, ("a", 0, "y"): 5, ("a", 0, "z"): 6, ("a", 1): 9, ("a", 1, "x", 1): 10,
        ("a", 0, "w"): 3, ("a", 2): 3, ("b",): 2, ("a", 0, "x", 0): 3, ("a", "x"): 3,
    }  # fmt: skip
    assert lines == {path: root.line_of(path) for path in lines}
    assert [4, 6, 3, 2] == [root.line_of_key(path) for path in (("a", 0, "y"), ("a", 0, "z"), ("a", 0, "w"), ("b", "c"))]


# What is refused.

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefg", "bcdefgh", strict=True)
)
MANY_KEYS = ",".join(f"k{number}: 1" for number in range(500))
TOO_MANY = f"more than {MAX_VALUES} values, aliases written out; expected at most that; remove what is not needed"
TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels; expected less; take out what is nested too deep"
NO_TAG = "expected a value without a tag; remove it"
NO_ALIAS = "expected a value that ended before; write the value out"
DOCUMENT = "a second document (---) begins; expected one; remove it or give it a file of its own"
NO_KEY = "a `:` where no key can be; indent the line as its neighbours, or put a text with `: ` in quotes"
TAB = "a tab in the indentation; expected blanks; replace it by blanks"
EMPTY = "empty; expected a mapping; begin it with `version: 1`"
REFUSED = {
    "nothing": ("", [f" {EMPTY}"]),
    "only a comment": ("# later\n", [f" {EMPTY}"]),
    "a word": ("hello", ["1: hello; expected a mapping; begin it with `version: 1`"]),
    "a list": ("- version: 1\n", ["1: a list; expected a mapping; begin it with `version: 1`"]),
    "nothing as a value": ("~\n", ["1: nothing; expected a mapping; begin it with `version: 1`"]),
    "two documents": ("version: 1\n---\nversion: 1\n", [f"2: {DOCUMENT}"]),
    "a document after the end": ("version: 1\n...\n---\nversion: 1\n", [f"3: {DOCUMENT}"]),
    "text after the end": (
        "version: 1\n...\nversion: 1\n",
        ["3: not YAML at column 1: something after the end of the document (...); remove one of the two"],
    ),
    "an open bracket": ("version: 1\npfs: [", ["2: not YAML at the end: expected a value; close what is open"]),
    "a bracket that is not closed": (
        "version: 1\npfs: [{name: pf0},\nswitches:\n",
        ["3: not YAML at the end: expected a value; close what is open (begun on line 2)"],
    ),
    "a brace that is not closed": (
        "version: 1\npfs:\n- {name: pf0\n- {name: pf1}\n",
        ["4: not YAML at column 3: expected `,` or `}`; close the mapping (begun on line 3)"],
    ),
    "a quote that is not closed": (
        "version: 1\npfs: 'a\nswitches: []\n",
        ["3: not YAML at the end: expected a closing quote before the end; close the text (begun on line 2)"],
    ),
    "a key on the wrong level": ("version: 1\n pfs: []\n", [f"2: not YAML at column 5: {NO_KEY}"]),
    "a text with a colon": ("version: 1: 2\n", [f"1: not YAML at column 11: {NO_KEY}"]),
    "a key between the levels": (
        "version: 1\npfs:\n  - name: pf0\n   num_vfs: 1\n",
        ["4: not YAML at column 4: expected `- `; indent the line as the entries above it (begun on line 3)"],
    ),
    "a list on the wrong level": (
        "version: 1\npfs:\n  - name: pf0\n - name: pf1\n",
        ["4: not YAML at column 2: expected a key; indent the line as the keys above it (begun on line 1)"],
    ),
    "a character that starts nothing": (
        "version: 1\npfs: @pf0\n",
        ["2: not YAML at column 6: a character that starts no value; put the text in quotes"],
    ),
    "an escape that is none": (
        'version: "\\q"\n',
        ["1: not YAML at column 11: found unknown escape character; correct it, or put the text in quotes"],
    ),
    "a tab": ("version: 1\npfs:\n\t- name: pf0\n", [f"3: {TAB}"]),
    "a tab after blanks": ("version: 1\npfs:\n  \t- name: pf0\n", [f"3: {TAB}"]),
    "a directive": ("%YAML 1.1\n---\nversion: 1\n", ["1: a directive (%); expected none; remove the line"]),
    "a byte order mark": ("\ufeffversion: 1\n", ["1: a byte order mark; expected plain UTF-8; save the file without it"]),
    "a zero byte": (
        "version: 1\n# \x00\n",
        ["2: character U+0000; expected printable text; remove it, or write it as an escape in quotes"],
    ),
    "a line break of another kind": (
        "version: 1\n# \u2028\n",
        ["2: character U+2028; expected printable text; remove it, or write it as an escape in quotes"],
    ),
    "half a character": (
        "version: 1\n# \udc80\n",
        ["2: character U+DC80; expected printable text; remove it, or write it as an escape in quotes"],
    ),
    "a Python object": (
        "version: !!python/object/apply:os.getpid []\n",
        [f"1: version: tag !!python/object/apply:os.getpid; {NO_TAG}", "1: version: an empty list; expected 1; write 1"],
    ),
    "a Python name": (
        "version: !!python/name:os.system\n",
        [f"1: version: tag !!python/name:os.system; {NO_TAG}", "1: version: nothing; expected 1; write it"],
    ),
    "an unknown tag": ("version: !number 1\n", [f"1: version: tag !number; {NO_TAG}"]),
    "a known tag": ("version: 1\npfs: !!seq []\n", [f"2: pfs: tag !!seq; {NO_TAG}"]),
    "a number that is none": (
        "version: !!int one\n",
        [f"1: version: tag !!int; {NO_TAG}", "1: version: one; expected 1; write 1"],
    ),
    "an unknown alias": ("version: *one\n", [f"1: alias *one without &one above it; {NO_ALIAS}"]),
    "a value inside itself": ("version: 1\npfs: &pfs [*pfs]\n", [f"2: alias *pfs inside its own value; {NO_ALIAS}"]),
    "a bomb of aliases": (BOMB, [f"6: {TOO_MANY}"]),
    "a bomb of merge keys": (f"a: &a {{{MANY_KEYS}}}\nb: [{'{<<: *a},' * 500}]\n", [f"2: {TOO_MANY}"]),
    "a list as a key": (
        "version: 1\n? [a, b]\n: 1\n",
        ["2: a list as a key; expected a name; remove it or write the key in quotes"],
    ),
    "a mapping as a key": (
        "version: 1\n? {a: b}\n: 1\n",
        ["2: a mapping as a key; expected a name; remove it or write the key in quotes"],
    ),
    "a number as a key": (
        "version: 1\n2: 3\n",
        ["2: 2: unknown key; expected version, pfs, switches or guests; remove it or correct its spelling"],
    ),
    "a key with a line break": (
        'version: 1\n"a\\nb": 3\n',
        ['2: "a\\nb": unknown key; expected version, pfs, switches or guests; remove it or correct its spelling'],
    ),
    "a date that is none": ("version: 2001-99-99\n", ["1: version: 2001-99-99; expected 1; write 1"]),
    "a deep nest of lists": ("version: " + "[" * 10_000 + "]" * 10_000, [f"1: {TOO_DEEP}"]),
    "a deep nest of mappings": ("version: " + "{a: " * 10_000 + "}" * 10_000, [f"1: {TOO_DEEP}"]),
    "a deep nest of lines": ("".join(f"{' ' * depth}-\n" for depth in range(1000)), [f"{MAX_DEPTH + 1}: {TOO_DEEP}"]),
    "a deep nest of keys": ("? " * 10_000, [f"1: {TOO_DEEP}"]),
}  # fmt: skip


@pytest.mark.parametrize(("text", "lines"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_configuration_is_refused_with_its_line(text: str, lines: list[str]) -> None:
    assert [f"host.yaml:{line}" for line in lines] == problems(text)


def test_a_long_value_is_shown_short() -> None:
    (line,) = problems(f"version: {'x' * 100_000}\n")
    assert f"host.yaml:1: version: {'x' * 60}...; expected 1; write 1" == line


# How much is too much.


def test_as_many_values_as_are_allowed_are_read_and_not_one_more() -> None:
    """The mapping, its keys, the list and its entries count."""
    room = MAX_VALUES - 3
    assert MAX_VALUES == document(f"v: [{'a,' * room}]").size
    assert [Finding(1, (), TOO_MANY)] == read(f"v: [{'a,' * (room + 1)}]").findings


def test_an_alias_counts_as_if_written_out() -> None:
    """Ten values in the first line, beside the mapping; each alias ten more."""
    first, room = f"a: &a [{'a,' * 8}]\n", (MAX_VALUES - 1 - 10 - 2) // 9
    assert 13 + 9 * room == document(f"{first}b: [{'*a,' * room}]").size
    assert [Finding(2, (), TOO_MANY)] == read(f"{first}b: [{'*a,' * (room + 2)}]").findings


def test_as_many_levels_as_are_allowed_are_read_and_not_one_more() -> None:
    inside = "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)
    assert MAX_DEPTH == document(f"a: {inside}\n").height
    assert [Finding(1, (), TOO_DEEP)] == read(f"a: [{inside}]\n").findings
    assert [Finding(2, (), TOO_DEEP)] == read(f"a: &a {inside}\nb: [*a]\n").findings


HOSTILE = {
    "entries of a list": "pfs:\n" + "- a\n" * (MAX_FILE_BYTES // 4 - 2),
    "entries in brackets": f"pfs: [{'a,' * (MAX_FILE_BYTES // 2 - 8)}]",
    "anchors": f"pfs: [{'&a a,' * (MAX_FILE_BYTES // 5 - 8)}]",
    "keys": "a: a\n" * (MAX_FILE_BYTES // 5),
    "tags": f"pfs: [{'!a a,' * (MAX_FILE_BYTES // 5 - 8)}]",
    "brackets": "[" * MAX_FILE_BYTES,
    "directives": "%TAG !a! b\n" * (MAX_FILE_BYTES // 11),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_file_with_too_much_is_left_before_anything_is_made_of_it(text: str) -> None:
    """Values of this file would take hundreds of MiB; its text is copied once or twice."""
    tracemalloc.start()
    found = read(text).findings
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 1 == len(found)
    assert peak < 4 * MAX_FILE_BYTES


# What is written is read back.

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(list(SCALARS))
names = st.one_of(
    *(st.from_regex(pattern, fullmatch=True) for pattern in (r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", r"[^\s/:%]{1,15}")), texts
).filter(lambda text: not any("\ud800" <= letter <= "\udfff" for letter in text))
numbers = st.integers(0, 10**18 - 1)
values = st.recursive(
    st.none() | st.booleans() | numbers | names,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None, max_examples=500)
@given(value=st.dictionaries(names.filter(lambda name: name != "<<"), values, min_size=1, max_size=4))
def test_what_is_written_is_read_back_as_it_was(value: dict[str, Any]) -> None:
    assert value == plain(document(dump(value)))


def test_a_value_that_stands_twice_is_written_twice() -> None:
    shared = {"security": {"mac_changes": "accept"}}
    assert "&" not in dump([shared, shared])
    assert [shared, shared] == plain(document(dump([shared, shared])))


@pytest.mark.parametrize("written", [text for text in SCALARS if "\n" not in text and '"' not in text])
def test_any_name_that_other_readers_take_for_something_else_is_quoted(written: str) -> None:
    """So that a file from export is read the same everywhere."""
    import yaml

    assert {"name": written} == yaml.safe_load(dump({"name": written})) == plain(document(dump({"name": written})))


# Bytes.


def test_bytes_that_are_no_text_are_refused_with_their_line() -> None:
    with pytest.raises(Unreadable) as refusal:
        text_of(b"version: 1\nname: \xe9\n")
    assert Finding(2, (), "byte 0xe9 is not UTF-8; expected UTF-8; save the file as UTF-8") == refusal.value.finding


def test_the_whole_limit_may_be_used_and_no_byte_more() -> None:
    assert MAX_FILE_BYTES == len(text_of(b"#" * MAX_FILE_BYTES))
    with pytest.raises(Unreadable, match=f"larger than {MAX_FILE_BYTES} bytes"):
        text_of(b"#" * (MAX_FILE_BYTES + 1))


def test_a_full_host_with_every_setting_fits_twice() -> None:
    """1008 guests, each in a group of its own, all settings written out on lines of their own."""
    policy = "{security: {promiscuous: reject, mac_changes: accept, forged_transmits: reject}, deny_reply: nack}"
    guards = "{storm: {broadcast_pps: 10000, multicast_pps: 100000}}"
    vlan = '{trunk: [10, 20, "30-39", "200-299"]}'
    settings_of_group = f"vlan: {vlan}, policy: {policy}, guards: {guards}, overrides_allowed: [security, deny_reply, vlan]"
    group = f"  - {{name: group-%d, {settings_of_group}}}\n"
    guest = (
        "- name: guest-%d\n  netns: guest-%d\n  adapters:\n  - name: eth0\n    kind: vf\n    port_group: group-%d\n"
        f"    mac: 02:00:00:00:00:00\n    datapath: auto\n    link_state: enable\n    vlan: {vlan}\n    policy: {policy}\n"
        f"    guards: {guards}\n"
    )
    text = "port_groups:\n" + "".join(group % number for number in range(1008))
    text += "guests:\n" + "".join(guest % (number, number, number) for number in range(1008))
    assert 2 * document(text).size < MAX_VALUES
    assert 4 * len(text) < MAX_FILE_BYTES
    assert config.MAX_FINDINGS > 4 * 1008
