"""A change is in memory, state, audit and maps, or in none of them. The maps are a stand-in that can refuse."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from records import COMMAND, NOON

from sriov_xdp.datapath.errors import DataPathError
from sriov_xdp.datapath.marks import Marks
from sriov_xdp.host.kernel import JumboXdp
from sriov_xdp.pf.errors import Conflict
from sriov_xdp.pf.hands.commit import commit, commit_grant
from sriov_xdp.pf.hands.guest_records import GuestRecords
from sriov_xdp.pf.state.attached_vf import Stage
from sriov_xdp.pf.state.change import Change
from sriov_xdp.pf.state.intent import AdapterSpec, Attachment, Datapath, PfSpec, VfAddress
from sriov_xdp.pf.state.inventory import Inventory
from sriov_xdp.pf.state.physical_function import PfEntry
from sriov_xdp.store.audit import Outcome
from sriov_xdp.store.database import Database
from sriov_xdp.store.errors import StoreError
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.decision import VfState
from sriov_xdp.vswitch.policy import PolicySettings, Security
from sriov_xdp.vswitch.ports import PortGroup, Switch
from sriov_xdp.vswitch.vlan import Vlan

MAC_ONE, MAC_TWO, MAC_NEW = (MacAddress.parse(f"02:00:00:00:01:0{number}") for number in (1, 2, 3))
ONE, TWO = VfAddress("pf0", 0), VfAddress("pf0", 1)
GROUPS = tuple(
    PortGroup(name=name, vlan=Vlan.access(vlan), policy=PolicySettings(mac_changes=Security.ACCEPT))
    for name, vlan in (("web", 100), ("db", 200))
)
SWITCH = Switch(name="s", pf="pf0", mtu_bytes=1500, policy=PolicySettings(), port_groups=GROUPS)


class Maps:
    """Notes nothing; refuses when told to."""

    refuses = False
    fault: Exception = DataPathError("no room")
    put = 0

    def changing(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def put_port(self, _slot: int, _image: object) -> None:
        self.put += 1
        if self.refuses:
            raise self.fault

    def put_members(self, _pf: int, _lists: object) -> None:
        return


def attachment(vf: VfAddress, mac: MacAddress, group: str) -> Attachment:
    spec = AdapterSpec(
        guest=f"vm{vf.index}", netns=f"vm{vf.index}", interface="eth0", port_group=group, mac=mac, datapath=Datapath.AUTO
    )
    return Attachment(
        vf=vf,
        spec=spec,
        admin_mac=mac,
        generation=vf.index + 1,
        representor=str(vf),
        ifindex=(1 << 20) + 16 + vf.index,
        netns_is_ours=False,
        netns_id=(1, vf.index),
    )


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Any]:
    """One PF, two groups, VF one in group web."""
    database = Database(tmp_path)
    made = SimpleNamespace(
        damaged={},
        inventory=Inventory(JumboXdp(is_allowed=False, because="")),
        tables=Maps(),
        database=database,
        records=GuestRecords(database),
        marks=Marks(tmp_path),
        mailboxes=SimpleNamespace(reset=lambda _vf: None),
        wall_clock=lambda: NOON,
        needs_publish=False,
    )
    pf = PfEntry(spec=PfSpec(name="pf0", uplink=None, num_vfs=8), number=0)
    commit(made, Change(pfs={"pf0": pf}, switches={"s": SWITCH}), [])  # type: ignore[arg-type]
    commit(made, Change(attachments={ONE: attachment(ONE, MAC_ONE, "web")}), [])  # type: ignore[arg-type]
    made.inventory.vfs[ONE].stage = Stage.IN_SERVICE
    yield made
    made.records.close()
    database.close()


def state(context: Any) -> tuple[Any, ...]:
    """All but the audit: documents, grants and memory."""
    inventory = context.inventory
    kept = {vf: (attached.attachment, attached.state) for vf, attached in inventory.vfs.items()}
    stored = [context.database.documents(kind) for kind in ("pf", "switch", "attachment")]
    return kept, dict(inventory.switches), stored, context.database.granted()


def audit(context: Any) -> list[tuple[str, Outcome, str]]:
    return [(record.request, record.outcome, record.after) for record in context.database.audit(None, 10)]


def test_a_change_that_the_maps_refuse_is_nowhere_and_the_audit_says_so(context: Any) -> None:
    before = state(context)
    context.tables.refuses = True
    moved = replace(SWITCH, mtu_bytes=1400)
    with pytest.raises(DataPathError):
        commit(context, Change(switches={"s": moved}), [replace(COMMAND, request="set switch s", before="1500", after="1400")])
    assert before == state(context)
    assert [("set switch s", Outcome.GRANTED, "1400"), ("set switch s: undone", Outcome.FAILED, "1500")] == audit(context)


def test_a_grant_that_the_maps_refuse_is_nowhere_and_the_audit_says_so(context: Any) -> None:
    before = state(context)
    context.tables.refuses = True
    record = replace(COMMAND, vf=str(ONE), guest="vm0", request="add", rule="mac_changes: accept", before="one", after="new")
    with pytest.raises(DataPathError):
        commit_grant(context, context.inventory.vfs[ONE], VfState(admin_mac=MAC_ONE, effective_mac=MAC_NEW), record)
    assert before == state(context)
    assert [("add", Outcome.GRANTED, "new"), ("add: undone", Outcome.FAILED, "one")] == audit(context)


def test_a_change_that_a_mistake_of_ours_cut_short_is_nowhere_either(context: Any) -> None:
    before = state(context)
    context.tables.refuses, context.tables.fault = True, ValueError("odd")
    with pytest.raises(ValueError, match="odd"):
        commit(context, Change(switches={"s": replace(SWITCH, mtu_bytes=1400)}), [COMMAND])
    assert before == state(context)


def test_a_grant_that_neither_maps_nor_store_take_back_is_not_in_memory_and_the_maps_are_told_again(
    context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = context.inventory.vfs[ONE].state
    context.tables.refuses, context.tables.put = True, 0
    records, told = context.records.granted, []

    def granted_once(*arguments: Any) -> None:
        told.append(arguments)
        if len(told) > 1:
            raise StoreError("full")
        records(*arguments)

    monkeypatch.setattr(context.records, "granted", granted_once)
    with pytest.raises(DataPathError):
        commit_grant(context, context.inventory.vfs[ONE], VfState(admin_mac=MAC_ONE, effective_mac=MAC_NEW), COMMAND)
    assert (before, 2, True) == (context.inventory.vfs[ONE].state, context.tables.put, context.needs_publish)


def test_an_address_that_an_operator_gave_a_neighbour_is_refused_before_anything_is_written(context: Any) -> None:
    before, revision = state(context), context.database.revision()
    with pytest.raises(Conflict) as refusal:
        commit(context, Change(attachments={TWO: attachment(TWO, MAC_ONE, "web")}), [COMMAND])
    assert f"VF pf0vf1: {MAC_ONE} belongs to pf0vf0 in this VLAN; choose another or release it first" == str(refusal.value)
    assert (before, revision, []) == (state(context), context.database.revision(), audit(context))


def test_what_a_guest_was_granted_is_not_in_the_way_of_an_operator(context: Any) -> None:
    """Whose address it was meanwhile goes back to its own."""
    commit(context, Change(states={ONE: VfState(admin_mac=MAC_ONE, effective_mac=MAC_NEW)}), [])
    commit(context, Change(attachments={TWO: attachment(TWO, MAC_NEW, "web")}), [COMMAND])
    assert [MAC_ONE, MAC_NEW] == [context.inventory.vfs[vf].state.effective_mac for vf in (ONE, TWO)]
    record = context.database.audit(str(ONE), 10)[-1]
    assert ("grants withdrawn", "address of another", str(MAC_ONE)) == (record.request, record.rule, record.after)


def test_of_two_guests_with_one_address_the_one_that_is_moved_to_the_other_loses_it(context: Any) -> None:
    commit(context, Change(attachments={TWO: attachment(TWO, MAC_TWO, "db")}), [])
    granted = {vf: VfState(admin_mac=mac, effective_mac=MAC_NEW) for vf, mac in ((ONE, MAC_ONE), (TWO, MAC_TWO))}
    commit(context, Change(states=granted), [])
    commit(context, Change(attachments={TWO: attachment(TWO, MAC_TWO, "web")}), [COMMAND])
    assert [MAC_NEW, MAC_TWO] == [context.inventory.vfs[vf].state.effective_mac for vf in (ONE, TWO)]


@pytest.mark.parametrize(("mac", "group"), [(MAC_TWO, "web"), (MAC_ONE, "db")], ids=["another address", "another VLAN"])
def test_an_address_that_is_free_in_the_vlan_is_taken(context: Any, mac: MacAddress, group: str) -> None:
    commit(context, Change(attachments={TWO: attachment(TWO, mac, group)}), [])
    assert mac == context.inventory.vfs[TWO].state.effective_mac


def test_a_grant_that_a_tightened_policy_ends_has_a_record(context: Any) -> None:
    vf = context.inventory.vfs[ONE]
    commit_grant(context, vf, VfState(admin_mac=MAC_ONE, effective_mac=MAC_NEW, filters=frozenset({MAC_TWO})), COMMAND)
    reject = PolicySettings(mac_changes=Security.REJECT)
    tight = replace(SWITCH, port_groups=tuple(replace(group, policy=reject) for group in GROUPS))
    commit(context, Change(switches={"s": tight}), [COMMAND])
    assert MAC_ONE == context.inventory.vfs[ONE].state.effective_mac
    record = context.database.audit(str(ONE), 10)[-1]
    assert not record.is_guests  # its flood of requests must not push it out
    assert (
        str(ONE),
        "grants withdrawn",
        Outcome.GRANTED,
        "mac_changes: reject (port group web)",
        f"{MAC_NEW}, 1 more",
        str(MAC_ONE),
    ) == (
        record.vf,
        record.request,
        record.outcome,
        record.rule,
        record.before,
        record.after,
    )
