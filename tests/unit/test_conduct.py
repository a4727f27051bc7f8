"""So many invalid messages in a row, and a VF is not heard any more, but for its reset."""

import pytest

from sriov_xdp.mailbox import codec
from sriov_xdp.mailbox.conduct import MOST_INVALID, Conduct
from sriov_xdp.mailbox.messages import GetStats, Opcode, Reset, Status, Version
from sriov_xdp.mailbox.session import Answer, Ask, Ignore, Session


def test_the_tenth_in_a_row_is_one_too_many_and_only_it_is_told() -> None:
    conduct = Conduct()
    assert [False] * 9 + [True] + [False] * 3 == [conduct.heard(is_valid=False) for _message in range(13)]
    assert conduct.is_malicious


def test_a_valid_message_ends_the_row_but_not_the_verdict() -> None:
    conduct = Conduct()
    for is_valid in [False] * (MOST_INVALID - 1) + [True] + [False] * (MOST_INVALID - 1):
        assert not conduct.heard(is_valid=is_valid)
    assert conduct.heard(is_valid=False)
    assert not conduct.heard(is_valid=True)
    assert conduct.is_malicious
    conduct.start_over()
    assert not conduct.is_malicious


RESET = codec.encode_request(Reset())


@pytest.mark.parametrize(
    "message",
    [
        codec.encode_request(Version(major=1, minor=1)),
        codec.encode_request(GetStats(vsi_id=1)),
        codec.join(codec.AQ_TO_PF, Opcode.RESET_VF, 0, b"x"),
        codec.join(codec.AQ_TO_VF, Opcode.RESET_VF, 0, b""),
        codec.join(codec.AQ_TO_PF, 0xFFFFFFFF, 0, b""),
    ],
    ids=["version", "statistics", "a reset with a payload", "a reset from the PF", "no opcode"],
)
def test_of_a_malicious_vf_all_but_a_reset_is_a_parameter_error(message: bytes) -> None:
    session = Session(vsi_id=1)
    session.receive(codec.encode_request(Version(major=1, minor=1)))
    before = session.state
    answer = session.receive_from_malicious(message)
    assert isinstance(answer, Answer)
    envelope = codec.split(answer.message)
    assert envelope is not None
    assert (Status.ERR_PARAM, True) == (envelope.status, answer.fault is not None)
    assert before is session.state


def test_of_a_malicious_vf_a_reset_is_heard_and_half_a_descriptor_is_none() -> None:
    session = Session(vsi_id=1)
    assert Ask(request=Reset(), opcode=Opcode.RESET_VF) == session.receive_from_malicious(RESET)
    assert Ignore(fault="31 bytes, less than a descriptor") == session.receive_from_malicious(RESET[:31])
