"""What virtchnl says of messages from a VF, written down a second time, by hand and without the product's code.

Numbers as in the protocol: an opcode's accepted payload lengths, and the status that a PF answers in each state.
"""

import struct

HEAD = struct.Struct("<HHHHIi")  # of the 32-byte descriptor: flags, AQ opcode, datalen, retval, opcode, status
DESCRIPTOR_BYTES = 32
LARGEST_PAYLOAD_BYTES = 4096
VF_TO_PF, PF_TO_VF = 0x0801, 0x0802

SUCCESS, ERR_PARAM, ERR_NOT_SUPPORTED = 0, -5, -64
HANDED_OUT = None  # no answer yet: the PF is to carry the request out

VERSION, RESET_VF, GET_VF_RESOURCES, ADD_ETH_ADDR, DEL_ETH_ADDR, GET_STATS, EVENT = 1, 2, 3, 10, 11, 15, 17

CONFIG_PROMISCUOUS_MODE = 14

WHEN_ACTIVE = {
    ADD_ETH_ADDR,
    DEL_ETH_ADDR,
    CONFIG_PROMISCUOUS_MODE,
    GET_STATS,
}  # those beside negotiation and reset that are offered

# opcode → base and element: exactly base bytes, or base + n·element with n at least 1
FORMS = {
    VERSION: (8, 0),
    RESET_VF: (0, 0),
    GET_VF_RESOURCES: (0, 0),  # or 4, see below
    4: (24, 0),  # CONFIG_TX_QUEUE
    5: (40, 0),  # CONFIG_RX_QUEUE
    6: (72, 64),  # CONFIG_VSI_QUEUES
    7: (14, 12),  # CONFIG_IRQ_MAP
    8: (12, 0),  # ENABLE_QUEUES
    9: (12, 0),  # DISABLE_QUEUES
    ADD_ETH_ADDR: (12, 8),
    DEL_ETH_ADDR: (12, 8),
    12: (6, 2),  # ADD_VLAN
    13: (6, 2),  # DEL_VLAN
    CONFIG_PROMISCUOUS_MODE: (4, 0),
    GET_STATS: (12, 0),
    18: (8, 0),  # CONFIG_RSS_HFUNC
    23: (5, 1),  # CONFIG_RSS_KEY
    24: (5, 1),  # CONFIG_RSS_LUT
    25: (0, 0),  # GET_RSS_HASHCFG_CAPS
    26: (8, 0),  # SET_RSS_HASHCFG
    27: (0, 0),  # ENABLE_VLAN_STRIPPING
    28: (0, 0),  # DISABLE_VLAN_STRIPPING
    29: (2, 0),  # REQUEST_QUEUES
    32: (272, 0),  # ADD_CLOUD_FILTER
    33: (272, 0),  # DEL_CLOUD_FILTER
    44: (0, 0),  # GET_SUPPORTED_RXDIDS
    51: (0, 0),  # GET_OFFLOAD_VLAN_V2_CAPS
    52: (8, 32),  # ADD_VLAN_V2
    53: (8, 32),  # DEL_VLAN_V2
    54: (16, 0),  # ENABLE_VLAN_STRIPPING_V2
    55: (16, 0),  # DISABLE_VLAN_STRIPPING_V2
    56: (16, 0),  # ENABLE_VLAN_INSERTION_V2
    57: (16, 0),  # DISABLE_VLAN_INSERTION_V2
    66: (0, 0),  # GET_QOS_CAPS
    112: (4, 12),  # CONFIG_QUEUE_BW
}
# Without a form: UNKNOWN, reserved and undefined numbers, EVENT (which only a PF sends), and the edges of 16, 31 and 32 bits.
FORMLESS = (0, 16, EVENT, 19, 20, 43, 50, 58, 67, 111, 114, 255, 256 + 1, 0x10001, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xFFFFFFFF)


def shortest(opcode: int) -> int:
    """The least payload that the opcode accepts; 8 where it accepts none."""
    base, element = FORMS.get(opcode, (8, 0))
    return base + element


def accepts(opcode: int, length_bytes: int) -> bool:
    if opcode == GET_VF_RESOURCES:
        return length_bytes in (0, 4)
    if opcode not in FORMS:
        return False
    base, element = FORMS[opcode]
    if not element:
        return length_bytes == base
    return length_bytes > base and (length_bytes - base) % element == 0


def expected_status(opcode: int, length_bytes: int, state: str) -> int | None:
    """What a PF answers, in the order of the checks: form, the state's allowlist, then what the state lacks."""
    if not accepts(opcode, length_bytes):
        return ERR_PARAM
    if opcode == VERSION:
        return SUCCESS
    if opcode == RESET_VF:
        return HANDED_OUT
    if opcode == GET_VF_RESOURCES:
        return ERR_PARAM if state == "fresh" else HANDED_OUT
    if opcode in WHEN_ACTIVE and state == "active":
        return HANDED_OUT
    return ERR_NOT_SUPPORTED


def message(opcode: int, payload: bytes, *, aq_opcode: int = VF_TO_PF, datalen: int | None = None) -> bytes:
    """One datagram of a VF; datalen None: the true one."""
    claimed = len(payload) if datalen is None else datalen
    return HEAD.pack(0, aq_opcode, claimed, 0, opcode, 0) + bytes(DESCRIPTOR_BYTES - HEAD.size) + payload


def address_list(vsi_id: int, *addresses: bytes, count: int | None = None, kind: int = 1) -> bytes:
    """An address list with its eight spare bytes; count None: the true one."""
    number = len(addresses) if count is None else count
    return struct.pack("<HH", vsi_id, number) + b"".join(mac + bytes([kind, 0]) for mac in addresses) + bytes(8)


def payload_of(opcode: int, length_bytes: int, vsi_id: int) -> bytes:
    """A payload that is sensible where the length is right, and cut or filled up with zeros where it is not."""
    mac = bytes.fromhex("020000000901")
    sensible = {
        VERSION: struct.pack("<II", 1, 1),
        ADD_ETH_ADDR: address_list(vsi_id, mac),
        DEL_ETH_ADDR: address_list(vsi_id, mac),
        CONFIG_PROMISCUOUS_MODE: struct.pack("<HH", vsi_id, 3),
        GET_STATS: struct.pack("<HHII", vsi_id, 0, 0, 0),
    }.get(opcode, b"")
    return sensible[:length_bytes].ljust(length_bytes, b"\0")


def is_request_of(vsi_id: int, datagram: bytes) -> bool:
    """Whether a datagram is, to the last byte, a request that the VF with this VSI may make."""
    if len(datagram) < DESCRIPTOR_BYTES:
        return False
    _flags, aq_opcode, datalen, _retval, opcode, _status = HEAD.unpack_from(datagram)
    payload = datagram[DESCRIPTOR_BYTES:]
    if aq_opcode != VF_TO_PF or datalen != len(payload) or not accepts(opcode, len(payload)):
        return False
    if opcode in (ADD_ETH_ADDR, DEL_ETH_ADDR):
        named, count = struct.unpack_from("<HH", payload)
        kinds = [payload[4 + 8 * index + 6] & 3 for index in range((len(payload) - 12) // 8)]
        return named == vsi_id and count == len(kinds) and 3 not in kinds
    if opcode == CONFIG_PROMISCUOUS_MODE:
        named, flags = struct.unpack("<HH", payload)
        return named == vsi_id and flags < 4
    if opcode == GET_STATS:
        return struct.unpack_from("<H", payload)[0] == vsi_id
    return opcode in {RESET_VF, GET_VF_RESOURCES} | WHEN_ACTIVE
