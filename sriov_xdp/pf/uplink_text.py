"""The stored form of a PF, with what its uplink was like before it was taken. Pure; for the pf package."""

import json
from typing import Any

from sriov_xdp.pf.intent import PfSpec, WireOwnSource, require_type
from sriov_xdp.pf.inventory import FoundUplink, PfEntry, PhysicalFunction


def pf_to_text(pf: PhysicalFunction) -> str:
    """For the store."""
    spec = {"uplink": pf.spec.uplink, "num_vfs": pf.spec.num_vfs, "wire_own_source": pf.spec.wire_own_source.value}
    document = {"number": pf.number, **spec, "found": _found_to_json(pf.found)}
    return json.dumps(document)


def pf_from_text(name: str, text: str) -> PfEntry:
    """The reverse. Raises ValueError, KeyError, TypeError."""
    document = json.loads(text)
    require_type(int, document["number"], document["num_vfs"])
    require_type(str, document["uplink"] or "")
    own_source = WireOwnSource(document.get("wire_own_source", WireOwnSource.DROP))  # earlier versions did not say
    spec = PfSpec(name=name, uplink=document["uplink"], num_vfs=document["num_vfs"], wire_own_source=own_source)
    found = document.get("found")
    if found is None and "features_before" in document and spec.uplink:
        found = _of_an_earlier_version(document["features_before"])
    return PfEntry(spec=spec, number=document["number"], found=FoundUplink(**found) if found else None)


def _of_an_earlier_version(features: dict[str, bool]) -> dict[str, Any]:
    """Which kept the offloads only; the rest is as it is by default, and the device is known by its name."""
    nobody = {"boot_id": "", "ifindex": 0, "permanent_mac": ""}
    flags = {"was_up": True, "was_promiscuous": False}
    return {**nobody, **flags, "ipv6_is_disabled": "0", "ipv6_address_mode": 0, "features": features}


def _found_to_json(found: FoundUplink | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "boot_id": found.boot_id,
        "ifindex": found.ifindex,
        "permanent_mac": found.permanent_mac,
        "was_up": found.was_up,
        "was_promiscuous": found.was_promiscuous,
        "ipv6_is_disabled": found.ipv6_is_disabled,
        "ipv6_address_mode": found.ipv6_address_mode,
        "features": dict(found.features),
    }
