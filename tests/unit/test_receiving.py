"""A VF asks for what its guest wants and gives back the rest, whatever the PF says."""

from hypothesis import given
from hypothesis import strategies as st

from sriov_xdp.guest.receiving import RETRY_SECONDS, Ask, Receiving, is_group

NESTED, OTHER = bytes.fromhex("020000000a01"), bytes.fromhex("020000000a02")
GROUP = bytes.fromhex("01005e000012")
macs = st.sampled_from([NESTED, OTHER, GROUP, bytes.fromhex("333300000001")])


def asked(receiving: Receiving, wanted: set[bytes], *, grants: set[bytes], now: float = 0.0) -> list[tuple[bytes, bool]]:
    """All requests until there is none, answered by a PF that grants these only."""
    found = []
    while ask := receiving.next(frozenset(wanted), now):
        found.append((ask.mac, ask.is_wanted))
        receiving.answered(ask, is_success=not ask.is_wanted or ask.mac in grants, now_seconds=now)
    return found


def test_what_is_wanted_is_asked_for_once_stations_first() -> None:
    receiving = Receiving()
    assert [(NESTED, True), (OTHER, True), (GROUP, True)] == asked(receiving, {GROUP, OTHER, NESTED}, grants={GROUP, OTHER, NESTED})
    assert [] == asked(receiving, {GROUP, OTHER, NESTED}, grants=set())


def test_what_is_wanted_no_more_is_given_back_first() -> None:
    receiving = Receiving()
    asked(receiving, {NESTED}, grants={NESTED})
    assert [(NESTED, False), (OTHER, True)] == asked(receiving, {OTHER}, grants={OTHER})
    assert frozenset({OTHER}) == receiving.granted


def test_what_was_refused_is_asked_for_again_after_a_while() -> None:
    receiving = Receiving()
    assert [(NESTED, True)] == asked(receiving, {NESTED}, grants=set())
    assert [] == asked(receiving, {NESTED}, grants={NESTED}, now=RETRY_SECONDS - 1)
    assert [(NESTED, True)] == asked(receiving, {NESTED}, grants={NESTED}, now=RETRY_SECONDS)


def test_after_a_reset_all_is_asked_anew() -> None:
    receiving = Receiving()
    asked(receiving, {NESTED, OTHER}, grants={NESTED})
    receiving.start_over()
    assert [(NESTED, True), (OTHER, True)] == asked(receiving, {NESTED, OTHER}, grants={NESTED, OTHER})


def test_groups_give_way_to_a_station_that_finds_no_room() -> None:
    receiving = Receiving()
    asked(receiving, {GROUP}, grants={GROUP})
    ask = receiving.next(frozenset({GROUP, NESTED}), 0.0)
    assert Ask(NESTED, is_wanted=True) == ask
    receiving.answered(ask, is_success=False, now_seconds=0.0)
    assert [(GROUP, False), (NESTED, True)] == asked(receiving, {GROUP, NESTED}, grants={NESTED})


@given(st.lists(st.tuples(st.frozensets(macs), st.frozensets(macs), st.floats(0, 1000)), max_size=8))
def test_in_the_end_all_is_held_that_is_wanted_and_granted_and_nothing_else(
    steps: list[tuple[frozenset[bytes], frozenset[bytes], float]],
) -> None:
    receiving, now = Receiving(), 0.0
    for wanted, grants, later in steps:
        now += later + RETRY_SECONDS
        asked(receiving, set(wanted), grants=set(grants) | set(receiving.granted), now=now)
        assert receiving.granted <= wanted
        assert {mac for mac in wanted & grants if not is_group(mac)} <= receiving.granted
