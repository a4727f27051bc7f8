"""The stored form of a PF, with what its uplink was like before it was taken. Pure; for the pf package."""

import json
from typing import Any

from sriov_xdp.datapath.abi import MAX_PFS, MAX_PORTS
from sriov_xdp.host.links import Link
from sriov_xdp.pf.state.intent import PfSpec, Switching, UplinkLoss, WireOwnSource
from sriov_xdp.pf.state.intent_text import require_range, require_type
from sriov_xdp.pf.state.physical_function import FoundUplink, PfEntry, PhysicalFunction

_MOST_IFINDEX = (1 << 31) - 1
_NO_IPV6 = "x"
_PARTS = 5  # of a mark


def pf_to_text(pf: PhysicalFunction) -> str:
    """For the store."""
    document = {
        "number": pf.number,
        "uplink": pf.spec.uplink,
        "num_vfs": pf.spec.num_vfs,
        "wire_own_source": pf.spec.wire_own_source.value,
        "switching": pf.spec.switching.value,
        "uplink_loss": pf.spec.uplink_loss.value,
        "found": _found_to_json(pf.found),
    }
    return json.dumps(document)


def pf_from_text(name: str, text: str) -> PfEntry:
    """The reverse. Raises ValueError, KeyError, TypeError."""
    document = json.loads(text)
    require_type(int, document["number"], document["num_vfs"])
    require_range(document["number"], 0, MAX_PFS - 1)
    require_range(document["num_vfs"], 1, MAX_PORTS)
    require_type(str, document["uplink"] or "")
    spec = PfSpec(
        name=name,
        uplink=document["uplink"],
        num_vfs=document["num_vfs"],
        switching=Switching(document.get("switching", Switching.VEB)),
        wire_own_source=WireOwnSource(document.get("wire_own_source", WireOwnSource.DROP)),  # earlier versions did not say
        uplink_loss=UplinkLoss(document.get("uplink_loss", UplinkLoss.ISOLATE)),  # nor did they this
    )
    return PfEntry(spec=spec, number=document["number"], found=_found_from_json(document))


def found_to_mark(found: FoundUplink) -> str:
    """In few letters, for bpffs: what to give back where the state is lost."""
    flags = f"{found.was_up:d}{found.was_promiscuous:d}{_NO_IPV6 if found.ipv6_is_disabled is None else found.ipv6_is_disabled}"
    features = ",".join(f"{name}={is_on:d}" for name, is_on in sorted(found.features.items()))
    return f"{found.ifindex}:{flags}:{found.ipv6_address_mode}:{features}:{_letters(found.mac)}"


def is_marked_by(text: str, link: Link) -> bool:
    """Whether what was said is of a device, which nothing else tells: its number alone may be another's by now."""
    number, *_how, mac = _parts(text)
    return bool(link.mac) and (number, mac) == (str(link.ifindex), _letters(link.mac))


def _parts(text: str) -> list[str]:
    """Number, flags, IPv6 address mode, features, address, which earlier versions did not say."""
    parts = text.split(":")
    return [*parts, ""] if len(parts) < _PARTS else parts


def _letters(mac: str) -> str:
    return mac.replace(":", "")


def found_from_mark(text: str | None, link: Link, boot_id: str) -> FoundUplink | None:
    """The reverse, of a device that is there; None for what was said of another one, or cannot be read."""
    try:
        number, flags, mode, features, _mac = _parts(text or "")
        was_up, was_promiscuous, ipv6 = tuple(flags)
        pairs = (pair.split("=") for pair in features.split(",") if pair)
        found = FoundUplink(
            boot_id=boot_id,
            ifindex=int(number),
            permanent_mac=link.permanent_mac,
            mac=link.mac,
            was_up=was_up == "1",
            was_promiscuous=was_promiscuous == "1",
            ipv6_is_disabled=None if ipv6 == _NO_IPV6 else ipv6,
            ipv6_address_mode=int(mode),
            features={name: is_on == "1" for name, is_on in pairs},
        )
    except ValueError:
        return None
    return found if found.ifindex == link.ifindex else None


def _found_from_json(document: dict[str, Any]) -> FoundUplink | None:
    found = document.get("found")
    if found:
        require_type(int, found["ifindex"])
        require_range(found["ifindex"], 0, _MOST_IFINDEX)
        return FoundUplink(**found)
    is_of_an_earlier_version = "features_before" in document and document["uplink"]  # which kept the offloads only
    return FoundUplink.unknown(document["features_before"]) if is_of_an_earlier_version else None


def _found_to_json(found: FoundUplink | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "boot_id": found.boot_id,
        "ifindex": found.ifindex,
        "permanent_mac": found.permanent_mac,
        "mac": found.mac,
        "was_up": found.was_up,
        "was_promiscuous": found.was_promiscuous,
        "ipv6_is_disabled": found.ipv6_is_disabled,
        "ipv6_address_mode": found.ipv6_address_mode,
        "features": dict(found.features),
    }
