"""The reference pages say what the rows say, and each row is there."""

from pathlib import Path

import pytest

from sriov_xdp.api import mailbox_page, reference
from sriov_xdp.api.verdicts import EXPLANATIONS
from sriov_xdp.datapath.abi import Verdict
from sriov_xdp.mailbox import codec
from sriov_xdp.mailbox.messages import (
    AddAddressList,
    AddressType,
    AddVlanList,
    AddVlanTags,
    ConfigPromiscuousMode,
    EtherAddress,
    Event,
    EventCode,
    GetResources,
    GetStats,
    Opcode,
    Resources,
    Stats,
    Status,
    Version,
    VlanCaps,
)

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("name", reference.PAGES)
def test_a_page_is_made_from_the_rows_of_today(name: str) -> None:
    remedy = "make it anew: .venv/bin/python -m sriov_xdp.api.reference"
    assert reference.PAGES[name]() == (DOCS / name).read_text(), remedy


def test_every_verdict_is_explained() -> None:
    assert list(Verdict) == list(EXPLANATIONS)


STATS = Stats(**dict.fromkeys(Stats.__slots__, 0))
RESOURCES = Resources(vsi_id=1, mac=bytes(6), max_mtu_bytes=1500, capabilities=0)
ONE_VLAN, ONE_TAG = AddVlanList(vsi_id=1, vlans=(10,)), AddVlanTags(vsi_id=1, tpid=0x8100, vlans=(10,))
NO_VLANS = VlanCaps(tpid=0, most_filters=0)
ONE_ADDRESS = AddAddressList(vsi_id=1, addresses=(EtherAddress(bytes(6), AddressType.EXTRA),))


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (mailbox_page.DESCRIPTOR, codec.encode_reply(Opcode.VERSION, Status.ERR_PARAM)),
        (mailbox_page.VERSION, codec.encode_reply(Opcode.VERSION, Status.SUCCESS, Version(major=1, minor=1))),
        (mailbox_page.CAPABILITIES, codec.encode_request(GetResources(capabilities=1))),
        (mailbox_page.RESOURCES, codec.encode_reply(Opcode.GET_VF_RESOURCES, Status.SUCCESS, RESOURCES)),
        (mailbox_page.QUEUE_SELECT, codec.encode_request(GetStats(vsi_id=1))),
        (mailbox_page.STATS, codec.encode_reply(Opcode.GET_STATS, Status.SUCCESS, STATS)),
        (mailbox_page.EVENT, codec.encode_event(Event(code=EventCode.LINK_CHANGE))),
        (mailbox_page.PROMISCUOUS, codec.encode_request(ConfigPromiscuousMode(vsi_id=1, unicast=True, multicast=False))),
        ((*mailbox_page.VLANS_HEAD, *mailbox_page.VLAN, mailbox_page.Field(2, "", "")), codec.encode_request(ONE_VLAN)),
        ((*mailbox_page.VLAN_TAGS_HEAD, *mailbox_page.VLAN_TAG), codec.encode_request(ONE_TAG)),
        (mailbox_page.VLAN_CAPS, codec.encode_reply(Opcode.GET_OFFLOAD_VLAN_V2_CAPS, Status.SUCCESS, NO_VLANS)),
        ((*mailbox_page.ADDRESSES_HEAD, *mailbox_page.ADDRESS, mailbox_page.Field(8, "", "")), codec.encode_request(ONE_ADDRESS)),
    ],
)
def test_layouts_of_the_mailbox_are_as_long_as_its_messages(layout: tuple[mailbox_page.Field, ...], message: bytes) -> None:
    payload_bytes = len(message) - codec.DESCRIPTOR.size
    assert (payload_bytes or codec.DESCRIPTOR.size) == sum(field.size_bytes for field in layout)
