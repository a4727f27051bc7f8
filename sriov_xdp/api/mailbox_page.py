"""docs/mailbox.md: the protocol as it is implemented, enough for a driver in another language. Opcodes, lengths, states and numbers
come from the rows of the mailbox package; layouts stand here, a field a line, and tests hold their sizes to the codec's. For
reference.py.
"""

from dataclasses import dataclass

from sriov_xdp.mailbox import codec, session, sockets
from sriov_xdp.mailbox.conduct import MOST_INVALID
from sriov_xdp.mailbox.messages import AddressType, Capability, EventCode, Opcode, Stats, Status
from sriov_xdp.mailbox.opcodes import OPCODES, Lengths, Row, State
from sriov_xdp.pf.process.mailboxes import NEGOTIATION_SECONDS


@dataclass(frozen=True, slots=True)
class Field:
    """Of a layout: how many bytes, what it is called, what stands there."""

    size_bytes: int
    name: str
    text: str


DESCRIPTOR = (
    Field(2, "flags", "0"),
    Field(2, "opcode", f"{codec.AQ_TO_PF:#06x} to the PF, {codec.AQ_TO_VF:#06x} to the VF"),
    Field(2, "datalen", "bytes of payload behind the descriptor: exactly those that the datagram has"),
    Field(2, "retval", "0"),
    Field(4, "cookie_high", "the virtchnl opcode"),
    Field(4, "cookie_low", "signed: the status, in answers; 0 in requests"),
    Field(16, "params", "0"),
)
VERSION = (Field(4, "major", "1"), Field(4, "minor", "1, or 0"))
CAPABILITIES = (Field(4, "capabilities", "those that the driver would use; a 1.0 driver sends no payload at all"),)
RESOURCES = (
    Field(2, "num_vsis", "1"),
    Field(2, "num_queue_pairs", "1"),
    Field(2, "max_vectors", "1"),
    Field(2, "max_mtu", "of the port, without the Ethernet header"),
    Field(4, "vf_cap_flags", "the capabilities that were asked for and are there; for a 1.0 driver `L2`"),
    Field(4, "rss_key_size", "0"),
    Field(4, "rss_lut_size", "0"),
    Field(2, "vsi_id", "the number of the VF's VSI, which later requests name"),
    Field(2, "num_queue_pairs", "1"),
    Field(4, "vsi_type", "6, SR-IOV"),
    Field(2, "qset_handle", "0"),
    Field(6, "default_mac_addr", "the device's address now"),
)
ADDRESSES_HEAD = (Field(2, "vsi_id", "the VF's own"), Field(2, "num_elements", "how many addresses follow, 1 or more"))
ADDRESS = (
    Field(6, "addr", "the address"),
    Field(1, "type", "its low two bits: " + ", ".join(f"{kind.value} {kind.name.lower()}" for kind in AddressType)),
    Field(1, "pad", "0"),
)
QUEUE_SELECT = (
    Field(2, "vsi_id", "the VF's own"),
    Field(2, "pad", "not looked at"),
    Field(4, "rx_queues", "not looked at"),
    Field(4, "tx_queues", "not looked at"),
)
STATS = tuple(Field(8, name, "") for name in Stats.__slots__)
EVENT = (
    Field(4, "event", "signed: " + ", ".join(f"{code.value} {code.name}" for code in EventCode)),
    Field(4, "link_speed", "of LINK_CHANGE: Mbit/s, 0 while the link is down"),
    Field(1, "link_status", "of LINK_CHANGE: 1 up, 0 down"),
    Field(3, "pad", "0"),
    Field(4, "severity", "255 of RESET_IMPENDING, else 0"),
)
PROMISCUOUS = (Field(2, "vsi_id", "the VF's own"), Field(2, "flags", "1 unicast, 2 multicast, the sum of both, or 0"))
VLANS_HEAD = (Field(2, "vsi_id", "the VF's own"), Field(2, "num_elements", "how many VLANs follow, 1 or more"))
VLAN = (Field(2, "vlan_id", "0 to 4095; 0 stands for frames without a tag, and changes nothing"),)
VLAN_CAPS = (
    Field(4, "filtering outer", "0x2: by tags of 802.1ad (0x88a8); 0: not by outer tags"),
    Field(4, "filtering inner", "0x1: by tags of 802.1Q (0x8100); 0: not by inner tags"),
    Field(4, "filtering ethertype_init", "the one of the two that is offered"),
    Field(2, "max_filters", "how many VLANs the port's guest may ask for"),
    Field(2, "pad", "0"),
    Field(8, "stripping outer, inner", "0: not offered"),
    Field(8, "insertion outer, inner", "0: not offered; tags are sent as they are"),
    Field(4, "offloads ethertype_init", "0"),
    Field(1, "ethertype_match", "0"),
    Field(3, "pad", "0"),
)
VLAN_TAGS_HEAD = (
    Field(2, "vport_id", "the number of the VF's own VSI"),
    Field(2, "num_elements", "how many filters follow, 1 or more"),
    Field(4, "pad", "not looked at"),
)
VLAN_TAG = (
    Field(2, "inner tci", "of a tag of 802.1Q: the VLAN, without a priority"),
    Field(2, "inner tci_mask", "0, 0x0fff or 0xffff"),
    Field(2, "inner tpid", "0x8100, or 0 where the filter is by an outer tag"),
    Field(2, "inner pad", "not looked at"),
    Field(2, "outer tci", "of a tag of 802.1ad: the VLAN, without a priority"),
    Field(2, "outer tci_mask", "as above"),
    Field(2, "outer tpid", "0x88a8, or 0 where the filter is by an inner tag"),
    Field(2, "outer pad", "not looked at"),
    Field(16, "pad", "not looked at"),
)
_STATUS_TEXT = {
    Status.SUCCESS: "done; or refused by a policy that does not say so (`deny_reply: silent`, the default)",
    Status.ERR_PARAM: "the message is not what its opcode has: direction, length, a field, another VF's VSI; or an opcode that "
    "Linux does not have; or GET_VF_RESOURCES before VERSION; or anything but a reset of a VF that is malicious",
    Status.ERR_NO_MEMORY: "the PF could not carry it out; nothing was changed",
    Status.ERR_ADMIN_QUEUE: "a policy refused it, and says so (`deny_reply: nack`)",
    Status.ERR_NOT_SUPPORTED: "an opcode that is known and not offered, not in this state, or not without a capability",
}
_TRANSPORT = f"""# The mailbox

Made from `sriov_xdp/mailbox/` and `sriov_xdp/api/mailbox_page.py` by `python -m sriov_xdp.api.reference`.

A VF's driver speaks virtchnl with the PF, as Intel's drivers do (numbers and layouts: Linux, include/linux/avf/virtchnl.h), by a
socket in place of a device's admin queue.

## Transport

* A UNIX socket, `SOCK_SEQPACKET`, with the abstract name `{sockets.NAME_PREFIX}VF`, as in `\\0{sockets.NAME_PREFIX}pf0vf3`,
  in the network namespace of the guest. `/proc/net/unix` there lists the names. Whoever can connect is the guest.
* One datagram is one message: a descriptor of an admin queue, and a payload behind it. All numbers are little-endian. A payload has
  {codec.MAX_PAYLOAD_BYTES} bytes at most. What is shorter than a descriptor gets no answer.
* {sockets.MAX_CONNECTIONS} connections for each VF, each with a state of its own; one more ends the one that was of least use. A
  connection on which answers are not read is ended; so is one on which descriptors come.
* Who is not through with the negotiation {NEGOTIATION_SECONDS:g} s after connecting, or after a reset, is cut off.
"""
_LIFE = f"""## A connection's life

1. It is **{State.FRESH.value}**. `VERSION` is answered with SUCCESS and the PF's version,
   {session.PF_VERSION.major}.{session.PF_VERSION.minor}; to a driver of 1.0 with that. After it the connection is
   **{State.NEGOTIATED.value}**; another `VERSION` starts anew from there at any time. Another major version is answered too, its
   driver must not go on, and the connection is {State.FRESH.value}.
2. `GET_VF_RESOURCES` makes it **{State.ACTIVE.value}**. Right behind the answer comes an `EVENT` with the link's state.
3. Requests are answered in their order, each by one message of the same opcode, `RESET_VF` aside, which has no answer. `EVENT`
   messages may come before an answer at any time.
4. When the VF is reset, by any of its connections or by the operator, `EVENT` RESET_IMPENDING comes on each, and each is
   {State.FRESH.value} again, on the same socket: negotiate anew. All that was granted is gone, and the address is the operator's.
5. When the VF is detached, or the daemon ends, `EVENT` PF_DRIVER_CLOSE may come, and the socket ends. Connect again when it is
   back: what was granted lasts over a restart of the daemon.
"""
_ADDRESS_TYPES = """All addresses of a message are granted, or none. `primary` asks for another address of the device itself; the
former one is not kept. `extra` asks to receive for one more, and to send from it where the policy accepts that. `legacy` is of
drivers that know no types: an extra one, which takes the place of the device's own when that is removed within three seconds.
Removing what the device does not have is a success, and so is removing its own address, which it keeps.
"""
_PROMISCUOUS_TEXT = """Unicast: frames of the port's VLANs that are for other stations, which a policy with `promiscuous: accept`
grants; a driver that never says anything has them there, and one that says 0 has not. Multicast: all groups, where the port hears
only those that were asked for (`flood_multicast: false`); granted to a port that is trusted or may be promiscuous. Both are gone
with a reset.
"""
_VLANS_TEXT = """A driver whose port is a trunk may ask for those of its VLANs whose frames it wants. Until it does it gets the
frames of all; from the first that is granted on, of none but those, until a reset. Frames without a tag come whatever was asked
for. What the guest sends is the port's business alone. All VLANs of a message are granted, or none; removing what was not asked for
is a success. Who could negotiate both capabilities gets `VLAN_V2`.
"""
_SILENCE = """An answer that is no success has no payload. A refusal that is not told apart from success is what the reference does
(vSphere): the guest and its device then differ, and frames of the address that was not granted are dropped."""
_MALICIOUS = f"""
After {MOST_INVALID} invalid messages in a row (ERR_PARAM or NOT_SUPPORTED), on whatever connections, a VF is malicious: everything
but RESET_VF is answered ERR_PARAM and does nothing, until it is reset or the operator says `vf set VF mailbox enable`."""


def page() -> str:
    """The whole of it."""
    return "\n".join([_TRANSPORT, *table(DESCRIPTOR), _LIFE, *_opcodes(), *_payloads(), *_answers()]) + "\n"


def table(fields: tuple[Field, ...]) -> list[str]:
    """A layout, with offsets."""
    lines, offset = ["| offset | bytes | field | |", "|---|---|---|---|"], 0
    for field in fields:
        lines.append(f"| {offset} | {field.size_bytes} | `{field.name}` | {field.text} |")
        offset += field.size_bytes
    return [*lines, ""]


def _opcodes() -> list[str]:
    rows = [_opcode_line(opcode, row) for opcode, row in OPCODES.items()]
    return [
        "## Opcodes",
        "",
        "A message of another length, or with another number, is ERR_PARAM; one that is not offered NOT_SUPPORTED.",
        "",
        "| number | opcode | bytes of payload | allowed while | too early | needs |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
    ]


def _opcode_line(opcode: Opcode, row: Row) -> str:
    if row.form is None:
        return f"| {opcode.value} | {opcode.name} | {_lengths(row.lengths)} | not offered | | |"
    states = ", ".join(state.value for state in State if state in row.form.states)
    too_early = row.form.too_early.name if len(row.form.states) < len(State) else ""
    needs = row.form.capability.name or ""
    return f"| {opcode.value} | **{opcode.name}** | {_lengths(row.lengths)} | {states} | {too_early} | {needs} |"


def _lengths(lengths: Lengths) -> str:
    if lengths.element:
        return f"{lengths.base} + {lengths.element} n, n from 1"
    return " or ".join(map(str, (lengths.base, *lengths.also)))


def _spare(opcode: Opcode, head: tuple[Field, ...]) -> int:
    return OPCODES[opcode].lengths.base - sum(field.size_bytes for field in head)


def _payloads() -> list[str]:
    return [*_negotiation(), *_reception(), *_vlans(), *_observation()]


def _negotiation() -> list[str]:
    capabilities = ", ".join(f"{flag.name} {flag.value:#x}" for flag in Capability if flag.name)
    return [
        "## Payloads",
        "",
        "### VERSION, request and answer",
        "",
        *table(VERSION),
        "### GET_VF_RESOURCES, request",
        "",
        *table(CAPABILITIES),
        f"Capabilities: {capabilities}.",
        "",
        "### GET_VF_RESOURCES, answer",
        "",
        *table(RESOURCES),
    ]


def _reception() -> list[str]:
    return [
        "### ADD_ETH_ADDR and DEL_ETH_ADDR, request",
        "",
        *table(ADDRESSES_HEAD),
        "then, for each address:",
        "",
        *table(ADDRESS),
        f"and {_spare(Opcode.ADD_ETH_ADDR, ADDRESSES_HEAD)} bytes at the end that mean nothing.",
        "",
        _ADDRESS_TYPES,
        "### CONFIG_PROMISCUOUS_MODE, request",
        "",
        *table(PROMISCUOUS),
        _PROMISCUOUS_TEXT,
    ]


def _vlans() -> list[str]:
    return [
        "### ADD_VLAN and DEL_VLAN, request",
        "",
        *table(VLANS_HEAD),
        "then, for each VLAN:",
        "",
        *table(VLAN),
        f"and {_spare(Opcode.ADD_VLAN, VLANS_HEAD)} bytes at the end that mean nothing.",
        "",
        _VLANS_TEXT,
        "### GET_OFFLOAD_VLAN_V2_CAPS, answer",
        "",
        "The request has no payload.",
        "",
        *table(VLAN_CAPS),
        "### ADD_VLAN_V2 and DEL_VLAN_V2, request",
        "",
        *table(VLAN_TAGS_HEAD),
        "then, for each filter:",
        "",
        *table(VLAN_TAG),
        "All filters of a message are of one kind, and that is the kind that GET_OFFLOAD_VLAN_V2_CAPS tells.",
        "",
    ]


def _observation() -> list[str]:
    return [
        "### GET_STATS, request",
        "",
        *table(QUEUE_SELECT),
        "### GET_STATS, answer",
        "",
        *table(STATS),
        "### EVENT",
        "",
        f"Opcode {Opcode.EVENT.value}, from the PF only.",
        "",
        *table(EVENT),
    ]


def _answers() -> list[str]:
    return [
        "## Statuses",
        "",
        "| value | status | when |",
        "|---|---|---|",
        *(f"| {status.value} | {status.name} | {text} |" for status, text in _STATUS_TEXT.items()),
        "",
        _SILENCE,
        _MALICIOUS,
    ]
