"""What the benchmark says of a rate is measured on a port that is held to it."""

from sriov_xdp.bench import shaping
from sriov_xdp.vswitch.shaping import ShapingMode


def test_a_rate_and_what_it_does_to_traffic() -> None:
    """How exactly it is kept is the benchmark's to say."""
    times = shaping.Times(measured=0.3, settling=0.2)
    (row,) = shaping.measure("tbs", rates_kbps=(50_000,), kinds=[(ShapingMode.SHAPE, "tcx")], times=times)
    assert ("shape", "tcx", 50_000) == (row.mode, row.datapath, row.kbps)
    assert all(share > 0 for share in (row.udp_percent, row.tcp_one_percent, row.tcp_four_percent, row.unshaped))
