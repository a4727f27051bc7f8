"""The systemd unit lets the daemon do what it does."""

from pathlib import Path

from sriov_xdp.cli import doctor

UNIT = Path(__file__).resolve().parents[2] / "deploy/sriov-xdp.service"


def words(key: str) -> set[str]:
    (line,) = [line for line in UNIT.read_text().splitlines() if line.startswith(f"{key}=")]
    return set(line.partition("=")[2].split())


def test_it_leaves_the_capabilities_that_doctor_asks_for() -> None:
    assert doctor._CAPABILITIES.keys() <= words("CapabilityBoundingSet")


def test_it_leaves_the_sockets_that_the_daemon_opens() -> None:
    """Commands and mailboxes, devices, offloads and metrics, probes for loops."""
    assert {"AF_UNIX", "AF_NETLINK", "AF_INET", "AF_INET6", "AF_PACKET"} == words("RestrictAddressFamilies")
