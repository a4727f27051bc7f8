"""However many addresses guests hold with others, and however often they ask for them, a turn of the writer looks at few."""

from types import SimpleNamespace
from typing import Any

from sriov_xdp.datapath import abi
from sriov_xdp.pf.hands import speakers
from sriov_xdp.pf.state.intent import VfAddress
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.owners import AddressOwners
from sriov_xdp.vswitch.vlan import NO_VLAN

MANY = frozenset(MacAddress(bytes([2, 0, 0x5E, 0, 1, last])) for last in range(200))
VF = SimpleNamespace(address="pf0vf0", attachment=SimpleNamespace(ifindex=16))


class Tables:
    """Counts what is asked and written."""

    def __init__(self) -> None:
        self.asked, self.noted = 0, list[tuple[int, int]]()

    def speaker(self, _key: int) -> int:
        self.asked += 1
        return abi.NOBODY

    def note_speaker(self, key: int, slot: int) -> None:
        self.noted.append((key, slot))


def context_of(tables: Tables) -> Any:
    owners = AddressOwners()
    owners.replace("pf0vf0", MANY, NO_VLAN.address_domains, frozenset((NO_VLAN.place, mac) for mac in MANY))
    pf = SimpleNamespace(spec=SimpleNamespace(name="pf0"), number=0, owners=owners)
    inventory = SimpleNamespace(
        pfs={"pf0": pf}, pf=lambda _name: pf, vlan=lambda _vf: NO_VLAN, vfs_of_pf=lambda _name: [VF], moved_of_pf=lambda _name: []
    )
    return SimpleNamespace(inventory=inventory, tables=tables)


def test_a_look_goes_in_steps_of_a_few_addresses() -> None:
    tables = Tables()
    steps, before = speakers.look(context_of(tables)), 0
    assert steps
    for _step in steps:
        assert tables.asked - before <= 32
        before = tables.asked
    assert len(MANY) == tables.asked


def test_nobody_holds_anything_so_nothing_is_looked_at() -> None:
    context = context_of(Tables())
    context.inventory.pfs["pf0"].owners.release("pf0vf0")
    assert speakers.look(context) is None


def test_a_request_notes_a_few_and_moves_nothing_itself() -> None:
    tables = Tables()
    vf: Any = SimpleNamespace(address=VfAddress("pf0", 0), attachment=VF.attachment)
    speakers.announce(context_of(tables), vf, sorted(MANY))
    assert (16, {16}) == (len(tables.noted), {slot for _key, slot in tables.noted})
