"""What the programs see after addresses move from port to port."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from cast import MAC_VM1, MAC_VM2, MAC_WEB1, NETWORK, SLOT_VM1, SLOT_VM2, SLOT_WEB1, forwarded
from programs import XDP_REDIRECT, Switch, ethernet, image, vf

from sriov_xdp.datapath import abi, libbpf
from sriov_xdp.datapath.errors import DataPathError
from sriov_xdp.datapath.model import Fate
from sriov_xdp.host import namespaces

Judge = Callable[[int, bytes], Fate | None]
SWAPPED = {**NETWORK, SLOT_VM1: vf(SLOT_VM1, MAC_VM2), SLOT_VM2: vf(SLOT_VM2, MAC_VM1), SLOT_WEB1: vf(SLOT_WEB1, MAC_WEB1)}


@pytest.mark.parametrize("order", [(SLOT_VM1, SLOT_VM2), (SLOT_VM2, SLOT_VM1)])
def test_two_ports_that_swap_their_addresses_are_both_reached(switch: Switch, judge: Judge, order: tuple[int, int]) -> None:
    switch.install({**NETWORK, SLOT_WEB1: vf(SLOT_WEB1, MAC_WEB1)})
    with namespaces.in_namespace(switch.netns):
        for slot in order:
            switch.tables.put_port(slot, image(SWAPPED[slot], SWAPPED))
    to_vm1, to_vm2 = ethernet(MAC_VM1, MAC_WEB1), ethernet(MAC_VM2, MAC_WEB1)
    assert forwarded(SLOT_VM2, to_vm1) == judge(SLOT_WEB1, to_vm1)
    assert forwarded(SLOT_VM1, to_vm2) == judge(SLOT_WEB1, to_vm2)


def test_a_port_that_goes_takes_no_address_along_that_another_port_has_by_now(switch: Switch, judge: Judge) -> None:
    moved = {**NETWORK, SLOT_VM2: vf(SLOT_VM2, MAC_VM1), SLOT_WEB1: vf(SLOT_WEB1, MAC_WEB1)}
    switch.install({**NETWORK, SLOT_WEB1: moved[SLOT_WEB1]})
    with namespaces.in_namespace(switch.netns):
        switch.tables.put_port(SLOT_VM2, image(moved[SLOT_VM2], moved))
        switch.tables.clear_port(SLOT_VM1)
    frame = ethernet(MAC_VM1, MAC_WEB1)
    assert forwarded(SLOT_VM2, frame) == judge(SLOT_WEB1, frame)


def test_groups_that_do_not_fit_leave_nothing_behind(switch: Switch) -> None:
    """What was written before the map was full is known, and goes when the port is put back as it was, or cleared."""
    switch.install({**NETWORK, SLOT_WEB1: vf(SLOT_WEB1, MAC_WEB1)})
    full = image(vf(SLOT_VM2, MAC_VM2), NETWORK)
    own = replace(image(vf(SLOT_WEB1, MAC_WEB1), NETWORK), groups=frozenset({b"\1\0\x5e\0\0\1"}))
    groups = [b"\1\0" + number.to_bytes(4, "big") for number in range(abi.MAX_FDB_ENTRIES)]
    with namespaces.in_namespace(switch.netns):
        switch.tables.put_port(SLOT_WEB1, own)
        switch.tables.put_port(SLOT_VM2, replace(full, groups=frozenset(groups[:-4])))
        assert not switch.tables.has_room_for(0, 4)
        with pytest.raises(DataPathError):
            switch.tables.put_port(SLOT_WEB1, replace(own, groups=own.groups | set(groups[-9:])))
        switch.tables.put_port(SLOT_WEB1, own)
        assert own.groups == switch.tables.groups_of(SLOT_WEB1)
        assert switch.tables.has_room_for(0, 3)
        assert not switch.tables.has_room_for(0, 4)
        switch.tables.put_port(SLOT_VM2, full)
        switch.tables.clear_port(SLOT_WEB1)
    assert [] == list(libbpf.iterate_keys(switch.pins.map_fd("subscriptions"), abi.FDB_KEY_LAYOUT.size))


def test_the_forwarding_database_holds_its_limit_and_every_address_of_it_is_reached(switch: Switch) -> None:
    switch.install({**NETWORK, SLOT_WEB1: vf(SLOT_WEB1, MAC_WEB1)})
    room = abi.MAX_FDB_ENTRIES - switch.tables.fdb_entries()
    assert switch.tables.has_room_for(room)
    assert not switch.tables.has_room_for(room + 1)
    addresses = [b"\x02\xfd" + number.to_bytes(4, "big") for number in range(room)]
    full = image(vf(SLOT_VM2, MAC_VM2), NETWORK)
    with namespaces.in_namespace(switch.netns):
        switch.tables.put_port(SLOT_VM2, replace(full, fdb=full.fdb | {abi.fdb_key(0, 0, address) for address in addresses}))
        assert not switch.tables.has_room_for(1)
        lost = [address for address in addresses if switch.run_xdp(SLOT_WEB1, ethernet(address, MAC_WEB1)).action != XDP_REDIRECT]
        switch.tables.put_port(SLOT_VM2, full)
    assert [] == lost
    assert switch.tables.has_room_for(room)
