"""Whatever bytes a guest sends: no exception, nothing handed out that is not a request of this VF, no step in state."""

import struct

import pytest
import virtchnl_rules as rules
from hypothesis import given, settings
from hypothesis import strategies as st

from sriov_xdp.mailbox.messages import GetResources
from sriov_xdp.mailbox.session import Answer, Ask, Ignore, Session, State

OWN_VSI = 4
MAC_VM1, MAC_NEW = bytes.fromhex("020000000101"), bytes.fromhex("020000000901")
VALID = [
    rules.message(rules.VERSION, struct.pack("<II", 1, 1)),
    rules.message(rules.VERSION, struct.pack("<II", 1, 0)),
    rules.message(rules.RESET_VF, b""),
    rules.message(rules.GET_VF_RESOURCES, b""),
    rules.message(rules.GET_VF_RESOURCES, struct.pack("<I", 1)),
    rules.message(rules.GET_STATS, struct.pack("<HHII", OWN_VSI, 0, 0, 0)),
    rules.message(rules.CONFIG_PROMISCUOUS_MODE, struct.pack("<HH", OWN_VSI, 1)),
    rules.message(rules.ADD_ETH_ADDR, rules.address_list(OWN_VSI, MAC_NEW, kind=2)),
    rules.message(rules.DEL_ETH_ADDR, rules.address_list(OWN_VSI, MAC_NEW, MAC_VM1, kind=0)),
]

states = st.sampled_from(State)
valid_messages = st.sampled_from(VALID)
opcodes = st.sampled_from([*rules.FORMS, *rules.FORMLESS]) | st.integers(0, 0xFFFFFFFF)
framed_garbage = st.builds(rules.message, opcodes, st.binary(max_size=120))
own_garbage = st.builds(
    lambda opcode, rest: rules.message(opcode, struct.pack("<H", OWN_VSI) + rest), opcodes, st.binary(max_size=60)
)


@st.composite
def bit_flips(draw: st.DrawFn) -> bytes:
    mutated = bytearray(draw(valid_messages))
    for bit in draw(st.lists(st.integers(0, len(mutated) * 8 - 1), min_size=1, max_size=6)):
        mutated[bit // 8] ^= 1 << bit % 8
    return bytes(mutated)


@st.composite
def cut_or_longer(draw: st.DrawFn) -> bytes:
    """Truncated or extended, with the old length in the descriptor or with the true one."""
    valid = draw(valid_messages)
    mutated = valid[: draw(st.integers(0, len(valid)))] + draw(st.binary(max_size=24))
    if len(mutated) < rules.DESCRIPTOR_BYTES or draw(st.booleans()):
        return mutated
    return mutated[:4] + struct.pack("<H", len(mutated) - rules.DESCRIPTOR_BYTES) + mutated[6:]


datagrams = st.one_of(st.binary(max_size=200), framed_garbage, own_garbage, bit_flips(), cut_or_longer(), valid_messages)


def session_in(state: State) -> Session:
    session = Session(vsi_id=OWN_VSI)
    if state is not State.FRESH:
        session.receive(VALID[0])
    if state is State.ACTIVE:
        session.activate(GetResources(capabilities=1), MAC_VM1, 1500)
    return session


@settings(deadline=None, max_examples=300)
@given(state=states, datagram=datagrams)
def test_only_a_well_formed_request_of_this_vf_is_handed_out(state: State, datagram: bytes) -> None:
    outcome = session_in(state).receive(datagram)
    if isinstance(outcome, Ask):
        assert rules.is_request_of(OWN_VSI, datagram)
        assert rules.expected_status(outcome.opcode, len(datagram) - rules.DESCRIPTOR_BYTES, state.value) is rules.HANDED_OUT


@pytest.mark.parametrize("opcode", rules.FORMS)
def test_each_opcode_is_handed_out_or_not_as_the_rules_say(opcode: int) -> None:
    datagram = rules.message(opcode, rules.payload_of(opcode, rules.shortest(opcode), OWN_VSI))
    assert rules.is_request_of(OWN_VSI, datagram) == isinstance(session_in(State.ACTIVE).receive(datagram), Ask)


@settings(deadline=None, max_examples=300)
@given(datagram=datagrams)
def test_an_active_session_hands_out_each_well_formed_request(datagram: bytes) -> None:
    assert rules.is_request_of(OWN_VSI, datagram) == isinstance(session_in(State.ACTIVE).receive(datagram), Ask)


@settings(deadline=None, max_examples=300)
@given(state=states, datagram=datagrams)
def test_only_an_answered_version_moves_the_session(state: State, datagram: bytes) -> None:
    session = session_in(state)
    outcome = session.receive(datagram)
    is_version = isinstance(outcome, Answer) and outcome.fault is None
    assert (is_version and session.state is not State.ACTIVE) or session.state is state


@settings(deadline=None, max_examples=200)
@given(sent=st.lists(datagrams, max_size=12))
def test_no_sequence_of_messages_activates_a_session(sent: list[bytes]) -> None:
    session = session_in(State.FRESH)
    outcomes = [session.receive(datagram) for datagram in sent]
    assert not session.is_active
    assert [] == [ask for ask in outcomes if isinstance(ask, Ask) and ask.opcode not in (rules.RESET_VF, rules.GET_VF_RESOURCES)]


@settings(deadline=None, max_examples=300)
@given(state=states, datagram=datagrams)
def test_what_is_no_request_is_answered_to_the_vf_with_its_opcode(state: State, datagram: bytes) -> None:
    """Except what is shorter than a descriptor, which has no opcode."""
    outcome = session_in(state).receive(datagram)
    assert (len(datagram) < rules.DESCRIPTOR_BYTES) == isinstance(outcome, Ignore)
    if isinstance(outcome, Answer):
        _flags, aq_opcode, datalen, _retval, opcode, _status = rules.HEAD.unpack_from(outcome.message)
        asked = rules.HEAD.unpack_from(datagram)[4]
        assert (rules.PF_TO_VF, len(outcome.message) - rules.DESCRIPTOR_BYTES, asked) == (aq_opcode, datalen, opcode)
