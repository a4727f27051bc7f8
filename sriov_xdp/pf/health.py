"""Whether the guest ends are what the data path needs, for `doctor`. Reads only."""

from typing import Any

from sriov_xdp.host import features, namespaces
from sriov_xdp.host.errors import HostError
from sriov_xdp.pf import veth
from sriov_xdp.pf.context import Context
from sriov_xdp.pf.intent import Datapath
from sriov_xdp.pf.inventory import AttachedVf, Stage

_READ = (features.GRO, features.TX_CHECKSUM, features.TX_VLAN)


def guest_ends(context: Context) -> list[dict[str, Any]]:
    """A document a VF: its problems, each with a remedy; and one of each stored object that could not be taken up."""
    remedy = "stop the daemon and mend the state with `sriov-xdp recover`, the object works on unmanaged until then"
    damaged = [{"vf": name, "problems": [f"{why}; {remedy}"]} for name, why in sorted(context.damaged.items())]
    found = [{"vf": str(vf.address), "problems": _problems(context, vf)} for _address, vf in sorted(context.inventory.vfs.items())]
    return [*found, *damaged]


def _problems(context: Context, vf: AttachedVf) -> list[str]:
    spec = vf.attachment.spec
    if vf.stage is not Stage.IN_SERVICE:
        return [f"{vf.address} is not in service yet; the daemon's log says why, and it is tried again"]
    link = veth.find_guest_end(context.links, vf.attachment)
    if link is None:
        return [f"the guest end is not in namespace {spec.netns}, the guest moved it; move it back, or detach and attach the VF"]
    enter = f"ip netns exec {spec.netns} ethtool -K {link.name}"
    try:
        with namespaces.in_namespace(spec.netns):
            state = features.read(link.name, _READ)
    except HostError as error:
        return [str(error)]
    found = []
    if not link.is_up:
        found.append(f"{link.name} is down; `ip -n {spec.netns} link set {link.name} up`")
    if not state.get(features.GRO, True):
        found.append(f"GRO is off, so frames from the wire are lost; `{enter} gro on`")
    if vf.active is Datapath.XDP and state.get(features.TX_CHECKSUM):
        found.append(f"tx checksum offload is on in XDP mode, so TCP and UDP arrive broken; `{enter} tx off`")
    if vf.active is Datapath.XDP and state.get(features.TX_VLAN):
        found.append(f"tx VLAN offload is on in XDP mode, so tags are lost; `{enter} txvlan off`")
    if str(vf.device.effective_mac) != link.mac:
        found.append(f"guest MAC {link.mac} is not the device's {vf.device.effective_mac}; `sriov-vf reset` in the guest")
    return found
