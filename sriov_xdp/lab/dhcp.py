"""A DHCP server and client on a throw-away host, for the story of a lease that a MAC change costs. For demonstration and tests."""

import json
from pathlib import Path

from sriov_xdp.lab.host import Namespace


class DhcpServer:
    """dnsmasq in a namespace, leasing 10.77.0.100 and up; it touches no file of the host."""

    def __init__(self, place: Namespace, device: str, folder: Path) -> None:
        command = ["dnsmasq", "--no-daemon", "--port=0", f"--interface={device}", "--bind-interfaces", "--conf-file=/dev/null"]
        files = [f"--dhcp-leasefile={folder}/leases", f"--pid-file={folder}/pid", "--no-resolv", "--no-hosts", "--user=root"]
        self._log = (folder / "dnsmasq.log").open("w")
        leases = "--dhcp-range=10.77.0.100,10.77.0.200,255.255.255.0,1h"
        # An address is probed with ping before it is leased, which would only take time here.
        self._process = place.start(*command, *files, leases, "--no-ping", stdout=self._log, stderr=self._log)

    def close(self) -> None:
        """Ends the server."""
        self._process.terminate()
        self._process.wait()
        self._log.close()


_LEASE_SCRIPT = """#!/bin/sh
# What udhcpc does with a lease: addresses only, never the host's resolver.
case "$1" in
    deconfig) ip -4 addr flush dev "$interface" ;;
    bound | renew) ip -4 addr flush dev "$interface"; ip addr add "$ip/$mask" dev "$interface" ;;
esac
"""


def lease(guest: Namespace, folder: Path, device: str = "eth0") -> str | None:
    """Runs a DHCP client in a guest; the address it got, None when nobody answered."""
    script = folder / "lease.sh"
    script.write_text(_LEASE_SCRIPT)
    script.chmod(0o755)
    guest.ip("link", "set", device, "up")
    guest.run("udhcpc", "-i", device, "-n", "-q", "-f", "-t", "4", "-T", "1", "-A", "1", "-s", str(script), check=False)
    found = json.loads(guest.ip("-j", "-4", "addr", "show", "dev", device))
    addresses = [info["local"] for link in found for info in link.get("addr_info", [])]
    return addresses[0] if addresses else None
