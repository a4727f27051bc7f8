"""A pair is made although somebody else, as another daemon, was quicker with its representor's name."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from sriov_xdp.host.links import Links
from sriov_xdp.lab.host import Lab, Namespace, run
from sriov_xdp.pf.errors import Conflict
from sriov_xdp.pf.hands import veth
from sriov_xdp.pf.state.intent import AdapterSpec, Attachment, Datapath, VfAddress
from sriov_xdp.vswitch.address import MacAddress

VF = VfAddress("pn0", 0)
IFINDEX = (1 << 30) + 70_007
MTU_BYTES, GROUP = 1500, 1


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("pn") as made:
        yield made


@pytest.fixture
def links() -> Iterator[Links]:
    made = Links()
    yield made
    made.close()


@pytest.fixture
def attachment(lab: Lab) -> Attachment:
    """As planned while its representor's name, pn0vf0, was free."""
    guest: Namespace = lab.namespace("vm")
    spec = AdapterSpec(guest=guest.name, netns=guest.name, interface="eth0", port_group="lan", mac=None, datapath=Datapath.AUTO)
    return Attachment(
        vf=VF,
        spec=spec,
        admin_mac=MacAddress.parse("02:00:00:00:07:01"),
        generation=1,
        representor="pn0vf0",
        ifindex=IFINDEX,
        netns_is_ours=False,
        netns_id=(0, 0),
    )


@pytest.fixture
def quicker(lab: Lab) -> None:
    lab._devices.append("pn0vf0")
    run("ip", "link", "add", "pn0vf0", "type", "bridge")


@pytest.mark.usefixtures("quicker")
def test_it_gets_the_next_free_name(links: Links, attachment: Attachment) -> None:
    try:
        assert "pn0vf0a" == veth.create(links, attachment, GROUP, MTU_BYTES)
        made = links.find(IFINDEX)
        assert made
        assert ("pn0vf0a", "veth") == (made.name, made.kind)
    finally:
        veth.remove(links, attachment)


@pytest.mark.usefixtures("quicker")
def test_a_device_of_the_guest_keeps_its_name(lab: Lab, links: Links, attachment: Attachment) -> None:
    Namespace(attachment.spec.netns).ip("link", "add", "eth0", "type", "bridge")
    with pytest.raises(Conflict, match=r"has a device of that name; choose another with --ifname"):
        veth.create(links, attachment, GROUP, MTU_BYTES)
    assert links.find(IFINDEX) is None


def test_a_number_that_was_taken_is_named(lab: Lab, links: Links, attachment: Attachment) -> None:
    taken = lab.device("t")
    run("ip", "link", "add", taken, "index", str(IFINDEX), "type", "bridge")
    with pytest.raises(Conflict, match=rf"ifindex {IFINDEX} was taken meanwhile; try again"):
        veth.create(links, replace(attachment, representor="pn0vf0"), GROUP, MTU_BYTES)


@pytest.mark.usefixtures("quicker")
def test_who_was_quicker_and_is_gone_again_is_in_nobodys_way(
    links: Links, attachment: Attachment, monkeypatch: pytest.MonkeyPatch
) -> None:
    exists = Links.exists
    made = list[str]()

    def gone_at_once(self: Links, name: str) -> bool:
        if not made:
            run("ip", "link", "del", name)
        made.append(name)
        return exists(self, name)

    monkeypatch.setattr(Links, "exists", gone_at_once)
    try:
        assert "pn0vf0" == veth.create(links, attachment, GROUP, MTU_BYTES)
    finally:
        veth.remove(links, attachment)
