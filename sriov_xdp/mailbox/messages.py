"""virtchnl vocabulary: opcodes, status codes, capabilities and the messages this product speaks.

Numbers and layouts: include/linux/avf/virtchnl.h of the Linux kernel. MAC addresses are plain six bytes here.
"""

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import NamedTuple


class Opcode(IntEnum):
    """Opcodes with a meaning in Linux; most are only known, to be answered NOT_SUPPORTED."""

    VERSION = 1
    RESET_VF = 2
    GET_VF_RESOURCES = 3
    CONFIG_TX_QUEUE = 4
    CONFIG_RX_QUEUE = 5
    CONFIG_VSI_QUEUES = 6
    CONFIG_IRQ_MAP = 7
    ENABLE_QUEUES = 8
    DISABLE_QUEUES = 9
    ADD_ETH_ADDR = 10
    DEL_ETH_ADDR = 11
    ADD_VLAN = 12
    DEL_VLAN = 13
    CONFIG_PROMISCUOUS_MODE = 14
    GET_STATS = 15
    EVENT = 17
    CONFIG_RSS_HFUNC = 18
    CONFIG_RSS_KEY = 23
    CONFIG_RSS_LUT = 24
    GET_RSS_HASHCFG_CAPS = 25
    SET_RSS_HASHCFG = 26
    ENABLE_VLAN_STRIPPING = 27
    DISABLE_VLAN_STRIPPING = 28
    REQUEST_QUEUES = 29
    ADD_CLOUD_FILTER = 32
    DEL_CLOUD_FILTER = 33
    GET_SUPPORTED_RXDIDS = 44
    GET_OFFLOAD_VLAN_V2_CAPS = 51
    ADD_VLAN_V2 = 52
    DEL_VLAN_V2 = 53
    ENABLE_VLAN_STRIPPING_V2 = 54
    DISABLE_VLAN_STRIPPING_V2 = 55
    ENABLE_VLAN_INSERTION_V2 = 56
    DISABLE_VLAN_INSERTION_V2 = 57
    GET_QOS_CAPS = 66
    CONFIG_QUEUE_BW = 112


class Status(IntEnum):
    """enum virtchnl_status_code."""

    SUCCESS = 0
    ERR_PARAM = -5
    ERR_NO_MEMORY = -18
    ERR_OPCODE_MISMATCH = -38
    ERR_INVALID_VF_ID = -40
    ERR_ADMIN_QUEUE = -53
    ERR_NOT_SUPPORTED = -64


class Capability(IntFlag):
    """VIRTCHNL_VF_OFFLOAD_*, those in use."""

    L2 = 1 << 0
    ADV_LINK_SPEED = 1 << 7
    VLAN_V2 = 1 << 15
    VLAN = 1 << 16


class EventCode(IntEnum):
    """enum virtchnl_event_codes."""

    LINK_CHANGE = 1
    RESET_IMPENDING = 2
    PF_DRIVER_CLOSE = 3


class AddressType(IntEnum):
    """virtchnl_ether_addr.type, low two bits."""

    LEGACY = 0
    PRIMARY = 1
    EXTRA = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """VERSION, both ways."""

    major: int
    minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GetResources:
    """GET_VF_RESOURCES request; capabilities None from a 1.0 driver."""

    capabilities: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """GET_VF_RESOURCES reply, one VSI."""

    vsi_id: int
    mac: bytes
    max_mtu_bytes: int
    capabilities: int


class EtherAddress(NamedTuple):
    """One entry of an address list. A message may have 510 of them, and making a dataclass costs four times as much."""

    mac: bytes
    type: AddressType


@dataclass(frozen=True, slots=True, kw_only=True)
class AddAddressList:
    """ADD_ETH_ADDR."""

    vsi_id: int
    addresses: tuple[EtherAddress, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DelAddressList:
    """DEL_ETH_ADDR."""

    vsi_id: int
    addresses: tuple[EtherAddress, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AddVlanList:
    """ADD_VLAN."""

    vsi_id: int
    vlans: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DelVlanList:
    """DEL_VLAN."""

    vsi_id: int
    vlans: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetVlanCaps:
    """GET_OFFLOAD_VLAN_V2_CAPS request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VlanCaps:
    """Its reply, of what works here: filters for one kind of tags. tpid: what these begin with, 0 = none works; most_filters: at
    once."""

    tpid: int
    most_filters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AddVlanTags:
    """ADD_VLAN_V2. The VSI is a "vport" there. tpid: what the tags begin with."""

    vsi_id: int
    tpid: int
    vlans: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DelVlanTags:
    """DEL_VLAN_V2."""

    vsi_id: int
    tpid: int
    vlans: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigPromiscuousMode:
    """CONFIG_PROMISCUOUS_MODE."""

    vsi_id: int
    unicast: bool
    multicast: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GetStats:
    """GET_STATS request; the queue maps that come with it are ignored, as in ice."""

    vsi_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """GET_STATS reply (virtchnl_eth_stats), in wire order, as the guest sees it."""

    rx_bytes: int
    rx_unicast: int
    rx_multicast: int
    rx_broadcast: int
    rx_discards: int
    rx_unknown_protocol: int
    tx_bytes: int
    tx_unicast: int
    tx_multicast: int
    tx_broadcast: int
    tx_discards: int
    tx_errors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """RESET_VF; never answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """EVENT, PF to VF only."""

    code: EventCode
    link_is_up: bool = False
    link_speed_mbps: int = 0


VlanRequest = AddVlanList | DelVlanList | AddVlanTags | DelVlanTags
DeviceRequest = AddAddressList | DelAddressList | VlanRequest | ConfigPromiscuousMode | Reset  # those that would change the device
Request = Version | GetResources | GetStats | GetVlanCaps | DeviceRequest
Reply = Version | Resources | Stats | VlanCaps
