"""One connection's virtchnl session, sans IO: bytes in, a request to carry out or an answer out.

Theory of operation. A connection is FRESH until VERSION, NEGOTIATED until GET_VF_RESOURCES, then ACTIVE; a reset of the VF,
whoever asked for it, makes it FRESH again on the same connection. Checks come in the order of the ice driver: form and exact
length (else ERR_PARAM), then what the state and the negotiated capabilities allow (else ERR_NOT_SUPPORTED), then that the
message names the VF's own VSI (else ERR_PARAM). Only what passes all three is handed out. Which VF speaks is known from the
socket, never from here.
"""

from dataclasses import dataclass

from sriov_xdp.mailbox import codec
from sriov_xdp.mailbox.messages import (
    Capability,
    GetResources,
    Opcode,
    Request,
    Resources,
    Status,
    Version,
)
from sriov_xdp.mailbox.opcodes import FORMS, Form, State

PF_VERSION = Version(major=1, minor=1)
ALWAYS_OFFERED = Capability.L2 | Capability.ADV_LINK_SPEED


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The session answers by itself. Invalid messages are answers too; fault then says what was wrong."""

    message: bytes
    opcode: int
    fault: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A valid request, for the PF to carry out and answer."""

    request: Request
    opcode: Opcode


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignore:
    """Not a message at all; there is nothing to answer to."""

    fault: str


class Session:
    """State of one connection. vsi_id is the VF's own."""

    def __init__(self, vsi_id: int) -> None:
        self._vsi_id = vsi_id
        self._state = State.FRESH
        self._minor = PF_VERSION.minor
        self._capabilities = Capability(0)

    @property
    def state(self) -> State:
        """For tests and status."""
        return self._state

    @property
    def is_active(self) -> bool:
        """Whether events other than a reset are of interest to the peer."""
        return self._state is State.ACTIVE

    def start_over(self) -> None:
        """The VF was reset."""
        self._state = State.FRESH

    def receive(self, message: bytes) -> Answer | Ask | Ignore:
        """Takes one datagram."""
        envelope = codec.split(message)
        if envelope is None:
            return Ignore(fault=f"{len(message)} bytes, less than a descriptor")
        if not codec.is_well_formed(envelope):
            return self._refuse(envelope.opcode, Status.ERR_PARAM, f"invalid message, {len(envelope.payload)} bytes of payload")
        opcode = Opcode(envelope.opcode)
        form = FORMS.get(opcode)
        if form is None or self._state not in form.states or form.capability & ~self._capabilities:
            return self._refuse_unready(opcode, form)
        request = codec.decode_request(opcode, envelope.payload)
        if request is None:
            return self._refuse(opcode, Status.ERR_PARAM, "a field contradicts the length or has no meaning")
        vsi_id = getattr(request, "vsi_id", self._vsi_id)
        if vsi_id != self._vsi_id:
            return self._refuse(opcode, Status.ERR_PARAM, f"identity mismatch: VSI {vsi_id} is not this VF's")
        return self._take(opcode, request)

    def receive_from_malicious(self, message: bytes) -> Answer | Ask | Ignore:
        """The same of a VF that is malicious: it may be reset, and no more."""
        heard = self.receive(message) if self._is_reset(message) else None
        if heard is not None:
            return heard
        envelope = codec.split(message)
        if envelope is None:
            return Ignore(fault=f"{len(message)} bytes, less than a descriptor")
        return self._refuse(envelope.opcode, Status.ERR_PARAM, "not heard after too many invalid messages in a row")

    @staticmethod
    def _is_reset(message: bytes) -> bool:
        envelope = codec.split(message)
        return envelope is not None and envelope.opcode == Opcode.RESET_VF and codec.is_well_formed(envelope)

    def _take(self, opcode: Opcode, request: Request) -> Answer | Ask:
        """What the session itself has to say to a valid request."""
        if isinstance(request, Version):
            return self._negotiate(request)
        if isinstance(request, GetResources) and request.capabilities is not None and self._minor == 0:
            return self._refuse(opcode, Status.ERR_PARAM, "1.0 has no capabilities")
        return Ask(request=request, opcode=opcode)

    def _negotiate(self, theirs: Version) -> Answer:
        """The PF always answers with success and its own version, or 1.0 to a 1.0 driver; who speaks another major version
        reads that and must not go on."""
        self._minor = 0 if (theirs.major, theirs.minor) == (1, 0) else PF_VERSION.minor
        self._state = State.NEGOTIATED if theirs.major == PF_VERSION.major else State.FRESH
        ours = Version(major=PF_VERSION.major, minor=self._minor)
        return Answer(message=codec.encode_reply(Opcode.VERSION, Status.SUCCESS, ours), opcode=Opcode.VERSION)

    def activate(self, request: GetResources, mac: bytes, max_mtu_bytes: int, offered: Capability = ALWAYS_OFFERED) -> bytes:
        """Answers GET_VF_RESOURCES; from now on the VF may work. Capabilities: what was asked for and is offered; who could have
        both kinds of VLAN filters has the second."""
        asked = Capability.L2 if request.capabilities is None else Capability(request.capabilities & offered)
        if asked & Capability.VLAN_V2:
            asked &= ~Capability.VLAN
        self._state, self._capabilities = State.ACTIVE, asked
        reply = Resources(vsi_id=self._vsi_id, mac=mac, max_mtu_bytes=max_mtu_bytes, capabilities=int(asked))
        return codec.encode_reply(Opcode.GET_VF_RESOURCES, Status.SUCCESS, reply)

    def _refuse_unready(self, opcode: Opcode, form: Form | None) -> Answer:
        if form is not None and self._state in form.states:
            return self._refuse(opcode, Status.ERR_NOT_SUPPORTED, f"needs {form.capability.name}, which was not negotiated")
        status = form.too_early if form else Status.ERR_NOT_SUPPORTED
        return self._refuse(opcode, status, f"not allowed while {self._state.value}")

    @staticmethod
    def _refuse(opcode: int, status: Status, fault: str) -> Answer:
        return Answer(message=codec.encode_reply(opcode, status), opcode=opcode, fault=fault)
