"""What asks the kernel for its lock of all devices, which a guest can keep busy for seconds, runs beside the writer: else every
guest would wait as long as the operator does."""

import functools
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hands import Host, host

from sriov_xdp.api import config, health
from sriov_xdp.host import clsact, features
from sriov_xdp.host.links import Links
from sriov_xdp.pf.hands.context import SELF
from sriov_xdp.pf.state.intent import AdapterSpec, HostIntent, VfAddress
from sriov_xdp.pf.verbs import apply, lifecycle, operate
from sriov_xdp.pf.verbs.operate import SettingsChange
from sriov_xdp.vswitch.vlan import Vlan

VF = VfAddress("pf0", 0)
ASKS = [
    *((Links, name) for name in ("find", "exists", "by_name", "dump", "has_address", "create_pair", "change", "delete", "silence")),
    *((features, name) for name in ("read", "write")),
    *((clsact, name) for name in ("attach", "detach", "remove_filter", "program_ids")),
]


def intent(host: Host) -> HostIntent:
    switch = {"name": "s", "pf": "pf0", "port_groups": [{"name": "lan", "overrides_allowed": ["vlan"]}]}
    adapters = [{"name": "eth0", "port_group": "lan"}]
    return config.from_content(
        {
            "version": 1,
            "pfs": [{"name": "pf0", "uplink": "u0", "num_vfs": 4}],
            "switches": [switch],
            "guests": [{"name": host.lab.name("vm"), "adapters": adapters}],
        }
    )


@pytest.fixture(scope="module")
def scene() -> Iterator[Host]:
    with host("bw") as made:
        service = made.start()
        made.lab.adopt(made.lab.name("vm"))
        made.do(apply.apply(service.context, intent(made), SELF))
        yield made


@pytest.fixture
def asked_by_the_writer(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what was asked in this thread."""
    writer, found = threading.get_ident(), list[str]()

    def noting(real: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(real)
        def noted(*arguments: Any, **named: Any) -> Any:
            if threading.get_ident() == writer:
                found.append(real.__name__)
            return real(*arguments, **named)

        return noted

    for owner, name in ASKS:
        monkeypatch.setattr(owner, name, noting(getattr(owner, name)))
    return found


def adapter(host: Host, interface: str) -> AdapterSpec:
    return replace(next(iter(intent(host).adapters)), interface=interface)


WORK: dict[str, Callable[[Any], Any]] = {
    "attach": lambda host: lifecycle.attach(host.service.context, adapter(host, "eth1"), VfAddress("pf0", 1), SELF),
    "set": lambda host: operate.set_port(host.service.context, str(VF), SettingsChange(vlan=Vlan.access(7)), SELF),
    "detach": lambda host: lifecycle.detach(host.service.context, VfAddress("pf0", 1), SELF),
    "doctor, guest ends": lambda host: health.guest_ends(host.service.context),
    "doctor, host": lambda host: health.host(host.service.context),
    "a look at all": lambda host: host.service.events._look_at_all(),
}


@pytest.mark.parametrize("work", WORK)
def test_the_writer_asks_for_no_lock(scene: Host, asked_by_the_writer: list[str], work: str) -> None:
    scene.do(WORK[work](scene))
    assert [] == asked_by_the_writer
