"""What a guest is told of its counters."""

from sriov_xdp.datapath.abi import VERDICT_ROOM, Counters, Verdict
from sriov_xdp.mailbox import codec
from sriov_xdp.mailbox.messages import Opcode, Status
from sriov_xdp.pf.verbs.controller import stats_of


def verdicts(**counts: int) -> tuple[int, ...]:
    by_number = {Verdict[name.upper()]: count for name, count in counts.items()}
    return tuple(by_number.get(number, 0) for number in range(VERDICT_ROOM))  # type: ignore[call-overload]


def test_frames_are_told_by_kind() -> None:
    told = stats_of(
        Counters(
            egress_frames=10,
            egress_multicast=2,
            egress_broadcast=3,
            egress_errors=1,
            egress_bytes=900,
            verdicts=verdicts(oversize=4),
        )
    )
    assert (4, 2, 3, 1, 900, 4) == (
        told.rx_unicast,
        told.rx_multicast,
        told.rx_broadcast,
        told.rx_discards,
        told.rx_bytes,
        told.tx_discards,
    )


def test_a_guest_whose_device_refused_copies_gets_an_answer() -> None:
    """Its link was down when they came; a negative number of frames would have no place in the message."""
    told = stats_of(Counters(egress_frames=5, egress_multicast=5, egress_errors=5))
    assert (0, 0, 5) == (told.rx_unicast, told.tx_unicast, told.rx_multicast)
    assert codec.encode_reply(Opcode.GET_STATS, Status.SUCCESS, told)
