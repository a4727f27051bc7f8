"""What is stored, a table each: how a row says what the inventory says, and the reverse. Pure; for who writes or reads the state.

TABLES stand in the order in which they are read: an attachment needs the switch and the PF that it names.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sriov_xdp.pf.state.change import Change
from sriov_xdp.pf.state.intent import VfAddress
from sriov_xdp.pf.state.intent_text import attachment_from_text, attachment_to_text, switch_from_json, switch_to_text
from sriov_xdp.pf.state.inventory import Inventory
from sriov_xdp.pf.state.port_record import record_from_text, record_to_text
from sriov_xdp.pf.state.uplink_text import pf_from_text, pf_to_text
from sriov_xdp.store.database import Change as Document
from sriov_xdp.vswitch.ports import PortName


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """kind: its rows' in the store. of: its part of a change, by key; keys: of all that the inventory has; text: what is stored of
    one, None when it is gone; read: the change that brings a row into an inventory, which raises ValueError, KeyError, TypeError
    for a row that is damaged."""

    kind: str
    of: Callable[[Change], Mapping[Any, Any]]
    keys: Callable[[Inventory], Iterable[Any]]
    text: Callable[[Inventory, Any], str | None]
    read: Callable[[str, str], Change]


def _pf_text(inventory: Inventory, name: str) -> str | None:
    pf = inventory.pfs.get(name)
    return pf_to_text(pf) if pf else None


def _switch_text(inventory: Inventory, name: str) -> str | None:
    switch = inventory.switches.get(name)
    return switch_to_text(switch) if switch else None


def _read_switch(_name: str, text: str) -> Change:
    switch = switch_from_json(json.loads(text))
    return Change(switches={switch.name: switch})


def _attachment_text(inventory: Inventory, vf: VfAddress) -> str | None:
    attached = inventory.vfs.get(vf)
    return attachment_to_text(attached.attachment) if attached else None


def _read_attachment(name: str, text: str) -> Change:
    attachment = attachment_from_text(VfAddress.parse(name), text)
    return Change(attachments={attachment.vf: attachment})


def _record_text(inventory: Inventory, name: PortName) -> str | None:
    record = inventory.port_records.get(name)
    return record_to_text(record) if record else None


PORT_RECORD = "port"
TABLES = (
    Table(
        kind="switch",
        of=lambda change: change.switches,
        keys=lambda inventory: inventory.switches,
        text=_switch_text,
        read=_read_switch,
    ),
    Table(
        kind="pf",
        of=lambda change: change.pfs,
        keys=lambda inventory: inventory.pfs,
        text=_pf_text,
        read=lambda name, text: Change(pfs={name: pf_from_text(name, text)}),
    ),
    Table(
        kind="attachment",
        of=lambda change: change.attachments,
        keys=lambda inventory: inventory.vfs,
        text=_attachment_text,
        read=_read_attachment,
    ),
    Table(
        kind=PORT_RECORD,
        of=lambda change: change.port_records,
        keys=lambda inventory: inventory.port_records,
        text=_record_text,
        read=lambda name, text: Change(port_records={PortName.parse(name): record_from_text(text)}),
    ),
)


def documents(inventory: Inventory, change: Change) -> list[Document]:
    """What is stored of all that a change names, as the inventory says it now."""
    return [_document(inventory, table, key) for table in TABLES for key in table.of(change)]


def all_documents(inventory: Inventory) -> list[Document]:
    """What is stored of a whole host."""
    return [_document(inventory, table, key) for table in TABLES for key in table.keys(inventory)]


def _document(inventory: Inventory, table: Table, key: Any) -> Document:
    return Document(kind=table.kind, name=str(key), body=table.text(inventory, key))


def read_all(rows: Callable[[str], Mapping[str, str]]) -> Iterator[Change]:
    """Of a whole state; rows: bodies by name, of a kind. Raises as read() does."""
    for table in TABLES:
        for name, body in rows(table.kind).items():
            yield table.read(name, body)


def merged(one: Change, other: Change) -> Change:
    """Both in one; where both name the same, as the other has it."""
    return replace(
        one,
        pfs={**one.pfs, **other.pfs},
        switches={**one.switches, **other.switches},
        attachments={**one.attachments, **other.attachments},
        states={**one.states, **other.states},
        port_records={**one.port_records, **other.port_records},
    )
