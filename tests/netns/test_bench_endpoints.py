"""The benchmark's endpoints on a cable: every workload measures something, and a block in which nothing arrives is nothing."""

from collections.abc import Iterator

import pytest

from sriov_xdp.bench import streams
from sriov_xdp.bench.arms import Arm
from sriov_xdp.bench.streams import Endpoints, Workload
from sriov_xdp.lab.host import Lab, run, wait_until

BLOCK_SECONDS = 0.02


@pytest.fixture(scope="module")
def cable() -> Iterator[tuple[Endpoints, Arm]]:
    with Lab("be") as lab:
        one, two = lab.namespace("a"), lab.namespace("b")
        run("ip", "link", "add", "eth0", "netns", one.name, "type", "veth", "peer", "name", "eth0", "netns", two.name)
        one.address(1)
        two.address(2)
        one.can_ping("10.77.0.2", count=3)
        yield Endpoints(lab.folder), Arm(name="cable", one=one, two=two, address="10.77.0.2")


@pytest.mark.parametrize("workload", streams.ALL_1500, ids=lambda workload: workload.name)
def test_each_workload_measures_block_after_block(cable: tuple[Endpoints, Arm], workload: Workload) -> None:
    endpoints, arm = cable
    with endpoints.session(arm, workload) as session:
        values = [wait_until(lambda: session.block(BLOCK_SECONDS)[0], "something arrives in a block") for _ in range(3)]
    assert [] == [value for value in values if value <= 0]


def test_a_block_in_which_nothing_arrives_is_nothing_and_the_next_one_counts_again(cable: tuple[Endpoints, Arm]) -> None:
    endpoints, arm = cable
    with endpoints.session(arm, streams.SMALL_PACKETS) as session:
        assert session.block(BLOCK_SECONDS)[0] > 0
        arm.two.ip("link", "set", "eth0", "down")
        nothing = (0.0, 1.0)
        wait_until(lambda: session.block(BLOCK_SECONDS) == nothing, "what was under way has arrived, and no more comes")
        assert nothing == session.block(BLOCK_SECONDS)
        arm.two.ip("link", "set", "eth0", "up")
        arm.one.can_ping(arm.address, count=3)
        assert session.block(BLOCK_SECONDS)[0] > 0
