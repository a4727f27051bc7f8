"""A probe that comes back through a guest is noted and ends; a port that was cut takes part in no flood, and in all else."""

import struct
import time
from collections.abc import Callable

import pytest
from cast import (
    DB,
    GROUP,
    LAB,
    MAC_DB1,
    MAC_INVENTED,
    MAC_ON_THE_WIRE,
    MAC_ROUTER,
    MAC_UPLINK,
    MAC_VM1,
    MAC_VM2,
    NETWORK,
    SLOT_DB1,
    SLOT_FIREWALL,
    SLOT_FORGER,
    SLOT_ROUTER,
    SLOT_UPLINK,
    SLOT_VM1,
    SLOT_VM2,
    SLOT_WEB1,
    UNUSED,
    WEB,
    dropped,
    flooded,
    forwarded,
)
from programs import BROADCAST, DEVICES, Switch, dot1q, ethernet, image, uplink, vf, with_flags

from sriov_xdp.datapath import abi, libbpf
from sriov_xdp.datapath.abi import PortFlag, Verdict
from sriov_xdp.datapath.floods import Floods
from sriov_xdp.datapath.model_ports import Port
from sriov_xdp.datapath.probes import ProbeReturn, probe
from sriov_xdp.datapath.tables import Tables
from sriov_xdp.host import namespaces

NONCE = 0x0123456789ABCDEF
SENDER = SLOT_VM2
NOTHING = ProbeReturn(nonce=0, time_ns=0, sender=0, vlan=0)


@pytest.fixture
def watched(switch: Switch) -> Switch:
    for slot in NETWORK:
        libbpf.update_element(switch.pins.map_fd("loops"), abi.SLOT_LAYOUT.pack(slot), bytes(abi.RETURN_LAYOUT.size))
    return switch


# ---- probes ----


def test_a_probe_is_a_whole_frame_of_its_protocol() -> None:
    """Skip count 0, function 1: a reply, which nobody answers."""
    plain, tagged = (probe(SENDER, DB, NONCE, tag) for tag in (None, (0x8100, DB)))
    assert 60 == len(plain) == len(tagged)
    assert bytes.fromhex("cf0000000000") == plain[:6]
    assert 0b10 == plain[6] & 0b11, "locally administered, and no group"
    assert bytes.fromhex("9000 0000 0100") == plain[12:18]
    assert plain[:12] + struct.pack("!HH", 0x8100, DB) + plain[12:56] == tagged


def test_a_probe_that_comes_back_is_noted_and_ends(watched: Switch) -> None:
    before = time.monotonic_ns()
    assert dropped(Verdict.LOOP) == watched.tc(SLOT_VM1, probe(SENDER, 0, NONCE))
    noted = watched.tables.probe_return(SLOT_VM1)
    assert noted is not None
    assert before <= noted.time_ns <= time.monotonic_ns()
    assert ProbeReturn(nonce=NONCE, time_ns=noted.time_ns, sender=SENDER, vlan=0) == noted
    assert NOTHING == watched.tables.probe_return(SLOT_VM2)


def test_xdp_leaves_it_to_tc(watched: Switch) -> None:
    assert watched.xdp(SLOT_VM1, probe(SENDER, 0, NONCE)) is None
    assert NOTHING == watched.tables.probe_return(SLOT_VM1)


def test_a_tag_that_the_port_allows_comes_along(watched: Switch) -> None:
    assert dropped(Verdict.LOOP) == watched.tc(SLOT_ROUTER, probe(SLOT_FIREWALL, WEB, NONCE, (0x8100, WEB)))
    noted = watched.tables.probe_return(SLOT_ROUTER)
    assert noted is not None
    assert (NONCE, SLOT_FIREWALL, WEB) == (noted.nonce, noted.sender, noted.vlan)


def test_a_probe_behind_a_tag_of_the_guests_own_is_noted(watched: Switch) -> None:
    """In a VLAN of 802.1ad, which may hold a loop of that VLAN of the guest's alone."""
    watched.install({**NETWORK, SLOT_VM1: vf(SLOT_VM1, MAC_VM1, vlan=LAB, is_service=True)})
    inside = LAB | 5 << 16
    assert dropped(Verdict.LOOP) == watched.tc(SLOT_VM1, probe(SENDER, inside, NONCE, (0x8100, 5)))
    noted = watched.tables.probe_return(SLOT_VM1)
    assert noted is not None
    assert (NONCE, SENDER, inside) == (noted.nonce, noted.sender, noted.vlan)


@pytest.mark.parametrize(
    ("slot", "is_tagged", "verdict"),
    [
        (SLOT_ROUTER, False, Verdict.UNTAGGED),
        (SLOT_WEB1, True, Verdict.SPOOF_VLAN),
        (SLOT_FIREWALL, True, Verdict.SPOOF_VLAN),
    ],
)
def test_a_probe_in_no_vlan_of_the_port_shows_no_loop(watched: Switch, slot: int, is_tagged: bool, verdict: Verdict) -> None:
    """No flood would come back that way."""
    frame = probe(SENDER, LAB, NONCE, (0x8100, LAB) if is_tagged else None)
    assert dropped(verdict) == watched.tc(slot, frame) == watched.xdp(slot, frame)
    assert NOTHING == watched.tables.probe_return(slot)


def test_the_policy_of_sources_does_not_hide_a_loop(watched: Switch) -> None:
    """A probe's source is always foreign; the port here rejects forged ones."""
    assert PortFlag.FORGED_ACCEPT not in NETWORK[SLOT_VM1].value.flags
    assert dropped(Verdict.LOOP) == watched.tc(SLOT_VM1, probe(SENDER, 0, NONCE))


BROKEN = {
    "another magic": lambda whole: whole[:14] + bytes(8) + whole[22:],
    "cut off": lambda whole: whole[:37],
    "empty": lambda whole: whole[:14],
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_what_only_looks_like_a_probe_ends_too_without_a_note(watched: Switch, broken: Callable[[bytes], bytes]) -> None:
    assert dropped(Verdict.LOOP) == watched.tc(SLOT_VM1, broken(probe(SENDER, 0, NONCE)))
    assert NOTHING == watched.tables.probe_return(SLOT_VM1)


@pytest.mark.parametrize(("destination", "ether_type"), [(abi.PROBE_GROUP, 0x9001), (b"\xcf\1\0\0\0\0", 0x9000)])
def test_other_groups_and_other_types_are_flooded(watched: Switch, destination: bytes, ether_type: int) -> None:
    frame = ethernet(destination, MAC_VM1, ether_type=ether_type)
    assert Verdict.FLOODED is watched.tc(SLOT_VM1, frame).verdict


def test_unicast_of_that_protocol_is_forwarded(watched: Switch) -> None:
    frame = ethernet(MAC_VM2, MAC_VM1, ether_type=abi.PROBE_TYPE)
    assert forwarded(SLOT_VM2, frame) == watched.tc(SLOT_VM1, frame) == watched.xdp(SLOT_VM1, frame)


def test_from_the_wire_it_is_a_frame_like_any_other(watched: Switch) -> None:
    frame = ethernet(abi.PROBE_GROUP, MAC_ON_THE_WIRE, ether_type=abi.PROBE_TYPE)
    assert Verdict.FLOODED is watched.tc(SLOT_UPLINK, frame).verdict


# ---- cut ports ----

CUT = {**NETWORK, SLOT_VM2: with_flags(NETWORK[SLOT_VM2], PortFlag.LOOP)}


@pytest.fixture
def cut(switch: Switch) -> Switch:
    switch.install(CUT)
    return switch


@pytest.mark.parametrize("destination", [BROADCAST, GROUP], ids=["broadcast", "multicast"])
def test_group_frames_do_not_enter_by_a_cut_port(cut: Switch, destination: bytes) -> None:
    frame = ethernet(destination, MAC_VM2)
    assert dropped(Verdict.LOOP) == cut.tc(SLOT_VM2, frame)
    assert cut.xdp(SLOT_VM2, frame) is None


@pytest.mark.parametrize("destination", [BROADCAST, GROUP], ids=["broadcast", "multicast"])
def test_group_frames_do_not_leave_by_a_cut_port(cut: Switch, destination: bytes) -> None:
    frame = ethernet(destination, MAC_VM1)
    assert flooded({SLOT_UPLINK: frame, SLOT_FORGER: frame}) == cut.tc(SLOT_VM1, frame)


def test_group_frames_from_the_wire_do_not_leave_by_a_cut_port(cut: Switch) -> None:
    frame = ethernet(BROADCAST, MAC_ON_THE_WIRE)
    wanted = flooded({SLOT_VM1: frame, SLOT_FORGER: frame})
    assert wanted == cut.xdp(SLOT_UPLINK, frame)
    assert wanted == cut.tc(SLOT_UPLINK, frame)


def test_a_trunk_port_is_cut_as_well(switch: Switch) -> None:
    switch.install({**NETWORK, SLOT_ROUTER: with_flags(NETWORK[SLOT_ROUTER], PortFlag.LOOP)})
    tagged = ethernet(BROADCAST, MAC_DB1, tags=(dot1q(DB),))
    assert flooded({SLOT_UPLINK: tagged}) == switch.tc(SLOT_DB1, ethernet(BROADCAST, MAC_DB1))
    assert dropped(Verdict.LOOP) == switch.tc(SLOT_ROUTER, ethernet(BROADCAST, MAC_ROUTER, tags=(dot1q(DB),)))


def test_unicast_goes_on(cut: Switch) -> None:
    there, back = ethernet(MAC_VM2, MAC_VM1), ethernet(MAC_VM1, MAC_VM2)
    for judge in (cut.xdp, cut.tc):
        assert forwarded(SLOT_VM2, there) == judge(SLOT_VM1, there)
        assert forwarded(SLOT_VM1, back) == judge(SLOT_VM2, back)


def test_a_faulty_frame_is_called_by_its_fault_on_a_cut_port_too(cut: Switch) -> None:
    assert dropped(Verdict.FORGED_SOURCE) == cut.tc(SLOT_VM2, ethernet(BROADCAST, MAC_INVENTED))
    assert dropped(Verdict.SPOOF_VLAN) == cut.tc(SLOT_VM2, ethernet(BROADCAST, MAC_VM2, tags=(dot1q(UNUSED),)))


def test_probes_are_noted_on_a_cut_port_too(cut: Switch) -> None:
    """Else nobody would notice that the loop is gone."""
    assert dropped(Verdict.LOOP) == cut.tc(SLOT_VM2, probe(SLOT_VM1, 0, NONCE))
    noted = cut.tables.probe_return(SLOT_VM2)
    assert noted is not None
    assert (NONCE, SLOT_VM1) == (noted.nonce, noted.sender)


def _receivers(switch: Switch) -> frozenset[int]:
    found = Floods(switch.pins.map_fd("floods"))
    found.read()
    return found.receivers()[abi.domain(0, 0)]


def test_the_devmap_of_floods_loses_a_cut_port_and_gets_it_back(switch: Switch) -> None:
    everybody = frozenset(DEVICES[slot] for slot in (SLOT_VM1, SLOT_VM2, SLOT_FORGER))
    frame = ethernet(BROADCAST, MAC_ON_THE_WIRE)
    switch.install({**NETWORK, SLOT_UPLINK: uplink(0, MAC_UPLINK, flags=PortFlag.NATIVE_XDP)})
    assert everybody == _receivers(switch)

    def put(port: Port) -> None:
        with namespaces.in_namespace(switch.netns):
            switch.tables.put_port(SLOT_VM2, image(port, NETWORK))

    put(CUT[SLOT_VM2])
    assert everybody - {DEVICES[SLOT_VM2]} == _receivers(switch)
    assert flooded(dict.fromkeys([SLOT_VM1, SLOT_FORGER], frame)) == switch.xdp(SLOT_UPLINK, frame)
    with namespaces.in_namespace(switch.netns):
        switch.tables = Tables(switch.pins)
        switch.tables.adopt()
    assert everybody - {DEVICES[SLOT_VM2]} == _receivers(switch)
    put(NETWORK[SLOT_VM2])
    assert everybody == _receivers(switch)
    assert flooded(dict.fromkeys([SLOT_VM1, SLOT_VM2, SLOT_FORGER], frame)) == switch.xdp(SLOT_UPLINK, frame)
