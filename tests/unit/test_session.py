"""Which message is answered how in which state: every opcode × length × state, against the table in virtchnl_rules.py."""

import struct

import pytest
import virtchnl_rules as rules
from virtchnl_rules import address_list, expected_status, message, payload_of

from sriov_xdp.mailbox.messages import (
    AddAddressList,
    AddressType,
    Capability,
    DelAddressList,
    EtherAddress,
    GetResources,
    GetStats,
    Opcode,
    Request,
    Reset,
)
from sriov_xdp.mailbox.session import ALWAYS_OFFERED, Answer, Ask, Ignore, Session, State

OWN_VSI, NEIGHBOURS_VSI = 4, 5
MAC_VM1, MAC_NEW = bytes.fromhex("020000000101"), bytes.fromhex("020000000901")
L2, ADV_LINK_SPEED, VLAN, RSS = 1 << 0, 1 << 7, 1 << 16, 1 << 19

VERSION_1_0 = message(rules.VERSION, struct.pack("<II", 1, 0))
VERSION_1_1 = message(rules.VERSION, struct.pack("<II", 1, 1))
GET_RESOURCES = message(rules.GET_VF_RESOURCES, struct.pack("<I", L2))
GET_RESOURCES_1_0 = message(rules.GET_VF_RESOURCES, b"")
GET_STATS = message(rules.GET_STATS, struct.pack("<HHII", OWN_VSI, 0, 0, 0))
ADD_NEW = message(rules.ADD_ETH_ADDR, address_list(OWN_VSI, MAC_NEW))
DEL_NEW = message(rules.DEL_ETH_ADDR, address_list(OWN_VSI, MAC_NEW))
RESET = message(rules.RESET_VF, b"")
VALID = {
    "VERSION": VERSION_1_1,
    "GET_VF_RESOURCES": GET_RESOURCES,
    "GET_STATS": GET_STATS,
    "ADD": ADD_NEW,
    "DEL": DEL_NEW,
    "RESET": RESET,
}

every_state = pytest.mark.parametrize("state", State, ids=lambda state: state.value)
every_valid_message = pytest.mark.parametrize("valid", VALID.values(), ids=VALID)


def activate(session: Session, capabilities: int | None = L2) -> bytes:
    return session.activate(GetResources(capabilities=capabilities), MAC_VM1, 1500)


def session_in(state: State) -> Session:
    session = Session(vsi_id=OWN_VSI)
    if state is not State.FRESH:
        session.receive(VERSION_1_1)
    if state is State.ACTIVE:
        activate(session)
    assert state is session.state
    return session


def status_of(outcome: Answer | Ask | Ignore) -> int | None:
    """As in the table: the status of an answer, HANDED_OUT for a request."""
    if isinstance(outcome, Ask):
        return rules.HANDED_OUT
    assert isinstance(outcome, Answer), outcome
    return rules.HEAD.unpack_from(outcome.message)[5]


def request_of(outcome: Answer | Ask | Ignore) -> Request:
    assert isinstance(outcome, Ask), outcome
    return outcome.request


def table() -> list[tuple[int, int]]:
    """Opcode and payload length: 0, around the least accepted one, and the largest that a mailbox carries."""
    opcodes = sorted({*rules.FORMS, *rules.FORMLESS, *Opcode})
    return [
        (opcode, length)
        for opcode in opcodes
        for least in [rules.shortest(opcode)]
        for length in sorted({0, least - 1, least, least + 1, rules.LARGEST_PAYLOAD_BYTES} - {-1})
    ]


@every_state
@pytest.mark.parametrize(("opcode", "length"), table())
def test_every_opcode_of_every_length_gets_its_status_in_every_state(opcode: int, length: int, state: State) -> None:
    session = session_in(state)
    outcome = session.receive(message(opcode, payload_of(opcode, length, OWN_VSI)))
    assert expected_status(opcode, length, state.value) == status_of(outcome)
    negotiates = expected_status(opcode, length, state.value) == rules.SUCCESS
    assert (State.NEGOTIATED if negotiates else state) is session.state


@pytest.mark.parametrize("opcode", Opcode)
def test_every_opcode_that_the_product_names_is_in_the_table(opcode: Opcode) -> None:
    """So that a new one is thought about."""
    assert (opcode in rules.FORMS) != (opcode in rules.FORMLESS)


# What an answer and a request look like.


@pytest.mark.parametrize("opcode", [rules.EVENT, 66, 999, 0xFFFFFFFF])
def test_a_refusal_goes_to_the_vf_names_the_opcode_and_carries_nothing(opcode: int) -> None:
    outcome = session_in(State.ACTIVE).receive(message(opcode, b""))
    assert isinstance(outcome, Answer)
    assert outcome.fault
    _flags, aq_opcode, datalen, _retval, answered, status = rules.HEAD.unpack_from(outcome.message)
    wanted = rules.ERR_NOT_SUPPORTED if opcode == Opcode.GET_QOS_CAPS else rules.ERR_PARAM
    assert (rules.PF_TO_VF, 0, opcode, status, 32) == (aq_opcode, datalen, answered, wanted, len(outcome.message))
    assert opcode == outcome.opcode


@pytest.mark.parametrize(
    ("sent", "wanted"),
    [
        (GET_RESOURCES, GetResources(capabilities=L2)),
        (GET_STATS, GetStats(vsi_id=OWN_VSI)),
        (RESET, Reset()),
        (ADD_NEW, AddAddressList(vsi_id=OWN_VSI, addresses=(EtherAddress(mac=MAC_NEW, type=AddressType.PRIMARY),))),
        (DEL_NEW, DelAddressList(vsi_id=OWN_VSI, addresses=(EtherAddress(mac=MAC_NEW, type=AddressType.PRIMARY),))),
    ],
    ids=["GET_VF_RESOURCES", "GET_STATS", "RESET", "ADD", "DEL"],
)
def test_a_request_is_handed_out_as_it_was_sent(sent: bytes, wanted: Request) -> None:
    outcome = session_in(State.ACTIVE).receive(sent)
    assert Ask(request=wanted, opcode=Opcode(rules.HEAD.unpack_from(sent)[4])) == outcome


def test_a_valid_version_is_answered_without_a_fault() -> None:
    outcome = session_in(State.FRESH).receive(VERSION_1_1)
    assert isinstance(outcome, Answer)
    assert (rules.VERSION, None) == (outcome.opcode, outcome.fault)


# Messages that lie.


@every_state
@every_valid_message
@pytest.mark.parametrize("aq_opcode", [0, 0x0800, 0x0802, 0x0108, 0xFFFF])
def test_only_messages_to_the_pf_are_taken(valid: bytes, aq_opcode: int, state: State) -> None:
    session = session_in(state)
    outcome = session.receive(valid[:2] + struct.pack("<H", aq_opcode) + valid[4:])
    assert (rules.ERR_PARAM, state) == (status_of(outcome), session.state)


@every_state
@every_valid_message
@pytest.mark.parametrize("lie", [-1, 1, 8, 0x1000])
def test_a_message_is_as_long_as_it_says(valid: bytes, lie: int, state: State) -> None:
    session = session_in(state)
    datalen = (len(valid) - rules.DESCRIPTOR_BYTES + lie) & 0xFFFF
    outcome = session.receive(valid[:4] + struct.pack("<H", datalen) + valid[6:])
    assert (rules.ERR_PARAM, state) == (status_of(outcome), session.state)


@every_state
@pytest.mark.parametrize("length", [0, 1, 20, 31])
def test_less_than_a_descriptor_is_not_even_answered(length: int, state: State) -> None:
    session = session_in(state)
    outcome = session.receive(VERSION_1_1[:length])
    assert isinstance(outcome, Ignore)
    assert outcome.fault
    assert state is session.state


@pytest.mark.parametrize("opcode", [rules.ADD_ETH_ADDR, rules.DEL_ETH_ADDR])
@pytest.mark.parametrize("count", [0, 1, 3, 4, 0xFFFF])
def test_an_address_list_holds_as_many_as_it_says(opcode: int, count: int) -> None:
    session = session_in(State.ACTIVE)
    payload = address_list(OWN_VSI, MAC_NEW, MAC_VM1, count=count)
    assert (rules.ERR_PARAM, State.ACTIVE) == (status_of(session.receive(message(opcode, payload))), session.state)


@pytest.mark.parametrize("opcode", [rules.ADD_ETH_ADDR, rules.DEL_ETH_ADDR])
def test_an_address_list_without_addresses_is_refused(opcode: int) -> None:
    assert rules.ERR_PARAM == status_of(session_in(State.ACTIVE).receive(message(opcode, address_list(OWN_VSI))))


@pytest.mark.parametrize("opcode", [rules.ADD_ETH_ADDR, rules.DEL_ETH_ADDR])
def test_an_address_type_without_meaning_is_refused(opcode: int) -> None:
    payload = address_list(OWN_VSI, MAC_NEW, kind=3)
    assert rules.ERR_PARAM == status_of(session_in(State.ACTIVE).receive(message(opcode, payload)))


@pytest.mark.parametrize("vsi_id", [0, OWN_VSI - 1, NEIGHBOURS_VSI, OWN_VSI << 8, 0xFFFF])
@pytest.mark.parametrize("valid", [GET_STATS, ADD_NEW, DEL_NEW], ids=["GET_STATS", "ADD", "DEL"])
def test_a_vf_cannot_name_another_vsi(valid: bytes, vsi_id: int) -> None:
    session = session_in(State.ACTIVE)
    at = rules.DESCRIPTOR_BYTES
    outcome = session.receive(valid[:at] + struct.pack("<H", vsi_id) + valid[at + 2 :])
    assert (rules.ERR_PARAM, State.ACTIVE) == (status_of(outcome), session.state)


@pytest.mark.parametrize("state", [State.FRESH, State.NEGOTIATED], ids=lambda state: state.value)
@pytest.mark.parametrize("vsi_id", [OWN_VSI, NEIGHBOURS_VSI])
def test_an_early_request_is_not_supported_whoever_it_names(vsi_id: int, state: State) -> None:
    outcome = session_in(state).receive(message(rules.ADD_ETH_ADDR, address_list(vsi_id, MAC_NEW)))
    assert rules.ERR_NOT_SUPPORTED == status_of(outcome)


@every_valid_message
def test_what_the_descriptor_says_beside_opcode_and_length_is_ignored(valid: bytes) -> None:
    noisy = b"\xff\xff" + valid[2:6] + b"\xff\xff" + valid[8:12] + b"\xff" * 20 + valid[32:]
    assert session_in(State.ACTIVE).receive(valid) == session_in(State.ACTIVE).receive(noisy)


# Negotiation.


def version_answered(outcome: Answer | Ask | Ignore) -> tuple[int | None, int, int]:
    assert isinstance(outcome, Answer), outcome
    return status_of(outcome), *struct.unpack("<II", outcome.message[rules.DESCRIPTOR_BYTES :])


@every_state
@pytest.mark.parametrize(
    ("theirs", "ours", "after"),
    [
        ((1, 0), (1, 0), State.NEGOTIATED),
        ((1, 1), (1, 1), State.NEGOTIATED),
        ((1, 2), (1, 1), State.NEGOTIATED),
        ((1, 0xFFFFFFFF), (1, 1), State.NEGOTIATED),
        ((0, 0), (1, 1), State.FRESH),
        ((0, 9), (1, 1), State.FRESH),
        ((2, 0), (1, 1), State.FRESH),
        ((0xFFFFFFFF, 1), (1, 1), State.FRESH),
    ],
)
def test_the_pf_answers_its_version_and_goes_on_only_with_its_major(
    state: State, theirs: tuple[int, int], ours: tuple[int, int], after: State
) -> None:
    session = session_in(state)
    outcome = session.receive(message(rules.VERSION, struct.pack("<II", *theirs)))
    assert ((rules.SUCCESS, *ours), after) == (version_answered(outcome), session.state)


def test_who_speaks_another_major_version_cannot_go_on() -> None:
    session = session_in(State.NEGOTIATED)
    session.receive(message(rules.VERSION, struct.pack("<II", 2, 0)))
    assert rules.ERR_PARAM == status_of(session.receive(GET_RESOURCES))


def test_a_driver_of_1_0_asks_for_resources_without_capabilities() -> None:
    session = session_in(State.FRESH)
    session.receive(VERSION_1_0)
    assert (rules.ERR_PARAM, State.NEGOTIATED) == (status_of(session.receive(GET_RESOURCES)), session.state)
    assert GetResources(capabilities=None) == request_of(session.receive(GET_RESOURCES_1_0))


def test_a_driver_that_comes_back_as_1_1_has_capabilities_again() -> None:
    session = session_in(State.FRESH)
    session.receive(VERSION_1_0)
    session.receive(VERSION_1_1)
    assert GetResources(capabilities=L2) == request_of(session.receive(GET_RESOURCES))


def test_asking_for_resources_does_not_activate_before_the_pf_says_so() -> None:
    session = session_in(State.NEGOTIATED)
    session.receive(GET_RESOURCES)
    assert (State.NEGOTIATED, False) == (session.state, session.is_active)
    assert rules.ERR_NOT_SUPPORTED == status_of(session.receive(ADD_NEW))


@pytest.mark.parametrize(
    ("asked", "offered"),
    [
        (None, L2),
        (0, 0),
        (L2, L2),
        (ADV_LINK_SPEED, ADV_LINK_SPEED),
        (L2 | ADV_LINK_SPEED | VLAN | RSS, L2 | ADV_LINK_SPEED),
        (0xFFFFFFFF, L2 | ADV_LINK_SPEED),
    ],
)
def test_capabilities_are_those_asked_for_that_are_supported(asked: int | None, offered: int) -> None:
    answer = activate(session_in(State.NEGOTIATED), asked)[rules.DESCRIPTOR_BYTES :]
    assert (offered,) == struct.unpack_from("<I", answer, 8)


def test_resources_tell_the_vf_its_vsi_address_and_mtu() -> None:
    session = session_in(State.NEGOTIATED)
    answer = activate(session)
    head, payload = rules.HEAD.unpack_from(answer), answer[rules.DESCRIPTOR_BYTES :]
    assert (0, rules.PF_TO_VF, 36, 0, rules.GET_VF_RESOURCES, rules.SUCCESS) == head
    assert (OWN_VSI, 1500, MAC_VM1) == (*struct.unpack_from("<H", payload, 20), *struct.unpack_from("<H", payload, 6), payload[30:])
    assert (State.ACTIVE, True) == (session.state, session.is_active)


# Starting over.


@every_state
def test_after_a_reset_the_session_starts_over_from_version(state: State) -> None:
    session = session_in(state)
    session.start_over()
    assert (State.FRESH, False) == (session.state, session.is_active)
    assert rules.ERR_NOT_SUPPORTED == status_of(session.receive(GET_STATS))
    assert rules.ERR_PARAM == status_of(session.receive(GET_RESOURCES))
    session.receive(VERSION_1_1)
    assert rules.HANDED_OUT == status_of(session.receive(GET_RESOURCES))


def test_an_asked_for_reset_is_the_pfs_to_carry_out() -> None:
    session = session_in(State.ACTIVE)
    assert (Reset(), State.ACTIVE) == (request_of(session.receive(RESET)), session.state)


def test_version_takes_an_active_session_back_to_the_negotiation() -> None:
    session = session_in(State.ACTIVE)
    session.receive(VERSION_1_1)
    assert rules.ERR_NOT_SUPPORTED == status_of(session.receive(ADD_NEW))


# ---- capabilities beyond L2 ----

VLAN_V2 = 1 << 15
ADD_VLAN, DEL_VLAN, GET_VLAN_CAPS, ADD_VLAN_V2, DEL_VLAN_V2 = 12, 13, 51, 52, 53
OF_A_TRUNK = ALWAYS_OFFERED | Capability(VLAN | VLAN_V2)
A_TAG = struct.pack("<HHHHHHHH16x", 10, 0, 0x8100, 0, 0, 0, 0, 0)
VLAN_REQUESTS = {
    ADD_VLAN: (VLAN, struct.pack("<HHHH", OWN_VSI, 1, 10, 0)),
    DEL_VLAN: (VLAN, struct.pack("<HHHH", OWN_VSI, 1, 10, 0)),
    GET_VLAN_CAPS: (VLAN_V2, b""),
    ADD_VLAN_V2: (VLAN_V2, struct.pack("<HHI", OWN_VSI, 1, 0) + A_TAG),
    DEL_VLAN_V2: (VLAN_V2, struct.pack("<HHI", OWN_VSI, 1, 0) + A_TAG),
}


def refusal(opcode: int, status: int) -> bytes:
    return rules.HEAD.pack(0, rules.PF_TO_VF, 0, 0, opcode, status) + bytes(rules.DESCRIPTOR_BYTES - rules.HEAD.size)


def with_capabilities(asked: int) -> Session:
    session = session_in(State.NEGOTIATED)
    session.activate(GetResources(capabilities=asked), MAC_VM1, 1500, OF_A_TRUNK)
    return session


@pytest.mark.parametrize("opcode", VLAN_REQUESTS)
def test_vlans_are_served_to_whom_has_the_capability(opcode: int) -> None:
    needed, payload = VLAN_REQUESTS[opcode]
    assert isinstance(with_capabilities(L2 | needed).receive(rules.message(opcode, payload)), Ask)
    for lacking in (L2, L2 | (VLAN | VLAN_V2) ^ needed):
        answer = with_capabilities(lacking).receive(rules.message(opcode, payload))
        assert isinstance(answer, Answer)
        assert refusal(opcode, rules.ERR_NOT_SUPPORTED) == answer.message
        assert "which was not negotiated" in (answer.fault or "")


def test_who_asks_for_both_kinds_of_filters_has_the_second() -> None:
    answer = session_in(State.NEGOTIATED).activate(GetResources(capabilities=L2 | VLAN | VLAN_V2), MAC_VM1, 1500, OF_A_TRUNK)
    assert L2 | VLAN_V2 == struct.unpack_from("<I", answer, rules.DESCRIPTOR_BYTES + 8)[0]


@pytest.mark.parametrize("opcode", [opcode for opcode in VLAN_REQUESTS if opcode != GET_VLAN_CAPS])
def test_vlans_of_another_vsi_are_refused(opcode: int) -> None:
    needed, payload = VLAN_REQUESTS[opcode]
    answer = with_capabilities(L2 | needed).receive(rules.message(opcode, struct.pack("<H", OWN_VSI + 1) + payload[2:]))
    assert isinstance(answer, Answer)
    assert refusal(opcode, rules.ERR_PARAM) == answer.message
