"""What is wrong with a PF's uplink as it is now: a sentence each, for log, doctor and `pf show`. Pure; for the PF.

Only what somebody else did to the netdev, and what it costs: nothing here is what we wanted of it, all of it what the kernel said.
"""

from dataclasses import dataclass

from sriov_xdp.host.links import Link

NO_CARRIER = "has no carrier"


@dataclass(frozen=True, slots=True)
class Trouble:
    """observed: what follows the uplink's name in a sentence."""

    observed: str
    remedy: str


def troubles(link: Link, master: str | None, needed_mtu_bytes: int) -> tuple[Trouble, ...]:
    """master: name of the bridge or bond that it became a port of. needed_mtu_bytes: its switch's."""
    name, found = link.name, []
    if not link.is_up:
        found.append(Trouble("is down, so nothing passes to the wire", f"`ip link set {name} up`"))
    elif not link.has_carrier:
        found.append(Trouble(NO_CARRIER, "look at the cable and at what it leads to"))
    if link.mtu_bytes < needed_mtu_bytes:
        text = f"has MTU {link.mtu_bytes}, its switch has {needed_mtu_bytes}: longer frames to the wire are dropped (`oversize`)"
        found.append(Trouble(text, f"`ip link set {name} mtu {needed_mtu_bytes}`, or lower the switch's mtu"))
    if master is not None:
        text = f"became a port of {master}, which gets none of its frames, as they are the switch's first"
        found.append(Trouble(text, f"`ip link set {name} nomaster`"))
    return tuple(found)
