"""`sriov-xdp trace`: what would become of a frame, and why. The reference model says it of the ports as they are in the maps; that
the programs do the same is what tests/parity shows. No frame is sent, and no counter moves. Reads only; for the api package.
"""

from dataclasses import dataclass
from typing import Any

from sriov_xdp.api.frames import type_name
from sriov_xdp.api.verdicts import EXPLANATIONS
from sriov_xdp.datapath import abi, model, samples
from sriov_xdp.datapath.abi import PortFlag, Verdict
from sriov_xdp.datapath.model_passage import Passage
from sriov_xdp.datapath.model_ports import Ethernet, Port, Ports
from sriov_xdp.datapath.port_image import PortImage
from sriov_xdp.datapath.samples import Sample
from sriov_xdp.pf.errors import Invalid
from sriov_xdp.pf.hands.context import Context
from sriov_xdp.pf.hands.publish import own_port
from sriov_xdp.pf.state.attached_vf import AttachedVf, Stage
from sriov_xdp.pf.state.images import slot_of, vf_image
from sriov_xdp.pf.state.physical_function import PhysicalFunction
from sriov_xdp.pf.verbs import watching
from sriov_xdp.vswitch.policy import SETTINGS
from sriov_xdp.vswitch.vlan import Proto

Document = dict[str, Any]
# Which setting decided, where one did: of the port where the frame entered, or of the one where it would have left.
_SETTING = {
    Verdict.FORGED_SOURCE: "forged_transmits",
    Verdict.BLOCKED: "block",
    Verdict.PRIVATE_VLAN: "private_vlan",
    Verdict.OVERSIZE: "mtu",
}


def trace(context: Context, pf: PhysicalFunction, sender: AttachedVf | None, frame: bytes) -> Document:
    """A frame of a VF's guest, or (None) from the wire of a PF."""
    vfs = {slot_of(vf): vf for vf in context.inventory.vfs_of_pf(pf.spec.name) if vf.stage is not Stage.PLANNED}
    ports = {slot: _port(vf_image(context.inventory, vf)) for slot, vf in vfs.items()}
    ports[pf.number] = _port(own_port(context, pf))
    slot = slot_of(sender) if sender else pf.number
    explained = _explain(ports, slot, frame)
    fate = explained.fate
    left = [_exit(vfs.get(to), pf, octets) for to, octets in sorted(fate.left.items())]
    return {
        "frame": _shown(frame),
        "enters": _place(sender, pf),
        "vlan": explained.vlan & abi.VLAN_MASK if explained.vlan is not None else None,
        "proto": (Proto.SERVICE if explained.vlan & abi.VLAN_SERVICE else Proto.CUSTOMER).value if explained.vlan else None,
        "rules": _rules(explained),
        "verdict": fate.verdict.label,
        "meaning": EXPLANATIONS[fate.verdict].meaning,
        "remedy": EXPLANATIONS[fate.verdict].remedy,
        "decided_by": _decided_by(context, sender, fate.verdict, vfs, frame),
        "leaves": left,
        "reaches_host": fate.reaches_host,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Explained:
    """How a frame came to its fate. asked: the rules of its entry, up to the one that objected, if one did."""

    asked: tuple[model.Rule, ...]
    has_entered: bool
    vlan: int | None
    fate: model.Fate


def _explain(ports: Ports, slot: int, frame: bytes) -> _Explained:
    """Of a frame that comes in by a port that is there, on its own device."""
    passage = Passage(ports=ports, slot=slot, frame=frame, ethernet=Ethernet.parse(frame))
    objecting = next((number for number, rule in enumerate(model.RULES) if rule(passage) is not None), None)
    return _Explained(
        asked=model.RULES if objecting is None else model.RULES[: objecting + 1],
        has_entered=objecting is None,
        vlan=passage.vlan if passage.ethernet is not None else None,
        fate=model.fate(ports, slot, ports[slot].value.ifindex, frame),
    )


def watch(context: Context, port: AttachedVf | PhysicalFunction, cursor: list[int] | None) -> Document:
    """Real frames of a port since the last time. Raises DataPathError, Invalid for a cursor of another host's."""
    if cursor is not None and len(cursor) != len(samples.now(context.pins)):
        raise Invalid(f"cursor: {len(cursor)} numbers; expected those of the last answer, or none")
    seen = watching.watch(context, port, cursor)
    since_ns = context.wall_clock() - context.clock()
    return {
        "frames": [_seen(context, sample, since_ns) for sample in seen.samples],
        "cursor": list(seen.cursor),
        "lost": seen.lost,
    }


def _seen(context: Context, sample: Sample, boot: float) -> Document:
    """boot: when the clock of the programs began."""
    target = None if sample.target_slot is None else _named(context, sample.target_slot)
    return {
        "time": boot + sample.time_ns / 1e9,
        "enters": _named(context, sample.slot),
        "leaves": target,
        "verdict": sample.verdict.label,
        "frame": _shown(sample.octets, sample.length_bytes),
        "length": sample.length_bytes,
        "octets": sample.octets.hex(),
    }


def _named(context: Context, slot: int) -> str:
    """A VF, a PF for its wire, or what is gone by now."""
    for vf in context.inventory.vfs.values():
        if slot_of(vf) == slot:
            return str(vf.address)
    return next((name for name, pf in context.inventory.pfs.items() if pf.number == slot), "?")


def _port(image: PortImage) -> Port:
    """As the maps describe it. What it sent so far is not told: a trace meets no storm guard and no rate."""
    own = abi.mac_word(image.value.mac)
    macs, shared = ({abi.mac_of_fdb_key(key) for key in keys} for keys in (image.fdb | image.shared, image.shared))
    return Port(
        value=image.value,
        trunk=image.trunk,
        unheard=image.trunk - image.heard if image.value.flags & PortFlag.TRUNK else frozenset(),
        more_macs=frozenset(mac for mac in macs if abi.mac_word(mac) != own),
        allowed=image.allowed,
        groups=image.groups,
        shared=frozenset(shared),
        elsewhere=frozenset((abi.vlan_of_fdb_key(key), abi.mac_of_fdb_key(key)) for key in image.shared - image.fdb),
    )


def _rules(explained: _Explained) -> list[Document]:
    last = len(explained.asked) - 1
    return [
        {
            "rule": rule.__name__.replace("_", " "),
            "passed": explained.has_entered or number < last,
            "text": (rule.__doc__ or "").split("\n")[0],
        }
        for number, rule in enumerate(explained.asked)
    ]


def _decided_by(
    context: Context, sender: AttachedVf | None, verdict: Verdict, vfs: dict[int, AttachedVf], frame: bytes
) -> str | None:
    """The line of a policy, with the level that said so; or who has the address that a guest may not speak by."""
    read = Ethernet.parse(frame)
    if verdict is Verdict.SPOOF_MAC and read:
        owners = [str(vf.address) for vf in vfs.values() if read.source in {mac.octets for mac in vf.state.unicast}]
        return f"the address is that of {', '.join(owners) or 'the uplink'}"
    name = _SETTING.get(verdict)
    if name is None:
        return None
    ends = [sender, *(vf for vf in vfs.values() if read and read.destination in {mac.octets for mac in vf.state.unicast})]
    policies = [context.inventory.policy(vf) for vf in ends if vf]
    said = [policy for policy in policies if getattr(policy, name) != SETTINGS[name].default] or policies
    return said[0].rule(name) if said else None


def _place(vf: AttachedVf | None, pf: PhysicalFunction) -> str:
    if vf is None:
        return f"{pf.spec.uplink or 'no uplink'} (the wire of {pf.spec.name})"
    spec = vf.attachment.spec
    return f"{vf.address} (guest {spec.guest}, {spec.interface})"


def _exit(vf: AttachedVf | None, pf: PhysicalFunction, octets: bytes) -> Document:
    return {"by": _place(vf, pf), "frame": _shown(octets), "octets": octets.hex()}


def _shown(frame: bytes, length_bytes: int | None = None) -> str:
    """In a line. length_bytes: of the whole, where this is its beginning."""
    read, length = Ethernet.parse(frame), len(frame) if length_bytes is None else length_bytes
    if read is None:
        return f"{length} bytes without whole headers"
    tag = "no tag" if read.tci is None else f"VLAN {read.vid} priority {read.tci >> abi.PRIORITY_SHIFT}"
    return f"{read.source.hex(':')} to {read.destination.hex(':')}, {tag}, {type_name(read.type)}, {length} bytes"
