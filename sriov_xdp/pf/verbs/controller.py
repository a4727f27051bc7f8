"""The PF controller: carries one request of a guest through the seed's workflow, step by step.

    1  the guest asked its VF              (the VF driver, sriov_xdp/guest)
    2  the VF passed it on by the mailbox  (mailbox/session.py made it a request)
    3  the PF asks the virtual switch      serve() → configure()
    4  the switch checks the port's policy vswitch.decide()
    5  the PF configures the VF            _grant(): commit(): store with audit record, then the maps
Only step 5 changes anything, and only after a Grant.
"""

from dataclasses import dataclass

from sriov_xdp.datapath.abi import DROPS, MAX_FDB_ENTRIES, Counters
from sriov_xdp.datapath.errors import DataPathError
from sriov_xdp.mailbox import codec
from sriov_xdp.mailbox.messages import (
    AddAddressList,
    AddVlanList,
    AddVlanTags,
    Capability,
    ConfigPromiscuousMode,
    DelAddressList,
    DelVlanList,
    DelVlanTags,
    DeviceRequest,
    GetResources,
    GetStats,
    GetVlanCaps,
    Reset,
    Stats,
    Status,
    Version,
    VlanCaps,
)
from sriov_xdp.mailbox.session import ALWAYS_OFFERED, Ask, Session
from sriov_xdp.pf.errors import PfError
from sriov_xdp.pf.hands import speakers
from sriov_xdp.pf.hands.commit import commit_grant
from sriov_xdp.pf.hands.context import Actor, Context, record_of
from sriov_xdp.pf.hands.live import link_event
from sriov_xdp.pf.hands.request_metrics import RequestMetrics
from sriov_xdp.pf.state.attached_vf import AttachedVf
from sriov_xdp.pf.state.images import hears_asked_groups_only, slot_of
from sriov_xdp.pf.state.room import Needs, room_problem
from sriov_xdp.pf.verbs.asked import describe, show, to_vswitch
from sriov_xdp.store.audit import Outcome
from sriov_xdp.store.errors import StoreError
from sriov_xdp.vswitch import recorded
from sriov_xdp.vswitch.decision import (
    AddAddresses,
    ConfigurationRequest,
    Deny,
    Grant,
    ResetDevice,
    VfState,
    decide,
)
from sriov_xdp.vswitch.policy import DenyReply
from sriov_xdp.vswitch.vlan import Proto, VlanMode


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A request that was carried out. answers: the messages to send back; has_changed: its VF accepts something else now, which was
    stored."""

    answers: list[bytes]
    has_changed: bool


class Controller:
    """Serves requests of guests. Writer thread only."""

    def __init__(self, context: Context, metrics: RequestMetrics) -> None:
        self._context = context
        self._metrics = metrics

    def serve(self, vf: AttachedVf, session: Session, ask: Ask, actor: Actor) -> Served:
        """Carries out one valid request; the messages to send back are none for a reset."""
        started, before = self._context.clock(), vf.state
        request = ask.request
        match request:
            case GetResources():
                mtu_bytes = self._context.inventory.port_mtu_bytes(vf)
                answers = [
                    session.activate(request, vf.state.effective_mac.octets, mtu_bytes, self._offered(vf)),
                    codec.encode_event(link_event(self._context, vf)),
                ]
                outcome = Outcome.GRANTED
            case GetStats():
                counted = self._context.tables.counters_of(slot_of(vf))
                answers, outcome = [codec.encode_reply(ask.opcode, Status.SUCCESS, stats_of(counted))], Outcome.GRANTED
            case GetVlanCaps():
                answers, outcome = [codec.encode_reply(ask.opcode, Status.SUCCESS, self._vlan_caps(vf))], Outcome.GRANTED
            case Version():
                raise ValueError("VERSION: the session answers it itself")
            case (
                AddAddressList()
                | DelAddressList()
                | AddVlanList()
                | DelVlanList()
                | AddVlanTags()
                | DelVlanTags()
                | ConfigPromiscuousMode()
                | Reset()
            ):
                status, outcome = self.configure(vf, request, actor)
                answers = [] if isinstance(request, Reset) else [codec.encode_reply(ask.opcode, status)]
        self._metrics.count_request(vf.address, ask.opcode, outcome, self._context.clock() - started)
        return Served(answers=answers, has_changed=vf.state is not before)

    def _offered(self, vf: AttachedVf) -> Capability:
        """VLANs are a guest's business on a trunk only; the first kind of filters is for 802.1Q's."""
        vlan = self._context.inventory.vlan(vf)
        if vlan.mode is not VlanMode.TRUNK:
            return ALWAYS_OFFERED
        first = Capability.VLAN if vlan.proto is Proto.CUSTOMER else Capability(0)
        return ALWAYS_OFFERED | Capability.VLAN_V2 | first

    def _vlan_caps(self, vf: AttachedVf) -> VlanCaps:
        """Nothing, where the port became another one since they were offered."""
        vlan = self._context.inventory.vlan(vf)
        tpid = vlan.proto.tpid if vlan.mode is VlanMode.TRUNK else 0
        return VlanCaps(tpid=tpid, most_filters=self._context.inventory.policy(vf).most_vlans if tpid else 0)

    def configure(self, vf: AttachedVf, request: DeviceRequest, actor: Actor) -> tuple[Status, Outcome]:
        """Steps 3 to 5 for a request that would change the device. Returns what the guest hears, and the outcome."""
        asked = to_vswitch(request)
        try:
            decision = decide(asked, self._context.inventory.port_view(vf), self._context.clock())
            self._metrics.count_decision(decision)
            match decision:
                case Grant():
                    self._grant(vf, asked, decision, actor)
                    return Status.SUCCESS, Outcome.GRANTED
                case Deny():
                    return self._deny(vf, asked, decision, actor)
        except (StoreError, DataPathError, PfError) as error:
            arguments = (vf.address, vf.attachment.spec.guest, describe(asked), error)
            self._metrics.log_failure(vf.address, "%s of guest %s: %s: failed: %s", arguments)
            return Status.ERR_NO_MEMORY, Outcome.FAILED

    def _grant(self, vf: AttachedVf, asked: ConfigurationRequest, grant: Grant, actor: Actor) -> None:
        before, after = vf.state, grant.state
        if before == after and not isinstance(asked, ResetDevice):
            self._announce(vf, asked)
            return  # what the guest has already is no news, to nobody else
        self._require_room(vf, after)
        record = record_of(
            self._context,
            str(vf.address),
            vf.attachment.spec.guest,
            actor,
            describe(asked),
            Outcome.GRANTED,
            rule=grant.rule,
            before=show(before),
            after=show(after),
            is_guests=True,
            asked=recorded.text_of(asked, before),
        )
        if before == after:  # a reset of what is as the operator wants it: nothing to store but that it was
            self._context.records.unchanged(record)
        else:
            commit_grant(self._context, vf, after, record)
            self._announce(vf, asked)
        if isinstance(asked, ResetDevice):
            self._context.mailboxes.reset(vf.address)
        if before.effective_mac != after.effective_mac:
            text = "%s of guest %s: effective MAC %s is %s now: %s"
            arguments = (vf.address, vf.attachment.spec.guest, before.effective_mac, after.effective_mac, grant.rule)
            self._metrics.log_change(vf.address, text, arguments)

    def _announce(self, vf: AttachedVf, asked: ConfigurationRequest) -> None:
        """Whoever asks for an address that others hold too has it."""
        if isinstance(asked, AddAddresses):
            speakers.announce(self._context, vf, (address for address, _role in asked.addresses))

    def _require_room(self, vf: AttachedVf, after: VfState) -> None:
        """Raises DataPathError where the tables, which are everybody's, have none."""
        inventory, policy, vlan = self._context.inventory, self._context.inventory.policy(vf), self._context.inventory.vlan(vf)
        had, wanted = Needs.of(vf.state, policy, vlan), Needs.of(after, policy, vlan)
        others = (other for other in inventory.vfs.values() if other is not vf)
        problem = room_problem(
            lambda: (Needs.of(other.state, inventory.policy(other), inventory.vlan(other)) for other in others), had, wanted
        )
        new_entries = max(0, wanted.addresses - had.addresses)
        new_groups = max(0, wanted.groups - had.groups) if hears_asked_groups_only(policy) else 0
        if problem or not self._context.tables.has_room_for(new_entries, new_groups):
            full = f"FDB: all {MAX_FDB_ENTRIES} entries of this host are in use; detach a VF or remove filters"
            raise DataPathError(problem or full)

    def _deny(self, vf: AttachedVf, asked: ConfigurationRequest, deny: Deny, actor: Actor) -> tuple[Status, Outcome]:
        """The device stays as it is. What the guest hears is policy too."""
        is_told = self._context.inventory.policy(vf).deny_reply is DenyReply.NACK
        outcome = Outcome.REFUSED if is_told else Outcome.PRETENDED
        guest, unchanged = vf.attachment.spec.guest, show(vf.state)
        record = record_of(
            self._context,
            str(vf.address),
            guest,
            actor,
            describe(asked),
            outcome,
            rule=deny.rule,
            before=unchanged,
            after=unchanged,
            is_guests=True,
            asked=recorded.text_of(asked, vf.state),
        )
        self._context.records.unchanged(record)
        text = "%s of guest %s: %s: refused by %s: %s; the device keeps %s, the guest was told %s"
        told = "so" if is_told else "that it worked; reset the interface in the guest to recover"
        arguments = (vf.address, guest, describe(asked), deny.rule, deny.reason, vf.state.effective_mac, told)
        self._metrics.log_refusal(vf.address, text, arguments)
        return Status.ERR_ADMIN_QUEUE if is_told else Status.SUCCESS, outcome

    def refuse_invalid(self, vf: AttachedVf, opcode: int, fault: str, actor: Actor) -> None:
        """A message that the session refused: counted, recorded within the guest's budget, nothing else happened."""
        guest, unchanged = vf.attachment.spec.guest, show(vf.state)
        request = f"opcode {opcode}: {fault}"
        record = record_of(
            self._context,
            str(vf.address),
            guest,
            actor,
            request,
            Outcome.INVALID,
            rule="virtchnl",
            before=unchanged,
            after=unchanged,
            is_guests=True,
        )
        self._context.records.unchanged(record)
        self._metrics.count_request(vf.address, opcode, Outcome.INVALID, 0.0)
        self._metrics.log_refusal(vf.address, "%s of guest %s: %s", (vf.address, guest, request))


def stats_of(counted: Counters) -> Stats:
    """As the guest sees it: what entered the switch is what it transmitted. Copies of floods that its device refused count among
    the multicast ones, not among those delivered, so that more may be taken off than there are."""
    drops = sum(counted.verdicts[verdict] for verdict in DROPS)
    return Stats(
        rx_bytes=counted.egress_bytes,
        rx_unicast=max(0, counted.delivered_frames - counted.egress_multicast - counted.egress_broadcast),
        rx_multicast=counted.egress_multicast,
        rx_broadcast=counted.egress_broadcast,
        rx_discards=counted.egress_errors,
        rx_unknown_protocol=0,
        tx_bytes=counted.ingress_bytes,
        tx_unicast=max(0, counted.ingress_frames - counted.ingress_multicast - counted.ingress_broadcast),
        tx_multicast=counted.ingress_multicast,
        tx_broadcast=counted.ingress_broadcast,
        tx_discards=drops,
        tx_errors=0,
    )
