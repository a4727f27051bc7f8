"""What the store keeps of a PF, and what is read that an earlier version kept."""

import json

import pytest

from sriov_xdp.pf.intent import PfSpec, WireOwnSource
from sriov_xdp.pf.inventory import PhysicalFunction, UplinkState, XdpMode
from sriov_xdp.pf.uplinks import pf_from_text, pf_to_text
from sriov_xdp.vswitch.address import MacAddress

FEATURES = {"rx-vlan-hw-parse": True}
TAKEN = UplinkState(
    ifindex=7,
    mac=MacAddress.parse("02:00:00:00:0f:01"),
    has_carrier=True,
    serves_host=False,
    is_silenced=True,
    xdp_mode=XdpMode.NATIVE,
    features_before=FEATURES,
)


@pytest.mark.parametrize("own_source", WireOwnSource)
def test_a_pf_comes_back_as_it_was_stored_its_uplink_not_yet_taken(own_source: WireOwnSource) -> None:
    spec = PfSpec(name="pf0", uplink="wire0", num_vfs=8, wire_own_source=own_source)
    pf, features = pf_from_text("pf0", pf_to_text(PhysicalFunction(spec=spec, number=3, uplink=TAKEN)))
    assert (spec, 3, None, FEATURES) == (pf.spec, pf.number, pf.uplink, features)


def test_what_was_stored_before_own_sources_were_judged_drops_them() -> None:
    text = json.dumps({"number": 0, "uplink": "wire0", "num_vfs": 8, "features_before": {}})
    pf, _features = pf_from_text("pf0", text)
    assert PfSpec(name="pf0", uplink="wire0", num_vfs=8, wire_own_source=WireOwnSource.DROP) == pf.spec
