"""Bytes ↔ messages: layouts against hand-written bytes, and every message there and back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sriov_xdp.mailbox import codec
from sriov_xdp.mailbox.messages import (
    AddAddressList,
    AddressType,
    AddVlanList,
    AddVlanTags,
    ConfigPromiscuousMode,
    DelAddressList,
    DelVlanList,
    DelVlanTags,
    EtherAddress,
    Event,
    EventCode,
    GetResources,
    GetStats,
    GetVlanCaps,
    Opcode,
    Reply,
    Request,
    Reset,
    Resources,
    Stats,
    Status,
    Version,
    VlanCaps,
)

MAC_VM1, MAC_NEW = bytes.fromhex("020000000101"), bytes.fromhex("020000000901")
REST_OF_DESCRIPTOR = "00000000 00000000 00000000 00000000"

NEW_ADDRESS = EtherAddress(mac=MAC_NEW, type=AddressType.PRIMARY)
OLD_ADDRESS = EtherAddress(mac=MAC_VM1, type=AddressType.EXTRA)
RESOURCES = Resources(vsi_id=0x0102, mac=MAC_VM1, max_mtu_bytes=1500, capabilities=0x81)
STATS = Stats(
    rx_bytes=1,
    rx_unicast=2,
    rx_multicast=3,
    rx_broadcast=4,
    rx_discards=5,
    rx_unknown_protocol=6,
    tx_bytes=7,
    tx_unicast=8,
    tx_multicast=9,
    tx_broadcast=10,
    tx_discards=11,
    tx_errors=0x0C0B0A0908070605,
)

# flags · AQ opcode · datalen · retval · cookie high (opcode) · cookie low (status) · four parameters · payload
REQUESTS = [
    ("VERSION 1.1", Version(major=1, minor=1), f"0000 0108 0800 0000 01000000 00000000 {REST_OF_DESCRIPTOR} 01000000 01000000"),
    ("RESET_VF", Reset(), f"0000 0108 0000 0000 02000000 00000000 {REST_OF_DESCRIPTOR}"),
    ("GET_VF_RESOURCES of 1.0", GetResources(capabilities=None), f"0000 0108 0000 0000 03000000 00000000 {REST_OF_DESCRIPTOR}"),
    (
        "GET_VF_RESOURCES of 1.1",
        GetResources(capabilities=0x81),
        f"0000 0108 0400 0000 03000000 00000000 {REST_OF_DESCRIPTOR} 81000000",
    ),
    (
        "ADD_ETH_ADDR of one",
        AddAddressList(vsi_id=4, addresses=(NEW_ADDRESS,)),
        f"0000 0108 1400 0000 0a000000 00000000 {REST_OF_DESCRIPTOR} 0400 0100 020000000901 01 00 0000000000000000",
    ),
    (
        "DEL_ETH_ADDR of two",
        DelAddressList(vsi_id=0x0102, addresses=(NEW_ADDRESS, OLD_ADDRESS)),
        (
            f"0000 0108 1c00 0000 0b000000 00000000 {REST_OF_DESCRIPTOR}"
            "0201 0200 020000000901 01 00 020000000101 02 00 0000000000000000"
        ),
    ),
    (
        "CONFIG_PROMISCUOUS_MODE of multicast",
        ConfigPromiscuousMode(vsi_id=0x0102, unicast=False, multicast=True),
        f"0000 0108 0400 0000 0e000000 00000000 {REST_OF_DESCRIPTOR} 0201 0200",
    ),
    (
        "ADD_VLAN of two",
        AddVlanList(vsi_id=0x0102, vlans=(10, 0x0ABC)),
        f"0000 0108 0a00 0000 0c000000 00000000 {REST_OF_DESCRIPTOR} 0201 0200 0a00 bc0a 0000",
    ),
    (
        "DEL_VLAN of one",
        DelVlanList(vsi_id=4, vlans=(10,)),
        f"0000 0108 0800 0000 0d000000 00000000 {REST_OF_DESCRIPTOR} 0400 0100 0a00 0000",
    ),
    ("GET_OFFLOAD_VLAN_V2_CAPS", GetVlanCaps(), f"0000 0108 0000 0000 33000000 00000000 {REST_OF_DESCRIPTOR}"),
    (
        "ADD_VLAN_V2 of two of 802.1Q",
        AddVlanTags(vsi_id=0x0102, tpid=0x8100, vlans=(10, 20)),
        (
            f"0000 0108 4800 0000 34000000 00000000 {REST_OF_DESCRIPTOR} 0201 0200 00000000"
            "0a00 0000 0081 0000 0000 0000 0000 0000 00000000 00000000 00000000 00000000"
            "1400 0000 0081 0000 0000 0000 0000 0000 00000000 00000000 00000000 00000000"
        ),
    ),
    (
        "DEL_VLAN_V2 of one of 802.1ad",
        DelVlanTags(vsi_id=4, tpid=0x88A8, vlans=(10,)),
        (
            f"0000 0108 2800 0000 35000000 00000000 {REST_OF_DESCRIPTOR} 0400 0100 00000000"
            "0000 0000 0000 0000 0a00 0000 a888 0000 00000000 00000000 00000000 00000000"
        ),
    ),
    (
        "GET_STATS",
        GetStats(vsi_id=0x0102),
        f"0000 0108 0c00 0000 0f000000 00000000 {REST_OF_DESCRIPTOR} 0201 0000 00000000 00000000",
    ),
]
REPLIES = [
    (
        "VERSION 1.0",
        Opcode.VERSION,
        Version(major=1, minor=0),
        f"0000 0208 0800 0000 01000000 00000000 {REST_OF_DESCRIPTOR} 01000000 00000000",
    ),
    (
        "GET_VF_RESOURCES",
        Opcode.GET_VF_RESOURCES,
        RESOURCES,
        (
            f"0000 0208 2400 0000 03000000 00000000 {REST_OF_DESCRIPTOR}"
            "0100 0100 0100 dc05 81000000 00000000 00000000 0201 0100 06000000 0000 020000000101"
        ),
    ),
    (
        "GET_OFFLOAD_VLAN_V2_CAPS of 802.1Q",
        Opcode.GET_OFFLOAD_VLAN_V2_CAPS,
        VlanCaps(tpid=0x8100, most_filters=8),
        (
            f"0000 0208 2800 0000 33000000 00000000 {REST_OF_DESCRIPTOR}"
            "00000000 01000000 01000000 0800 0000 00000000 00000000 00000000 00000000 00000000 00 000000"
        ),
    ),
    (
        "GET_OFFLOAD_VLAN_V2_CAPS of 802.1ad",
        Opcode.GET_OFFLOAD_VLAN_V2_CAPS,
        VlanCaps(tpid=0x88A8, most_filters=4094),
        (
            f"0000 0208 2800 0000 33000000 00000000 {REST_OF_DESCRIPTOR}"
            "02000000 00000000 02000000 fe0f 0000 00000000 00000000 00000000 00000000 00000000 00 000000"
        ),
    ),
    (
        "GET_OFFLOAD_VLAN_V2_CAPS of a port without",
        Opcode.GET_OFFLOAD_VLAN_V2_CAPS,
        VlanCaps(tpid=0, most_filters=0),
        (
            f"0000 0208 2800 0000 33000000 00000000 {REST_OF_DESCRIPTOR}"
            "00000000 00000000 00000000 0000 0000 00000000 00000000 00000000 00000000 00000000 00 000000"
        ),
    ),
    (
        "GET_STATS",
        Opcode.GET_STATS,
        STATS,
        (
            f"0000 0208 6000 0000 0f000000 00000000 {REST_OF_DESCRIPTOR}"
            "0100000000000000 0200000000000000 0300000000000000 0400000000000000 0500000000000000 0600000000000000"
            "0700000000000000 0800000000000000 0900000000000000 0a00000000000000 0b00000000000000 05060708090a0b0c"
        ),
    ),
]
EVENTS = [
    (
        "link up",
        Event(code=EventCode.LINK_CHANGE, link_is_up=True, link_speed_mbps=10_000),
        f"0000 0208 1000 0000 11000000 00000000 {REST_OF_DESCRIPTOR} 01000000 10270000 01 000000 00000000",
    ),
    (
        "link down",
        Event(code=EventCode.LINK_CHANGE),
        f"0000 0208 1000 0000 11000000 00000000 {REST_OF_DESCRIPTOR} 01000000 00000000 00 000000 00000000",
    ),
    (
        "reset impending",
        Event(code=EventCode.RESET_IMPENDING),
        f"0000 0208 1000 0000 11000000 00000000 {REST_OF_DESCRIPTOR} 02000000 00000000 00 000000 ff000000",
    ),
]


def named(cases: list[tuple[str, ...]]) -> list[str]:
    return [case[0] for case in cases]


def payload(message: bytes) -> bytes:
    return message[32:]


@pytest.mark.parametrize(("_name", "request_", "text"), REQUESTS, ids=named(REQUESTS))
def test_a_request_is_laid_out_as_the_protocol_says(_name: str, request_: Request, text: str) -> None:
    assert bytes.fromhex(text).hex(" ", 2) == codec.encode_request(request_).hex(" ", 2)


@pytest.mark.parametrize(("_name", "opcode", "reply", "text"), REPLIES, ids=named(REPLIES))
def test_a_reply_is_laid_out_as_the_protocol_says(_name: str, opcode: Opcode, reply: Reply, text: str) -> None:
    assert bytes.fromhex(text).hex(" ", 2) == codec.encode_reply(opcode, Status.SUCCESS, reply).hex(" ", 2)


@pytest.mark.parametrize(("_name", "event", "text"), EVENTS, ids=named(EVENTS))
def test_an_event_is_laid_out_as_the_protocol_says(_name: str, event: Event, text: str) -> None:
    assert bytes.fromhex(text).hex(" ", 2) == codec.encode_event(event).hex(" ", 2)


def test_resources_put_the_vsi_at_20_and_the_address_at_30_of_36_bytes() -> None:
    found = payload(codec.encode_reply(Opcode.GET_VF_RESOURCES, Status.SUCCESS, RESOURCES))
    assert (36, bytes([0x02, 0x01]), MAC_VM1) == (len(found), found[20:22], found[30:36])


@pytest.mark.parametrize("count", [1, 2, 16, 510])
def test_an_address_list_is_twelve_bytes_and_eight_an_address(count: int) -> None:
    message = codec.encode_request(AddAddressList(vsi_id=4, addresses=(NEW_ADDRESS,) * count))
    assert 12 + 8 * count == len(payload(message))


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (Status.SUCCESS, "00000000"),
        (Status.ERR_PARAM, "fbffffff"),
        (Status.ERR_NO_MEMORY, "eeffffff"),
        (Status.ERR_ADMIN_QUEUE, "cbffffff"),
        (Status.ERR_NOT_SUPPORTED, "c0ffffff"),
    ],
)
def test_a_status_travels_as_a_negative_number_without_payload(status: Status, text: str) -> None:
    wanted = bytes.fromhex(f"0000 0208 0000 0000 0a000000 {text} {REST_OF_DESCRIPTOR}")
    assert wanted == codec.encode_reply(Opcode.ADD_ETH_ADDR, status)


@pytest.mark.parametrize(("low_bits", "kind"), [(0, AddressType.LEGACY), (1, AddressType.PRIMARY), (2, AddressType.EXTRA)])
@pytest.mark.parametrize("high_bits", [0x00, 0x04, 0x80, 0xFC])
def test_the_low_two_bits_are_the_type_of_an_address(low_bits: int, kind: AddressType, high_bits: int) -> None:
    found = codec.decode_request(
        Opcode.ADD_ETH_ADDR, bytes.fromhex("0400 0100") + MAC_NEW + bytes([high_bits | low_bits, 0]) + bytes(8)
    )
    assert AddAddressList(vsi_id=4, addresses=(EtherAddress(mac=MAC_NEW, type=kind),)) == found


@pytest.mark.parametrize("opcode", [Opcode.ADD_ETH_ADDR, Opcode.DEL_ETH_ADDR])
@pytest.mark.parametrize("kind", [3, 7, 0xFF])
def test_the_fourth_type_has_no_meaning(opcode: Opcode, kind: int) -> None:
    assert codec.decode_request(opcode, bytes.fromhex("0400 0100") + MAC_NEW + bytes([kind, 0]) + bytes(8)) is None


TAG_10 = "0a00 0000 0081 0000"
NO_TAG = "0000 0000 0000 0000"
PAD = "00000000 00000000 00000000 00000000"
WITHOUT_MEANING = {
    "no tag at all": NO_TAG + NO_TAG,
    "two tags": TAG_10 + "0a00 0000 a888 0000",
    "802.1Q's as an outer one": NO_TAG + TAG_10,
    "802.1ad's as an inner one": "0a00 0000 a888 0000" + NO_TAG,
    "a type that no tag has": "0a00 0000 0091 0000" + NO_TAG,
    "a priority": "0a20 0000 0081 0000" + NO_TAG,
    "a part of the number": "0a00 000f 0081 0000" + NO_TAG,
    "a VLAN beside its tag": TAG_10 + "0b00 0000 0000 0000",
}


@pytest.mark.parametrize("text", WITHOUT_MEANING.values(), ids=WITHOUT_MEANING)
@pytest.mark.parametrize("opcode", [Opcode.ADD_VLAN_V2, Opcode.DEL_VLAN_V2])
def test_a_vlan_filter_says_one_whole_tag(opcode: Opcode, text: str) -> None:
    head = "0400 0100 00000000"
    assert codec.decode_request(opcode, bytes.fromhex(head + TAG_10 + NO_TAG + PAD)) is not None
    assert codec.decode_request(opcode, bytes.fromhex(head + text + PAD)) is None


def test_vlan_filters_of_two_kinds_are_no_list() -> None:
    both = TAG_10 + NO_TAG + PAD + NO_TAG + "0a00 0000 a888 0000" + PAD
    assert codec.decode_request(Opcode.ADD_VLAN_V2, bytes.fromhex("0400 0200 00000000" + both)) is None


@pytest.mark.parametrize("mask", ["0000", "ff0f", "ffff"])
def test_a_mask_of_the_whole_number_may_be_said(mask: str) -> None:
    text = f"0400 0100 00000000 0a00 {mask} 0081 0000" + NO_TAG + PAD
    assert AddVlanTags(vsi_id=4, tpid=0x8100, vlans=(10,)) == codec.decode_request(Opcode.ADD_VLAN_V2, bytes.fromhex(text))


@pytest.mark.parametrize("flags", ["0400", "0500", "0080", "ffff"])
def test_promiscuity_has_two_flags(flags: str) -> None:
    assert codec.decode_request(Opcode.CONFIG_PROMISCUOUS_MODE, bytes.fromhex(f"0400 {flags}")) is None


@pytest.mark.parametrize(("count", "vlan"), [("0200", "0a00"), ("0000", "0a00"), ("0100", "0010"), ("0100", "ffff")])
@pytest.mark.parametrize("opcode", [Opcode.ADD_VLAN, Opcode.DEL_VLAN])
def test_a_vlan_list_holds_as_many_as_it_says_and_only_vlans(opcode: Opcode, count: str, vlan: str) -> None:
    assert codec.decode_request(opcode, bytes.fromhex(f"0400 {count} {vlan} 0000")) is None


def test_a_message_is_at_most_a_descriptor_and_a_page() -> None:
    assert 32 + 4096 == codec.MAX_MESSAGE_BYTES


@pytest.mark.parametrize("length", [0, 1, 31])
def test_less_than_a_descriptor_is_no_message(length: int) -> None:
    assert codec.split(bytes(length)) is None


def test_a_message_is_split_into_what_its_descriptor_says() -> None:
    text = "ffff 0108 0300 ffff 78563412 fbffffff ffffffff ffffffff ffffffff ffffffff aabbcc"
    wanted = codec.Envelope(aq_opcode=0x0801, opcode=0x12345678, status=-5, claimed_bytes=3, payload=b"\xaa\xbb\xcc")
    assert wanted == codec.split(bytes.fromhex(text))


@pytest.mark.parametrize(
    ("opcode", "length"),
    [
        (Opcode.VERSION, 7),
        (Opcode.VERSION, 9),
        (Opcode.GET_VF_RESOURCES, 20),
        (Opcode.GET_VF_RESOURCES, 35),
        (Opcode.GET_VF_RESOURCES, 37),
        (Opcode.GET_STATS, 95),
        (Opcode.GET_STATS, 112),
        (Opcode.GET_OFFLOAD_VLAN_V2_CAPS, 39),
        (Opcode.ADD_ETH_ADDR, 0),
        (999, 8),
    ],
)
def test_a_reply_of_another_length_or_opcode_says_nothing(opcode: int, length: int) -> None:
    assert codec.decode_reply(opcode, bytes(length)) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "01000000 10270000 01 000000 000000",
        "01000000 10270000 01 000000 00000000 00",
        "00000000 10270000 01 000000 00000000",
        "04000000 10270000 01 000000 00000000",
        "ffffffff 10270000 01 000000 00000000",
    ],
)
def test_an_event_of_another_length_or_code_says_nothing(text: str) -> None:
    assert codec.decode_event(bytes.fromhex(text)) is None


u16, u32, u64 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFFFFFFFFFF)
macs = st.binary(min_size=6, max_size=6)
address_lists = st.lists(st.builds(EtherAddress, mac=macs, type=st.sampled_from(AddressType)), min_size=1, max_size=20).map(tuple)
vlan_lists = st.lists(st.integers(0, 4095), min_size=1, max_size=20).map(tuple)
tpids = st.sampled_from([0x8100, 0x88A8])
requests = st.one_of(
    st.builds(Version, major=u32, minor=u32),
    st.builds(GetResources, capabilities=st.none() | u32),
    st.builds(AddAddressList, vsi_id=u16, addresses=address_lists),
    st.builds(DelAddressList, vsi_id=u16, addresses=address_lists),
    st.builds(ConfigPromiscuousMode, vsi_id=u16, unicast=st.booleans(), multicast=st.booleans()),
    st.builds(AddVlanList, vsi_id=u16, vlans=vlan_lists),
    st.builds(DelVlanList, vsi_id=u16, vlans=vlan_lists),
    st.builds(AddVlanTags, vsi_id=u16, tpid=tpids, vlans=vlan_lists),
    st.builds(DelVlanTags, vsi_id=u16, tpid=tpids, vlans=vlan_lists),
    st.just(GetVlanCaps()),
    st.builds(GetStats, vsi_id=u16),
    st.just(Reset()),
)
statistics = st.lists(u64, min_size=12, max_size=12).map(lambda numbers: Stats(**dict(zip(Stats.__slots__, numbers, strict=True))))
resources = st.builds(Resources, vsi_id=u16, mac=macs, max_mtu_bytes=u16, capabilities=u32)
replies = st.one_of(
    st.tuples(st.just(Opcode.VERSION), st.builds(Version, major=u32, minor=u32)),
    st.tuples(st.just(Opcode.GET_VF_RESOURCES), resources),
    st.tuples(st.just(Opcode.GET_STATS), statistics),
    st.tuples(st.just(Opcode.GET_OFFLOAD_VLAN_V2_CAPS), st.builds(VlanCaps, tpid=tpids | st.just(0), most_filters=u16)),
)
events = st.builds(Event, code=st.sampled_from(EventCode), link_is_up=st.booleans(), link_speed_mbps=u32)


@settings(deadline=None, max_examples=300)
@given(request=requests)
def test_a_request_comes_back_as_it_was(request: Request) -> None:
    envelope = codec.split(codec.encode_request(request))
    assert envelope is not None
    assert codec.is_well_formed(envelope)
    assert request == codec.decode_request(Opcode(envelope.opcode), envelope.payload)


@settings(deadline=None, max_examples=200)
@given(reply=replies)
def test_a_reply_comes_back_as_it_was(reply: tuple[Opcode, Reply]) -> None:
    opcode, sent = reply
    envelope = codec.split(codec.encode_reply(opcode, Status.SUCCESS, sent))
    assert envelope is not None
    assert (opcode, sent) == (envelope.opcode, codec.decode_reply(envelope.opcode, envelope.payload))


@settings(deadline=None, max_examples=200)
@given(event=events)
def test_an_event_comes_back_as_it_was(event: Event) -> None:
    envelope = codec.split(codec.encode_event(event))
    assert envelope is not None
    assert (Opcode.EVENT, event) == (envelope.opcode, codec.decode_event(envelope.payload))


@settings(deadline=None, max_examples=300)
@given(opcode=st.sampled_from(Opcode) | u32, payload=st.binary(max_size=120))
def test_the_driver_reads_nothing_from_an_answer_of_no_known_size(opcode: int, payload: bytes) -> None:
    sizes = {Opcode.VERSION: 8, Opcode.GET_VF_RESOURCES: 36, Opcode.GET_STATS: 96}
    assert (sizes.get(opcode) == len(payload)) == (codec.decode_reply(opcode, payload) is not None)
    assert len(payload) == 16 or codec.decode_event(payload) is None
