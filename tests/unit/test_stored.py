"""The tables of the state: what is written of a host is what is read."""

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from intents import hosts

from sriov_xdp.host.kernel import JumboXdp
from sriov_xdp.pf.state.change import Change
from sriov_xdp.pf.state.intent import Attachment, HostIntent, VfAddress
from sriov_xdp.pf.state.inventory import Inventory
from sriov_xdp.pf.state.physical_function import PfEntry
from sriov_xdp.pf.state.port_record import PortRecord
from sriov_xdp.pf.state.stored import TABLES, Table, all_documents, documents, merged, read_all
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.ports import PortName

OF_GUESTS = "states"  # grants, which go another way


def inventory_of(host: HostIntent) -> tuple[Inventory, Change]:
    """With every adapter of the host on a VF of its group's PF."""
    pfs = {pf.name: PfEntry(spec=pf, number=number) for number, pf in enumerate(host.pfs)}
    pf_of = {group.name: switch.pf for switch in host.switches for group in switch.port_groups}
    attachments = {}
    for number, spec in enumerate(host.adapters):
        vf = VfAddress(pf_of[spec.port_group], number)
        attachments[vf] = Attachment(
            vf=vf,
            spec=spec,
            admin_mac=MacAddress(bytes([2, 0, 0, 0, 9, number])),
            generation=number + 1,
            representor=str(vf),
            ifindex=(1 << 20) + 16 + number,
            netns_is_ours=bool(number % 2),
            netns_id=(4, number),
        )
    switches = {switch.name: switch for switch in host.switches}
    records = {PortName(switch.name, 7): PortRecord(counted=(("rx_packets", 3),)) for switch in host.switches}
    change = Change(pfs=pfs, switches=switches, attachments=attachments, port_records=records)
    inventory = Inventory(JumboXdp(is_allowed=False, because=""))
    inventory.install(change)
    return inventory, change


@given(hosts())
def test_a_host_comes_back_from_what_is_stored_of_it(host: HostIntent) -> None:
    inventory, change = inventory_of(host)
    rows: dict[str, dict[str, str]] = {table.kind: {} for table in TABLES}
    for document in all_documents(inventory):
        assert document.body is not None
        rows[document.kind][document.name] = document.body
    again = Inventory(JumboXdp(is_allowed=False, because=""))
    for row in read_all(rows.__getitem__):
        again.install(row)
    assert (inventory.intent(), all_documents(inventory)) == (again.intent(), all_documents(again))
    assert sorted(map(repr, all_documents(inventory))) == sorted(map(repr, documents(inventory, change)))


def test_each_part_of_a_change_has_its_table() -> None:
    parts = {field.name for field in fields(Change)} - {OF_GUESTS}
    marked = {name: Change(**{name: {"x": None}}) for name in parts}
    assert parts == {name for table in TABLES for name in parts if table.of(marked[name])}
    assert len(parts) == len(TABLES)


@pytest.mark.parametrize("part", [field.name for field in fields(Change)])
def test_each_part_of_two_changes_is_in_both_together(part: str) -> None:
    both = merged(Change(**{part: {"x": 1, "y": 1}}), Change(**{part: {"y": 2, "z": 2}}))
    assert {"x": 1, "y": 2, "z": 2} == getattr(both, part)


@given(hosts())
def test_what_is_put_back_is_as_it_was(host: HostIntent) -> None:
    """Whatever table it is of."""
    inventory, change = inventory_of(host)
    before = all_documents(inventory)
    former = inventory.install(replace(change, **{table: dict.fromkeys(of) for table, of in _parts(change).items()}))
    assert [] == all_documents(inventory)
    inventory.restore(former)
    assert sorted(map(repr, before)) == sorted(map(repr, all_documents(inventory)))


def _parts(change: Change) -> dict[str, dict[Any, Any]]:
    return {field.name: dict(getattr(change, field.name)) for field in fields(Change) if field.name != OF_GUESTS}


def test_what_is_gone_is_stored_as_gone() -> None:
    change = Change(pfs={"pf0": None}, switches={"s": None}, attachments={VfAddress("pf0", 1): None})
    gone = documents(Inventory(JumboXdp(is_allowed=False, because="")), change)
    assert {("pf", "pf0", None), ("switch", "s", None), ("attachment", "pf0vf1", None)} == {
        (document.kind, document.name, document.body) for document in gone
    }


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.kind)
@pytest.mark.parametrize("text", ["", "[]", "{}", "null", json.dumps({"name": 7})])
def test_a_damaged_row_is_none(table: Table, text: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        table.read("pf0vf1", text)
