"""What the PF does about a guest that changes its devices without end: bounded work for each batch, and right once it rests.
The host's devices, the maps and the mode switch are stand-ins that note what is asked of them."""

import contextlib
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from logging import getLogger
from types import SimpleNamespace
from typing import Any

import pytest

from sriov_xdp.host.kernel import JumboXdp
from sriov_xdp.host.links import Link
from sriov_xdp.host.monitor import FilterChange, LinkChange
from sriov_xdp.pf.hands import live
from sriov_xdp.pf.hands.log_budget import LOG_LINES_A_SECOND, BudgetedLog
from sriov_xdp.pf.state.attached_vf import AttachedVf, Stage
from sriov_xdp.pf.state.intent import AdapterSpec, Attachment, Datapath, PfSpec, VfAddress
from sriov_xdp.pf.state.inventory import Inventory
from sriov_xdp.pf.state.physical_function import PhysicalFunction
from sriov_xdp.pf.verbs import events
from sriov_xdp.pf.verbs.events import HostEvents
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.decision import VfState
from sriov_xdp.vswitch.policy import PolicySettings
from sriov_xdp.vswitch.ports import PortGroup, Switch
from sriov_xdp.vswitch.vlan import NO_VLAN

FIRST_IFINDEX = 1 << 20
MAC = MacAddress.parse("02:00:00:00:01:01")


def attached(index: int) -> AttachedVf:
    spec = AdapterSpec(guest=f"vm{index}", netns=f"vm{index}", interface="eth0", port_group="lab", mac=None, datapath=Datapath.AUTO)
    attachment = Attachment(
        vf=VfAddress("pf0", index),
        spec=spec,
        admin_mac=MAC,
        generation=1,
        representor=f"pf0vf{index}",
        ifindex=FIRST_IFINDEX + 16 + index,
        netns_is_ours=False,
        netns_id=(1, index),
    )
    state = VfState(admin_mac=MAC, effective_mac=MAC)
    return AttachedVf(attachment=attachment, state=state, active=Datapath.TCX, active_reason="", stage=Stage.IN_SERVICE)


@dataclass
class Host:
    """vfs attached guests. batches: what the monitor reads next; None is an overrun."""

    vfs: int = 3
    batches: list[list[LinkChange] | None] = field(default_factory=list)
    now_seconds: float = 1000.0
    written: list[int] = field(default_factory=list)  # slots
    looked_at: list[int] = field(default_factory=list)  # ifindexes
    devices: dict[int, Link] = field(default_factory=dict)
    walks: list[Callable[[], Any]] = field(default_factory=list)
    verbs: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.inventory = Inventory(JumboXdp(is_allowed=False, because=""))
        self.inventory.pfs["pf0"] = PhysicalFunction(spec=PfSpec(name="pf0", uplink=None, num_vfs=64), number=0)
        group = PortGroup(name="lab", vlan=NO_VLAN)
        self.inventory.switches["s"] = Switch(name="s", pf="pf0", mtu_bytes=1500, policy=PolicySettings(), port_groups=(group,))
        for index in range(self.vfs):
            vf = attached(index)
            self.inventory.vfs[vf.address] = vf
            self.devices[vf.attachment.ifindex] = _link(vf)
        hooks = SimpleNamespace(missing=lambda *_arguments: [], has_tcx=True)
        context = SimpleNamespace(
            inventory=self.inventory,
            tables=self,
            links=self,
            hooks=hooks,
            start=self.verbs.append,
            beside=SimpleNamespace(submit=self.submit),
            pins=SimpleNamespace(root="pins", link_names=list),
            marks=SimpleNamespace(instance=lambda: "5c0ffee5"),
            jumbo_xdp=self.inventory.jumbo_xdp,
            leftovers={},
            needs_publish=False,
        )
        clock = SimpleNamespace(now=lambda: self.now_seconds).now
        log = BudgetedLog(getLogger("sriov_xdp.pf"), clock)
        folder = SimpleNamespace(drain=lambda: None)
        self.events = HostEvents(context, self, folder, folder, self.walks.append, log, clock)  # type: ignore[arg-type]

    def drain(self) -> list[LinkChange] | None:
        return self.batches.pop(0)

    def changing(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def put_port(self, slot: int, _image: object) -> None:
        self.written.append(slot)

    def find(self, ifindex: int) -> Link | None:
        self.looked_at.append(ifindex)
        return self.devices.get(ifindex)

    def submit(self, work: Callable[[Any], Any]) -> Future[Any]:
        """Work beside the writer, done at once."""
        future: Future[Any] = Future()
        try:
            future.set_result(work(self))
        except OSError as error:
            future.set_exception(error)
        return future

    def read(self) -> None:
        """The writer reads a batch, and does what it sets off."""
        self.events.on_links()
        self.walk()

    def walk(self) -> None:
        for run in self.walks:
            for _step in run():
                pass
        self.walks.clear()

    def vf(self, index: int = 0) -> AttachedVf:
        return self.inventory.vfs[VfAddress("pf0", index)]

    def carrier(self, index: int, has_carrier: bool) -> None:
        """The link changes and the writer reads it, a tenth of a second later."""
        vf = self.vf(index)
        link = self.devices[vf.attachment.ifindex] = replace(_link(vf), has_carrier=has_carrier)
        self.batches.append([_change(link)])
        self.read()
        self.now_seconds += 0.01

    def settle(self) -> None:
        self.events.settle()
        self.walk()

    def looks(self) -> Any:
        """The steps of a look at everything."""
        self.events.look_at_all()
        return self.verbs.pop()


def _link(vf: AttachedVf) -> Link:
    return Link(
        ifindex=vf.attachment.ifindex,
        name=vf.attachment.representor,
        mac="02:00:00:00:0a:0a",
        mtu_bytes=1500,
        is_up=True,
        has_carrier=True,
        permanent_mac="",
        is_promiscuous=False,
        is_loopback=False,
        kind="veth",
        alias="",
        group=0,
        peer_ifindex=2,
        master_ifindex=0,
        peer_runs_xdp=False,
        runs_generic_xdp=False,
        xdp_program_id=0,
        address_mode=1,
    )


def _change(link: Link, *, is_gone: bool = False) -> LinkChange:
    return LinkChange(
        ifindex=link.ifindex,
        name=link.name,
        is_gone=is_gone,
        is_up=link.is_up,
        has_carrier=link.has_carrier,
        mac=link.mac,
        mtu_bytes=link.mtu_bytes,
        peer_runs_xdp=link.peer_runs_xdp,
    )


def test_a_link_that_goes_down_and_up_is_followed_at_once() -> None:
    host = Host()
    for has_carrier in (False, True):
        host.carrier(0, has_carrier)
        assert has_carrier == host.vf().has_carrier
    assert 2 == len(host.written)


def test_an_event_that_overtakes_the_answer_to_a_look_is_not_lost() -> None:
    """It says what is known still, when an older answer is about to replace that."""
    host = Host()
    host.devices[host.vf().attachment.ifindex] = replace(_link(host.vf()), has_carrier=False)
    host.batches = [[_change(host.devices[host.vf().attachment.ifindex])], [_change(_link(host.vf()))]]
    host.events.on_links()
    look = host.walks.pop()()
    next(look)
    host.devices[host.vf().attachment.ifindex] = _link(host.vf())
    host.events.on_links()
    for _step in look:
        pass
    host.walk()
    assert host.vf().has_carrier


def test_a_link_that_flaps_is_left_without_carrier_until_it_rests() -> None:
    """Without: the way of delivery whose failures are counted, and which works with a carrier as well."""
    host = Host()
    for _time in range(500):
        host.carrier(0, False)
        host.carrier(0, True)
    assert 25 > len(host.written)
    assert not host.vf().has_carrier
    before = len(host.written)
    host.settle()
    assert before == len(host.written)
    host.now_seconds += 10.0
    host.settle()
    assert (True, before + 1) == (host.vf().has_carrier, len(host.written))


def test_a_guest_that_flaps_does_not_keep_others_from_being_followed() -> None:
    host = Host()
    for _time in range(100):
        host.carrier(0, False)
        host.carrier(0, True)
    host.carrier(1, False)
    host.carrier(1, True)
    assert (False, True) == (host.vf(0).has_carrier, host.vf(1).has_carrier)


def test_an_overrun_looks_at_one_device_a_step_whatever_was_lost() -> None:
    host = Host(vfs=40, batches=[None])
    host.devices[host.vf(7).attachment.ifindex] = replace(_link(host.vf(7)), has_carrier=False)
    host.events.on_links()
    (looks,) = host.verbs
    assert [] == host.looked_at
    for steps, _step in enumerate(looks, start=1):
        assert steps >= len(host.looked_at)
    assert [False] == [vf.has_carrier for vf in host.inventory.vfs.values() if vf.address.index == 7]


def test_what_was_detached_meanwhile_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host()
    steps = host.looks()
    next(steps)
    gone = host.inventory.vfs.pop(VfAddress("pf0", 1))
    for _step in steps:
        pass
    assert gone.attachment.ifindex not in host.looked_at


def test_a_device_that_cannot_be_looked_at_does_not_hide_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host()
    find = host.find

    def find_but_first(ifindex: int) -> Link | None:
        if ifindex == host.vf(0).attachment.ifindex:
            raise OSError("no answer")
        return find(ifindex)

    host.find = find_but_first  # type: ignore[method-assign]
    host.devices[host.vf(2).attachment.ifindex] = replace(_link(host.vf(2)), has_carrier=False)
    for _step in host.looks():
        pass
    assert not host.vf(2).has_carrier


def test_names_are_compared_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(vfs=150)
    monkeypatch.setattr(events.namespaces, "identity", lambda name: (1, int(name.removeprefix("vm"))))
    host.events.on_names()
    assert [host.events.look_at_names] == host.walks
    assert 2 == sum(1 for _step in host.events.look_at_names())


def test_changes_that_cannot_be_followed_have_a_budget_of_log_lines(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    host = Host()

    def fails(*_arguments: object, **_options: object) -> None:
        raise OSError("device busy")

    monkeypatch.setattr(live, "guest_xdp_changed", fails)
    host.devices[host.vf().attachment.ifindex] = replace(_link(host.vf()), peer_runs_xdp=True)
    host.batches = [[_change(host.devices[host.vf().attachment.ifindex])] for _time in range(100)]
    for _time in range(100):
        host.read()
    line = "pf0vf0: a change of its device could not be followed: device busy"
    assert [line] * LOG_LINES_A_SECOND == caplog.messages


def test_a_batch_of_events_is_one_look_beside_the_writer() -> None:
    host = Host()
    link = host.devices[host.vf().attachment.ifindex] = replace(_link(host.vf()), has_carrier=False)
    host.batches = [[_change(link)] * 8, [_change(link)] * 8]
    for _batch in range(2):
        host.events.on_links()
    assert [] == host.looked_at
    host.walk()
    assert [link.ifindex] == host.looked_at
    assert not host.vf().has_carrier


def test_what_is_said_of_a_device_on_which_we_work_is_looked_at_afterwards() -> None:
    """Mostly it is our own work that is told; what the guest did meanwhile is seen all the same."""
    host = Host()
    vf = host.vf(0)
    vf.stage = Stage.CHANGING
    host.carrier(0, has_carrier=False)
    host.settle()
    assert (True, []) == (vf.has_carrier, host.looked_at)
    vf.stage = Stage.IN_SERVICE
    host.settle()
    assert (False, [vf.attachment.ifindex]) == (vf.has_carrier, host.looked_at)


def test_our_own_work_on_a_device_needs_no_look() -> None:
    host = Host()
    host.vf(0).stage = Stage.CHANGING
    host.carrier(0, has_carrier=False)
    host.carrier(0, has_carrier=True)
    host.vf(0).stage = Stage.IN_SERVICE
    host.settle()
    assert [] == host.looked_at


@pytest.mark.parametrize("news", [{"peer_runs_xdp": True}, {"mtu_bytes": 9000}, {"name": "another"}], ids=str)
def test_what_cannot_wait_is_looked_at_while_we_work_on_a_device(news: dict[str, Any]) -> None:
    """A guest's program must not be passed by, and a long frame not come near XDP."""
    host = Host()
    vf = host.vf(0)
    vf.stage = Stage.CHANGING
    host.batches.append([replace(_change(host.devices[vf.attachment.ifindex]), **news)])
    host.events.on_links()
    assert 1 == len(host.walks)


@pytest.mark.parametrize(("stage", "verbs"), [(Stage.PLANNED, 0), (Stage.CHANGING, 1), (Stage.IN_SERVICE, 1)])
def test_a_filter_that_is_removed_is_asked_for_whatever_is_being_done(stage: Stage, verbs: int) -> None:
    """The check takes its turn, after what is being done; a port must not come up without."""
    host = Host()
    host.vf(0).stage = stage
    host.batches.append([FilterChange(ifindex=host.vf(0).attachment.ifindex)])  # type: ignore[list-item]
    host.events.on_links()
    assert verbs == len(host.verbs)


@pytest.mark.parametrize(("lower_ifindex", "looks"), [(5, 1), (6, 0), (0, 0)])
def test_a_device_that_comes_above_an_uplink_is_news_of_the_uplink(lower_ifindex: int, looks: int) -> None:
    """As the host's own VLANs do."""
    host = Host()
    host.inventory.pfs["pf0"].uplink = SimpleNamespace(ifindex=5)  # type: ignore[assignment]
    host.batches.append([replace(_change(_link(host.vf())), ifindex=77, name="u.100", lower_ifindex=lower_ifindex)])
    host.events.on_links()
    assert looks == len(host.walks)
