"""Whether what must be there is there, asked from the kernel and not from memory, for `doctor`: programs on ports and uplinks,
guest ends fit for the data path, and what of the state could not be taken up. Reads only."""

import shlex
from functools import partial
from typing import Any

from sriov_xdp.host import features, namespaces
from sriov_xdp.host.errors import HostError
from sriov_xdp.host.links import Links
from sriov_xdp.pf.hands import live, uplinks
from sriov_xdp.pf.hands.context import Context, Steps
from sriov_xdp.pf.hands.plugs import plug_of
from sriov_xdp.pf.state.attached_vf import AttachedVf, Stage
from sriov_xdp.pf.state.intent import Datapath
from sriov_xdp.pf.state.physical_function import PhysicalFunction
from sriov_xdp.pf.verbs import adoption, invariants
from sriov_xdp.store.errors import StateDamaged

_READ = (features.GRO, features.TX_CHECKSUM, features.TX_VLAN)


def guest_ends(context: Context) -> Steps[list[dict[str, Any]]]:
    """A document a VF: its problems, each with a remedy. The kernel is asked beside the writer: a guest can make it slow."""
    found = []
    for address, vf in sorted(context.inventory.vfs.items()):
        if vf.stage is not Stage.IN_SERVICE or not context.mailboxes.is_open(address):
            problems = [f"{vf.active_reason}; it is tried again"]
        else:
            problems = yield from live.beside(context, partial(_problems, context, vf))
        lags = [f"{lag}; it is tried again" for lag in (vf.lag, vf.link_lag) if lag]
        found.append({"vf": str(address), "problems": [*lags, *problems]})
    return found


def host(context: Context) -> Steps[list[dict[str, Any]]]:
    """A document a problem of the host's side: subject, observed, remedy. Empty when all is well. Raises StoreError,
    DataPathError, HostError."""
    found = [_problem(subject, why, "stop the daemon and run `sriov-xdp recover`") for subject, why in context.damaged.items()]
    found += _state(context)
    if context.trial:
        left, remedy = max(0, round(context.trial.due - context.clock())), "`sriov-xdp confirm` if it is to stay"
        text = f"{context.trial.fingerprint} is on trial: what was before comes back in {left} s"
        if context.trial.trouble:
            text = f"{context.trial.fingerprint} was to be taken back, and could not be yet: {context.trial.trouble}"
            remedy = f"mend that, it is tried again each few seconds; or {remedy}"
        found.append(_problem("configuration", text, remedy))
    if context.unapplied:
        found.append(_problem("configuration", context.unapplied, "`sriov-xdp apply -f FILE --yes` if it is meant"))
    for attachment in context.leftovers.values():
        text = f"the pair of the former {attachment.vf} could not be removed yet"
        found.append(_problem(attachment.representor, text, f"`ip link del {attachment.representor}`"))
    for name, pf in sorted(context.inventory.pfs.items()):
        found += yield from live.beside(context, partial(_uplink_problems, context, name, pf))
    for pf in list(context.inventory.pfs.values()):
        found += _shared_addresses(context, pf)
        yield None
    return found or (yield from invariants.breaches(context))


def _state(context: Context) -> list[dict[str, Any]]:
    try:
        context.database.require_own_files()
    except StateDamaged as error:
        return [_problem("state", error.observed, error.remedy)]
    return []


def _uplink_problems(context: Context, name: str, pf: PhysicalFunction, links: Links) -> list[dict[str, Any]]:
    subject = f"uplink {pf.spec.uplink} of {name}"
    if pf.spec.uplink and pf.uplink is None:
        why = f"is not taken: {pf.refusal}" if pf.refusal else "is not taken"
        return [_problem(subject, why, "it is tried again each minute, and when the device appears")]
    if pf.uplink is None:
        return []
    found = []
    missing = uplinks.missing_hooks(context, pf)
    if missing:
        text = f"{' and '.join(missing)} is not on it"
        found.append(_problem(subject, text, "it is attached again within a minute; find out who takes it off"))
    link = links.find(pf.uplink.ifindex)
    if link and pf.uplink.is_silenced and link.answers:
        text = "the host's IPv6 is alive on it, though it had no address there"
        found.append(_problem(subject, text, "it is put off within a minute; find out who puts it on"))
    return [*found, *(_problem(subject, trouble.observed, trouble.remedy) for trouble in pf.uplink.troubles)]


def _shared_addresses(context: Context, pf: PhysicalFunction) -> list[dict[str, Any]]:
    objections = context.inventory.objections(vf.address for vf in context.inventory.vfs_of_pf(pf.spec.name))
    parts = (objection.partition(": ") for objection in objections)
    remedy = "give one of the two another address"
    return [_problem(subject, observed.partition(";")[0], remedy) for subject, _colon, observed in parts]


def _problem(subject: str, observed: str, remedy: str) -> dict[str, Any]:
    return {"subject": subject, "observed": observed, "remedy": remedy}


def _problems(context: Context, vf: AttachedVf, links: Links) -> list[str]:
    spec = vf.attachment.spec
    missing = adoption.missing_hooks(context, vf)
    if missing:
        return [f"{' and '.join(missing)} is not on its representor; it is attached again soon; find out who takes it off"]
    representor = links.find(vf.attachment.ifindex)
    if representor and representor.answers:
        return ["the host's IPv6 is alive on its representor; it is put off within a minute; find out who puts it on"]
    link = plug_of(vf.attachment).find_guest_end(links, vf.attachment)
    if link is None:
        return [f"the guest end is not in namespace {spec.netns}, the guest moved it; move it back, or detach and attach the VF"]
    # The interface's name is the guest's choice, and remedies are there to be pasted into a root's shell.
    name = shlex.quote(link.name if link.name.isprintable() else f"interface {link.ifindex}, whose name cannot be shown")
    inside = f"nsenter --net={shlex.quote(str(namespaces.path_of(spec.netns)))}"
    enter = f"{inside} ethtool -K {name}"
    try:
        with namespaces.in_namespace(spec.netns):
            state = features.read(link.name, _READ)
    except HostError as error:
        return [str(error)]
    found = []
    if not link.is_up:
        found.append(f"{name} is down; `{inside} ip link set {name} up`")
    if not state.get(features.GRO, True):
        found.append(f"GRO is off, so frames from the wire are lost; `{enter} gro on`")
    if vf.active is Datapath.XDP and state.get(features.TX_CHECKSUM):
        found.append(f"tx checksum offload is on in XDP mode, so TCP and UDP arrive broken; `{enter} tx off`")
    if vf.active is Datapath.XDP and state.get(features.TX_VLAN):
        found.append(f"tx VLAN offload is on in XDP mode, so tags are lost; `{enter} txvlan off`")
    if str(vf.state.effective_mac) != link.mac:
        found.append(f"guest MAC {link.mac} is not the device's {vf.state.effective_mac}; `sriov-vf reset` in the guest")
    return found
