"""Prometheus metrics, read from the maps at scrape time (prometheus-client custom collector).

Labels are closed sets: PF, VF, verdict, opcode, rule. MAC addresses and names of guests appear in one info series a VF only.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from platform import release

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily, Metric

from sriov_xdp.api import fast_path
from sriov_xdp.api.views import link_of
from sriov_xdp.datapath import abi
from sriov_xdp.datapath.abi import DROPS, Counters, Verdict
from sriov_xdp.pf.hands import live
from sriov_xdp.pf.hands.request_metrics import Histogram
from sriov_xdp.pf.process.service import PfService
from sriov_xdp.pf.state.attached_vf import AttachedVf
from sriov_xdp.pf.state.images import slot_of

_VF = ("pf", "vf")
_NO_COUNTERS = Counters()


@dataclass(frozen=True, slots=True, kw_only=True)
class VfFamily:
    """A family of many VFs whose samples seldom change. states: VF → what its samples say, and nothing else; samples: those
    of one VF; header: the family without samples."""

    name: str
    states: Mapping[str, Hashable]
    header: Callable[[], Metric]
    samples: Callable[[str], Metric]


class PfCollector:
    """Everything this product says about itself. refused: the API's connections and requests, by endpoint and reason."""

    def __init__(self, service: PfService, refused: Mapping[tuple[str, str], int]) -> None:
        self._service = service
        self._refused = refused

    def families(self) -> Iterator[Metric | VfFamily]:
        """All families, from one look at the counters."""
        counters = self._service.context.tables.counters()
        vfs = [vf for _address, vf in sorted(self._service.context.inventory.vfs.items())]
        yield from _traffic(vfs, counters)
        queue_full = {str(vf.address): live.dropped_by_rate(self._service.context, vf) for vf in vfs}
        yield _drops(vfs, counters, queue_full)
        yield from self._uplinks(counters)
        yield self._vf_info(vfs)
        yield from self._vf_state(vfs)
        yield from self._requests()
        yield from self._writer()
        yield from self._maps()
        build = InfoMetricFamily("sriovxdp_build", "Version of the daemon and the kernel it runs on.")
        build.add_metric((), {"version": version("sriov-xdp"), "kernel": release()})
        yield build

    def _uplinks(self, counters: dict[int, Counters]) -> Iterator[Metric]:
        frames_in = CounterMetricFamily("sriovxdp_uplink_receive_packets", "Frames from the wire that went on.", labels=("pf",))
        frames_out = CounterMetricFamily("sriovxdp_uplink_transmit_packets", "Frames to the wire.", labels=("pf",))
        bytes_in = CounterMetricFamily(
            "sriovxdp_uplink_receive_bytes", "Bytes of frames from the wire that went on.", labels=("pf",)
        )
        bytes_out = CounterMetricFamily("sriovxdp_uplink_transmit_bytes", "Bytes of frames to the wire.", labels=("pf",))
        to_host = CounterMetricFamily("sriovxdp_uplink_to_host_packets", "Frames from the wire for the host alone.", labels=("pf",))
        drops = CounterMetricFamily("sriovxdp_uplink_drops", "Frames dropped at the uplink.", labels=("pf", "reason"))
        is_up = GaugeMetricFamily("sriovxdp_uplink_up", "1 while the PF's uplink is there and has a carrier.", labels=("pf",))
        troubles = GaugeMetricFamily("sriovxdp_uplink_troubles", "What is wrong with the uplink; doctor says it.", labels=("pf",))
        for name, pf in sorted(self._service.context.inventory.pfs.items()):
            counted = counters.get(pf.number, _NO_COUNTERS)
            frames_in.add_metric((name,), counted.ingress_frames)
            frames_out.add_metric((name,), counted.delivered_frames)
            to_host.add_metric((name,), counted.verdicts[Verdict.TO_HOST])
            bytes_in.add_metric((name,), counted.ingress_bytes)
            bytes_out.add_metric((name,), counted.egress_bytes)
            if pf.spec.uplink:
                is_up.add_metric((name,), int(pf.uplink is not None and pf.uplink.has_carrier))
                troubles.add_metric((name,), len(pf.uplink.troubles) if pf.uplink else 1)
            for verdict in DROPS:
                drops.add_metric((name, verdict.label), counted.verdicts[verdict])
        yield from (frames_in, frames_out, bytes_in, bytes_out, to_host, drops, is_up, troubles)

    def _vf_info(self, vfs: list[AttachedVf]) -> VfFamily:
        states: dict[str, tuple[str, dict[str, str]]] = {}
        for vf in vfs:
            spec = vf.attachment.spec
            vlan = str(self._service.context.inventory.vlan(vf))
            details = {"mac": str(vf.state.effective_mac), "port_group": spec.port_group, "vlan": vlan}
            states[str(vf.address)] = (
                vf.address.pf,
                {**details, "guest": spec.guest, "netns": spec.netns, "datapath": vf.active.value},
            )

        def header() -> InfoMetricFamily:
            return InfoMetricFamily("sriovxdp_vf", "Who has the VF, and how it is connected.", labels=_VF)

        def samples(vf: str) -> Metric:
            family, (pf, details) = header(), states[vf]
            family.add_metric((pf, vf), details)
            return family

        shown = {vf: (pf, *details.values()) for vf, (pf, details) in states.items()}
        return VfFamily(name="info", states=shown, header=header, samples=samples)

    def _vf_state(self, vfs: list[AttachedVf]) -> Iterator[Metric]:
        context = self._service.context
        link = GaugeMetricFamily(
            "sriovxdp_vf_link_up", "1 while frames can pass between guest and port; vf show says why not.", labels=_VF
        )
        switched = CounterMetricFamily("sriovxdp_vf_datapath_switches", "Moves between tcx and XDP.", labels=_VF)
        malicious = GaugeMetricFamily(
            "sriovxdp_vf_mailbox_malicious", "1 while nothing but a reset is heard from the guest.", labels=_VF
        )
        cut = GaugeMetricFamily("sriovxdp_vf_loop_cut", "1 while the VF is kept out of floods, for a loop.", labels=_VF)
        slow = GaugeMetricFamily(
            "sriovxdp_vf_slow_path", "1 for each reason why frames take no fast way.", labels=(*_VF, "direction", "reason")
        )
        for vf in vfs:
            labels = (vf.address.pf, str(vf.address))
            for direction, words in fast_path.reasons(context.tables.flags_of(slot_of(vf))).items():
                for word in words:
                    slow.add_metric((*labels, direction, word), 1)
            link.add_metric(labels, int(link_of(context, vf)[0] == "up"))
            switched.add_metric(labels, context.mode_switches.get(vf.address, 0))
            malicious.add_metric(labels, int(context.mailboxes.is_malicious(vf.address)))
            cut.add_metric(labels, int(vf.cut_for_loop_with is not None))
        yield from (link, switched, malicious, cut, slow)

    def _requests(self) -> Iterator[Metric]:
        metrics = self._service.metrics
        requests = CounterMetricFamily(
            "sriovxdp_mailbox_requests", "Messages of guests, by what came of them.", labels=(*_VF, "opcode", "outcome")
        )
        for key, count in sorted(metrics.requests.items()):
            requests.add_metric(key, count)
        decisions = CounterMetricFamily("sriovxdp_policy_decisions", "Answers of the vSwitch.", labels=("rule", "decision"))
        for rule, count in sorted(metrics.decisions.items()):
            decisions.add_metric(rule, count)
        dropped = CounterMetricFamily("sriovxdp_mailbox_dropped", "Connections refused or cut off.", labels=(*_VF, "reason"))
        for cause, count in sorted(self._service.mailboxes.dropped.items()):
            dropped.add_metric(cause, count)
        text = "From request to answer, in the daemon."
        durations = _histogram("sriovxdp_mailbox_request_duration_seconds", text, "opcode", metrics.durations)
        yield from (requests, decisions, dropped, durations)

    def _writer(self) -> Iterator[Metric]:
        text = "Turns of the one thread that serves all guests, by what they were spent on; whoever waits, waits for these."
        yield _histogram("sriovxdp_writer_turn_seconds", text, "turn", self._service.loop.turns)
        text = "Mistakes of the daemon itself that it went on after; its log has each. Please report them."
        yield CounterMetricFamily("sriovxdp_internal_errors", text, value=self._service.loop.survived)
        refused = CounterMetricFamily(
            "sriovxdp_api_refused", "Connections and requests to the daemon's own endpoints.", labels=("endpoint", "reason")
        )
        for cause, count in sorted(self._refused.items()):
            refused.add_metric(cause, count)
        yield refused

    def _maps(self) -> Iterator[Metric]:
        tables = self._service.context.tables
        used = GaugeMetricFamily("sriovxdp_map_entries", "Entries in use.", labels=("map",))
        room = GaugeMetricFamily("sriovxdp_map_capacity_entries", "Entries that fit.", labels=("map",))
        sizes = {
            "fdb": (tables.fdb_entries(), abi.MAX_FDB_ENTRIES),
            "members": (tables.member_lists(), abi.MAX_VLANS),
            "ports": (len(tables.slots()), abi.MAX_PORTS),
        }
        for name, (entries, capacity) in sizes.items():
            used.add_metric((name,), entries)
            room.add_metric((name,), capacity)
        yield from (used, room)


def _histogram(name: str, text: str, label: str, durations: Histogram) -> Metric:
    family = HistogramMetricFamily(name, text, labels=(label,))
    bounds = [*(str(bound) for bound in durations.bounds_seconds), "+Inf"]
    for key, counts in sorted(durations.counts.items()):
        running, buckets = 0, []
        for bound, count in zip(bounds, counts, strict=True):
            running += count
            buckets.append((bound, running))
        family.add_metric((key,), buckets, durations.sums[key])
    return family


def _traffic(vfs: list[AttachedVf], counters: dict[int, Counters]) -> Iterator[Metric]:
    columns: dict[str, tuple[str, Callable[[Counters], int]]] = {
        "receive_bytes": ("Bytes that the guest received.", lambda c: c.egress_bytes),
        "receive_packets": ("Frames that the guest received.", lambda c: c.delivered_frames),
        "receive_multicast_packets": ("Multicast frames that the guest received.", lambda c: c.egress_multicast),
        "receive_broadcast_packets": ("Broadcast frames that the guest received.", lambda c: c.egress_broadcast),
        "transmit_bytes": ("Bytes that the guest sent and the switch took.", lambda c: c.ingress_bytes),
        "transmit_packets": ("Frames that the guest sent and the switch took.", lambda c: c.ingress_frames),
        "transmit_multicast_packets": ("Multicast frames that the guest sent.", lambda c: c.ingress_multicast),
        "transmit_broadcast_packets": ("Broadcast frames that the guest sent.", lambda c: c.ingress_broadcast),
    }
    for name, (text, pick) in columns.items():
        family = CounterMetricFamily(f"sriovxdp_vf_{name}", f"{text} Directions are the guest's.", labels=_VF)
        for vf in vfs:
            family.add_metric((vf.address.pf, str(vf.address)), pick(counters.get(slot_of(vf), _NO_COUNTERS)))
        yield family


def _drops(vfs: list[AttachedVf], counters: dict[int, Counters], queue_full: dict[str, int]) -> VfFamily:
    states: dict[str, tuple[str, tuple[int, ...], int]] = {}
    for vf in vfs:
        counted = counters.get(slot_of(vf), _NO_COUNTERS)
        states[str(vf.address)] = (vf.address.pf, tuple(counted.verdicts[verdict] for verdict in DROPS), counted.egress_errors)

    def header() -> CounterMetricFamily:
        text = "Frames dropped, by verdict. Directions are the guest's."
        return CounterMetricFamily("sriovxdp_vf_drops", text, labels=(*_VF, "direction", "reason"))

    def samples(vf: str) -> Metric:
        family, (pf, dropped, errors) = header(), states[vf]
        for verdict, count in zip(DROPS, dropped, strict=True):
            family.add_metric((pf, vf, "tx", verdict.label), count)
        family.add_metric((pf, vf, "rx", Verdict.REDIRECT_ERROR.label), errors)
        family.add_metric((pf, vf, "rx", Verdict.QUEUE_FULL.label), queue_full[vf])
        return family

    return VfFamily(name="drops", states=dict(states), header=header, samples=samples)
