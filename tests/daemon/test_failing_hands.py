"""Whatever a verb does to the world fails once, or is the last thing that its process does: state, memory, maps and kernel agree
afterwards, at the latest after the next start, and nothing is half done."""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hands import MODES, Death, Host, host

from sriov_xdp.api import config
from sriov_xdp.host.namespaces import NAMED
from sriov_xdp.mailbox.messages import AddAddressList, AddressType, EtherAddress
from sriov_xdp.mailbox.messages import Reset as ResetRequest
from sriov_xdp.pf.errors import FAULTS
from sriov_xdp.pf.hands import live
from sriov_xdp.pf.hands.context import SELF
from sriov_xdp.pf.state.intent import HostIntent, VfAddress
from sriov_xdp.pf.verbs import apply, lifecycle, operate
from sriov_xdp.pf.verbs.controller import Controller
from sriov_xdp.pf.verbs.operate import SettingsChange
from sriov_xdp.vswitch.policy import PolicySettings, Security
from sriov_xdp.vswitch.vlan import Vlan

VF, OTHER = VfAddress("pf0", 0), VfAddress("pf0", 1)
GRANTED = b"\x02\x00\x00\x00\x0a\x01"
MOST_EFFECTS = 200


def intent(
    *, uplink: bool = True, guests: dict[str, dict[str, Any]] | None = None, lan: dict[str, Any] | None = None
) -> HostIntent:
    """One PF, two groups; guests: name → what of their adapter is not as by default."""
    groups = [
        {
            "name": "lan",
            "policy": {"security": {"mac_changes": "accept"}},
            "overrides_allowed": ["vlan", "security"],
            **(lan or {}),
        },
        {"name": "tagged", "vlan": {"access": 100}},
    ]
    adapters = {name: {"name": "eth0", "port_group": "lan", **settings} for name, settings in (guests or {}).items()}
    return config.from_content(
        {
            "version": 1,
            "pfs": [{"name": "pf0", "num_vfs": 4, **({"uplink": "u0"} if uplink else {})}],
            "switches": [{"name": "s", "pf": "pf0", "port_groups": groups}],
            "guests": [{"name": name, "adapters": [adapter]} for name, adapter in adapters.items()],
        }
    )


@dataclass(frozen=True)
class Verb:
    """before, after: the host that it begins with, and the one that it makes; None: the same. do: what is under test. is_plan: of
    several steps, each of which is done or not, and which can be gone on with."""

    before: HostIntent
    do: Callable[[Host], None]
    after: HostIntent | None = None
    is_plan: bool = False


PREFIX = f"fh{os.getpid()}"  # of namespaces that the daemon makes
ONE = {f"{PREFIX}one": {"datapath": "xdp"}}
BOTH = {**ONE, f"{PREFIX}two": {"datapath": "tcx"}}


def context_of(place: Host) -> Any:
    assert place.service is not None
    return place.service.context


def attaching(place: Host) -> None:
    (spec,) = intent(guests=ONE).adapters
    place.do(lifecycle.attach(context_of(place), spec, VF, SELF))


def detaching(place: Host) -> None:
    place.do(lifecycle.detach(context_of(place), VF, SELF))


def applying(wanted: HostIntent) -> Callable[[Host], None]:
    return lambda place: place.do(apply.apply(context_of(place), wanted, SELF))


def setting_a_port(place: Host) -> None:
    change = SettingsChange(policy=PolicySettings(mac_changes=Security.REJECT), vlan=Vlan.access(7))
    place.do(operate.set_port(context_of(place), str(VF), change, SELF))


def granting(place: Host) -> None:
    context = context_of(place)
    controller = Controller(context, place.service.metrics)  # type: ignore[union-attr]
    address = EtherAddress(mac=GRANTED, type=AddressType.PRIMARY)
    controller.configure(context.inventory.attached(VF), AddAddressList(vsi_id=1, addresses=(address,)), SELF)


def granting_and_resetting(place: Host) -> None:
    granting(place)
    context = context_of(place)
    controller = Controller(context, place.service.metrics)  # type: ignore[union-attr]
    controller.configure(context.inventory.attached(VF), ResetRequest(), SELF)


def settling(place: Host) -> None:
    context = context_of(place)
    for vf in list(context.inventory.vfs.values()):
        vf.is_settled = False
        place.do(live.settle(context, vf))


def resetting(place: Host) -> None:
    operate.reset_vf(context_of(place), VF, SELF)


def restarting(place: Host) -> None:
    place.restart_with_hands()


CHANGED = {f"{PREFIX}one": {"datapath": "tcx", "port_group": "tagged"}, f"{PREFIX}three": {}}
EMPTY = HostIntent(pfs=(), switches=(), adapters=())
VERBS = {
    "attach": Verb(before=intent(), do=attaching, after=intent(guests=ONE)),
    "detach": Verb(before=intent(guests=ONE), do=detaching, after=intent()),
    "set a port": Verb(before=intent(guests=BOTH), do=setting_a_port),
    "apply": Verb(before=intent(guests=BOTH), do=applying(intent(guests=CHANGED)), after=intent(guests=CHANGED), is_plan=True),
    "grant and reset by the guest": Verb(before=intent(guests=ONE), do=granting_and_resetting),
    "reset by the operator": Verb(before=intent(guests=ONE), do=resetting),
    "settle": Verb(before=intent(guests=BOTH), do=settling),
    "take an uplink": Verb(before=intent(uplink=False, guests=ONE), do=applying(intent(guests=ONE)), after=intent(guests=ONE)),
    "give an uplink back": Verb(before=intent(guests=ONE), do=applying(intent(uplink=False, guests=ONE))),
    "all goes": Verb(before=intent(guests=ONE), do=applying(EMPTY), after=EMPTY, is_plan=True),
    "adopt": Verb(before=intent(guests=BOTH), do=restarting),
}


@pytest.fixture(scope="module")
def place() -> Iterator[Host]:
    with host("fh") as made:
        made.start()
        yield made
        made.restart()
        made.do(apply.apply(context_of(made), EMPTY, SELF))


def prepare(place: Host, before: HostIntent) -> None:
    """The host that a verb begins with, whatever the last one left."""
    if place.service is None:
        place.start()
    place.do(apply.apply(context_of(place), before, SELF))
    vf = context_of(place).inventory.vfs.get(VF)
    if vf and vf.state.unicast != {vf.state.admin_mac}:
        operate.reset_vf(context_of(place), VF, SELF)
    assert [] == place.breaches()


def run_once(place: Host, verb: Verb, mode: str, at: int) -> bool:
    """Returns whether there was an n-th effect."""
    prepare(place, verb.before)
    place.hands.begin(mode, at)
    with contextlib.suppress(*FAULTS, Death):
        verb.do(place)
    met = place.hands.done >= at
    is_dead = place.hands.is_dead
    place.hands.rest()
    if not is_dead and place.service is not None:
        place.settle()
        assert [] == place.breaches(), f"after effect {at}, {place.hands.names[-1]}"
        for pf in context_of(place).inventory.pfs.values():
            assert (pf.uplink is None) == (pf.spec.uplink is None), f"after effect {at}, {place.hands.names[-1]}"
    name = place.hands.names[at - 1] if met else ""
    place.restart()
    assert [] == place.breaches(), f"after effect {at}, {name}, and another start"
    if verb.after and verb.is_plan:
        now = context_of(place).inventory.intent()
        for kind in ("pfs", "switches", "adapters"):
            assert set(getattr(now, kind)) <= {*getattr(verb.before, kind), *getattr(verb.after, kind)}, f"after {at}, {name}"
        place.do(apply.apply(context_of(place), verb.after, SELF))
        assert [] == place.breaches(), f"after effect {at}, {name}, and the rest of the plan"
    elif verb.after:
        assert context_of(place).inventory.intent() in (verb.before, verb.after), f"after effect {at}, {name}"
    assert {path.name for path in NAMED.glob(f"{PREFIX}[ot]*")} == {
        vf.attachment.spec.netns for vf in context_of(place).inventory.vfs.values()
    }
    return met


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_each_effect(place: Host, verb: Verb, mode: str) -> None:
    for at in range(1, MOST_EFFECTS):
        if not run_once(place, verb, mode, at):
            assert at > 1 or (mode == "full disk" and verb is VERBS["settle"])  # which writes nothing there
            return
    pytest.fail("it does not come to its end")
