"""One VF's driver: negotiation, requests, events, over a blocking mailbox connection.

Replies are matched by opcode; events that arrive in between are kept. After a RESET_IMPENDING the driver negotiates anew
before its next request, as a real VF driver does.
"""

import time
from dataclasses import dataclass

from sriov_xdp.guest.errors import VfDriverError
from sriov_xdp.mailbox import codec, sockets
from sriov_xdp.mailbox.messages import (
    AddAddressList,
    AddressType,
    AddVlanTags,
    Capability,
    ConfigPromiscuousMode,
    DelAddressList,
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

ANSWER_SECONDS = 5.0
_CAPABILITIES = Capability.L2 | Capability.ADV_LINK_SPEED | Capability.VLAN_V2


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the PF said."""

    status: int
    reply: Reply | None


class VfDriver:
    """Open mailbox of one VF. Raises VfDriverError."""

    def __init__(self, vf: str) -> None:
        self.vf = vf
        self.link: Event | None = None
        self._reset_seen = False
        try:
            self._client = sockets.Client(vf, ANSWER_SECONDS)
        except OSError as error:
            text = f"mailbox of {vf}: {error}; is the VF attached to this guest, and the daemon running?"
            raise VfDriverError(text) from error
        self.resources = self.negotiate()

    def fileno(self) -> int:
        """For a selector."""
        return self._client.fileno()

    def close(self) -> None:
        """Ends the connection."""
        self._client.close()

    def negotiate(self) -> Resources:
        """VERSION, then GET_VF_RESOURCES: what the device is now."""
        self._reset_seen = False
        version = self._ask(Version(major=1, minor=1), Opcode.VERSION).reply
        if not isinstance(version, Version) or version.major != 1:
            raise VfDriverError(f"mailbox of {self.vf}: the PF speaks {version}, this driver 1.1")
        capabilities = int(_CAPABILITIES) if version.minor else None
        answer = self._ask(GetResources(capabilities=capabilities), Opcode.GET_VF_RESOURCES)
        if not isinstance(answer.reply, Resources):
            raise VfDriverError(f"mailbox of {self.vf}: GET_VF_RESOURCES was answered with status {answer.status}")
        self.resources = answer.reply
        self._wait_for_link()
        return answer.reply

    def _wait_for_link(self) -> None:
        """The PF tells the link's state right after the resources."""
        while self.link is None:
            self._take(self._receive(), None)

    def set_mac(self, mac: bytes, former: bytes) -> int:
        """Asks for another primary address, as iavf does: add the new one, remove the old one. Returns the add's status."""
        status = self.add_address(mac, AddressType.PRIMARY)
        if status == Status.SUCCESS and former != mac:
            self.remove_address(former, AddressType.PRIMARY)
        return status

    def add_address(self, mac: bytes, kind: AddressType) -> int:
        """Returns the status."""
        request = AddAddressList(vsi_id=self.resources.vsi_id, addresses=(EtherAddress(mac=mac, type=kind),))
        return self._ask_negotiated(request, Opcode.ADD_ETH_ADDR).status

    def remove_address(self, mac: bytes, kind: AddressType) -> int:
        """Returns the status."""
        request = DelAddressList(vsi_id=self.resources.vsi_id, addresses=(EtherAddress(mac=mac, type=kind),))
        return self._ask_negotiated(request, Opcode.DEL_ETH_ADDR).status

    def add_vlan(self, vlan: int) -> int:
        """Asks for the frames of a VLAN; after the first one the PF gives no others. Returns the status."""
        tpid = self._tpid()
        return self._ask_negotiated(AddVlanTags(vsi_id=self.resources.vsi_id, tpid=tpid, vlans=(vlan,)), Opcode.ADD_VLAN_V2).status

    def remove_vlan(self, vlan: int) -> int:
        """Returns the status."""
        tpid = self._tpid()
        return self._ask_negotiated(DelVlanTags(vsi_id=self.resources.vsi_id, tpid=tpid, vlans=(vlan,)), Opcode.DEL_VLAN_V2).status

    def set_promiscuous(self, *, unicast: bool, multicast: bool) -> int:
        """Asks for frames that are for others, and for all multicast groups. Returns the status."""
        request = ConfigPromiscuousMode(vsi_id=self.resources.vsi_id, unicast=unicast, multicast=multicast)
        return self._ask_negotiated(request, Opcode.CONFIG_PROMISCUOUS_MODE).status

    def _tpid(self) -> int:
        """What the tags of the port's VLANs begin with."""
        answer = self._ask_negotiated(GetVlanCaps(), Opcode.GET_OFFLOAD_VLAN_V2_CAPS)
        if isinstance(answer.reply, VlanCaps) and answer.reply.tpid:
            return answer.reply.tpid
        raise VfDriverError(f"{self.vf}: its port offers no VLANs to its guest; only a trunk port does")

    def stats(self) -> Stats:
        """The device's counters."""
        answer = self._ask_negotiated(GetStats(vsi_id=self.resources.vsi_id), Opcode.GET_STATS)
        if not isinstance(answer.reply, Stats):
            raise VfDriverError(f"mailbox of {self.vf}: GET_STATS was answered with status {answer.status}")
        return answer.reply

    def reset(self) -> Resources:
        """Asks for a reset, waits until the PF did it, and negotiates anew: what the device is then."""
        self._client.send(codec.encode_request(Reset()))
        deadline = time.monotonic() + ANSWER_SECONDS
        while not self._reset_seen:
            if time.monotonic() > deadline:
                raise VfDriverError(f"mailbox of {self.vf}: no reset within {ANSWER_SECONDS} s")
            self._take(self._receive(), None)
        return self.negotiate()

    def pending_event(self) -> Event | None:
        """One event, when the socket is readable."""
        return self._take(self._receive(), None)

    def _ask_negotiated(self, request: Request, opcode: Opcode) -> Answer:
        if self._reset_seen:
            self.negotiate()
        return self._ask(request, opcode)

    def _ask(self, request: Request, opcode: Opcode) -> Answer:
        try:
            self._client.send(codec.encode_request(request))
        except OSError as error:
            raise VfDriverError(f"mailbox of {self.vf}: {error}; the daemon is gone") from error
        while True:
            envelope = self._receive()
            if envelope.opcode == opcode:
                return Answer(status=envelope.status, reply=codec.decode_reply(opcode, envelope.payload))
            self._take(envelope, opcode)

    def _receive(self) -> codec.Envelope:
        try:
            envelope = codec.split(self._client.receive())
        except TimeoutError as error:
            raise VfDriverError(f"mailbox of {self.vf}: no answer within {ANSWER_SECONDS} s") from error
        except OSError as error:
            raise VfDriverError(f"mailbox of {self.vf}: {error}; the daemon is gone or the VF was detached") from error
        if envelope is None:
            raise VfDriverError(f"mailbox of {self.vf}: the PF sent less than a descriptor")
        return envelope

    def _take(self, envelope: codec.Envelope, waiting_for: Opcode | None) -> Event | None:
        if envelope.opcode != Opcode.EVENT:
            return None
        event = codec.decode_event(envelope.payload)
        if event is None:
            return None
        if event.code is EventCode.LINK_CHANGE:
            self.link = event
        if event.code is EventCode.RESET_IMPENDING:
            self._reset_seen = True
            self.link = None
            if waiting_for is not None:
                raise VfDriverError(f"mailbox of {self.vf}: the VF was reset while {waiting_for.name} was under way; try again")
        return event
