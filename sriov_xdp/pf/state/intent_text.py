"""How what the operator wants, and what is attached, is written: JSON for the store, and as configuration files say it.

Pure. The values are in intent.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from sriov_xdp.pf.state.intent import AdapterSpec, Attachment, Datapath, LinkState, VfAddress
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.policy import SETTINGS, Override, PolicySettings, nested
from sriov_xdp.vswitch.ports import LAST_PORT, MOST_PORTS, Binding, PortGroup, PortOverrides, Switch
from sriov_xdp.vswitch.ranges import of_range, to_ranges
from sriov_xdp.vswitch.vlan import FIRST_VLAN, LAST_VLAN, Proto, Vlan, VlanMode

# What a stored number may be; a configuration's are narrower.
_MOST_IFINDEX, MOST_GENERATION = (1 << 31) - 1, (1 << 32) - 1
_LEAST_MTU_BYTES, _MOST_MTU_BYTES = 68, 65_535
SETTING_AT = {setting.path: setting for setting in SETTINGS.values()}


def vlan_to_json(vlan: Vlan) -> Any:
    """As configuration files write it: "none", {"access": 100, "qos": 5}, {"trunk": [10, "20-29"], "native": 10}."""
    proto = {"proto": vlan.proto.value} if vlan.proto is not Proto.CUSTOMER else {}
    match vlan.mode:
        case VlanMode.NONE:
            return "none"
        case VlanMode.ACCESS:
            return {"access": vlan.untagged_vlan, **({"qos": vlan.qos} if vlan.qos else {}), **proto}
        case VlanMode.TRUNK:
            return {"trunk": vlan.ranges(), **({"native": vlan.native} if vlan.native else {}), **proto}


def vlan_from_json(value: Any) -> Vlan:
    """The reverse; also takes what a person writes. Raises ValueError."""
    if value == "none":
        return Vlan(VlanMode.NONE)
    match value:
        case {"access": int(vlan), **rest} if set(rest) <= {"qos", "proto"} and not isinstance(vlan, bool):
            return Vlan.access(vlan, _number_in(rest, "qos"), _proto_in(rest))
        case {"trunk": [_, *_] as parts, **rest} if set(rest) <= {"native", "proto"}:
            bits = 0  # many ranges may say the same VLANs again
            for part in parts:
                bits |= vlan_range(part)
            native = _number_in(rest, "native")
            return _trunk_of(bits | (1 << native if native else 0), native, _proto_in(rest))
    raise ValueError(f'VLAN {value!r}: expected none, {{access: N}} or {{trunk: [N, "A-B"]}}')


def _number_in(document: Mapping[Any, Any], key: str) -> int:
    """0 where it is not said. Raises ValueError."""
    value = document.get(key)
    if value is not None and type(value) is not int:
        raise ValueError(f"{key} {value!r}: expected a number")
    return value or 0


def _proto_in(document: Mapping[Any, Any]) -> Proto:
    """802.1Q where it is not said. Raises ValueError."""
    return Proto(document.get("proto") or Proto.CUSTOMER)


@lru_cache(maxsize=32)
def _trunk_of(bits: int, native: int, proto: Proto) -> Vlan:
    """One object for trunks that carry the same."""
    return Vlan.trunk(frozenset(vlan for vlan, bit in enumerate(reversed(f"{bits:b}")) if bit == "1"), native, proto)


def vlan_range(part: Any) -> int:
    """A bit for each VLAN of a number or a range "A-B" as a person writes it. Raises ValueError."""
    numbers = of_range(part, "VLAN range", FIRST_VLAN, LAST_VLAN)
    return (1 << numbers.stop) - (1 << numbers.start)


def settings_to_json(settings: PolicySettings) -> dict[str, Any]:
    """Only what is set, in the shape of configuration files."""
    return nested({name: SETTINGS[name].values.plain(value) for name, value in settings.said})


def settings_from_json(document: dict[str, Any]) -> PolicySettings:
    """The reverse of settings_to_json. Raises ValueError, TypeError, KeyError."""
    return PolicySettings(**{SETTING_AT[path].name: SETTING_AT[path].parse(value) for path, value in _leaves(document)})


def _leaves(document: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in document.items():
        if isinstance(value, dict) and (*path, key) not in SETTING_AT:
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def require_type(kind: type, *values: Any) -> None:
    """A stored value of another type is damage, and is found where it is read, not where it is used. Raises TypeError."""
    for value in values:
        if type(value) is not kind:
            raise TypeError(f"{value!r}: expected {kind.__name__}")


def require_range(value: int, first: int, last: int) -> None:
    """As require_type(), of a number. Raises ValueError."""
    if not first <= value <= last:
        raise ValueError(f"{value}: expected {first} to {last}")


def switch_to_json(switch: Switch) -> dict[str, Any]:
    """As configuration files write it."""
    document: dict[str, Any] = {"name": switch.name, "kind": "standard", "pf": switch.pf, "mtu": switch.mtu_bytes}
    policy = settings_to_json(switch.policy)
    if policy:
        document["policy"] = policy
    document["port_groups"] = [group_to_json(group) for group in switch.port_groups]
    return document


def switch_to_text(switch: Switch) -> str:
    """For the store."""
    return json.dumps(switch_to_json(switch))


def group_to_json(group: PortGroup) -> dict[str, Any]:
    """As configuration files write it."""
    document: dict[str, Any] = {"name": group.name, "vlan": vlan_to_json(group.vlan)}
    policy = settings_to_json(group.policy)
    if policy:
        document["policy"] = policy
    if group.overrides_allowed:
        document["overrides_allowed"] = sorted(group.overrides_allowed)
    if group.is_static:
        document |= {"binding": group.binding.value, "ports": group.ports, "reset_at_disconnect": group.reset_at_disconnect}
    if group.numbers:
        document["numbers"] = to_ranges(group.numbers)
    if group.port_settings:
        document["port_settings"] = {number: overrides_to_json(said) for number, said in group.port_settings}
    return document


def overrides_to_json(said: PortOverrides) -> dict[str, Any]:
    """As configuration files write them: only what is set."""
    policy = settings_to_json(said.policy)
    return {**({"policy": policy} if policy else {}), **({"vlan": vlan_to_json(said.vlan)} if said.vlan else {})}


def overrides_from_json(document: dict[str, Any]) -> PortOverrides:
    """The reverse. Raises ValueError, KeyError, TypeError."""
    vlan = document.get("vlan")
    return PortOverrides(policy=settings_from_json(document.get("policy", {})), vlan=vlan_from_json(vlan) if vlan else None)


def group_from_json(document: dict[str, Any]) -> PortGroup:
    """The reverse of group_to_json. Raises ValueError, KeyError, TypeError."""
    settings = document.get("port_settings", {})
    require_type(int, document.get("ports", 0))
    require_range(document.get("ports", 0), 0, MOST_PORTS)
    require_type(bool, document.get("reset_at_disconnect", False))
    return PortGroup(
        name=document["name"],
        vlan=vlan_from_json(document["vlan"]),
        policy=settings_from_json(document.get("policy", {})),
        overrides_allowed=frozenset(Override(name) for name in document.get("overrides_allowed", ())),
        binding=Binding(document.get("binding", Binding.EPHEMERAL)),
        ports=document.get("ports", 0),
        reset_at_disconnect=document.get("reset_at_disconnect", False),
        port_settings=tuple((_port_number(number), overrides_from_json(said)) for number, said in settings.items()),
        numbers=numbers_in(document.get("numbers", ())),
    )


def numbers_in(parts: Iterable[Any]) -> tuple[int, ...]:
    """Numbers of ports, of single ones and of ranges. Raises ValueError, also for more than a group can have."""
    found: set[int] = set()
    for part in parts:
        numbers = of_range(part, "ports", 0, LAST_PORT)
        require_range(len(numbers), 1, MOST_PORTS)
        found.update(numbers)
    return tuple(sorted(found))


def _port_number(value: Any) -> int:
    """JSON has texts for the keys of objects. Raises ValueError, TypeError."""
    number = int(value) if isinstance(value, str) else value
    require_type(int, number)
    require_range(number, 0, LAST_PORT)
    return int(number)


def switch_from_json(document: dict[str, Any]) -> Switch:
    """The reverse of switch_to_text. Raises ValueError, KeyError, TypeError."""
    require_type(str, document["name"], document["pf"], *(group["name"] for group in document["port_groups"]))
    require_type(int, document["mtu"])
    require_range(document["mtu"], _LEAST_MTU_BYTES, _MOST_MTU_BYTES)
    return Switch(
        name=document["name"],
        pf=document["pf"],
        mtu_bytes=document["mtu"],
        policy=settings_from_json(document.get("policy", {})),
        port_groups=tuple(group_from_json(group) for group in document["port_groups"]),
    )


def attachment_to_text(attachment: Attachment) -> str:
    """For the store."""
    spec = attachment.spec
    document = {
        "guest": spec.guest,
        "netns": spec.netns,
        "interface": spec.interface,
        "port_group": spec.port_group,
        "mac": str(spec.mac) if spec.mac else None,
        "datapath": spec.datapath.value,
        "admin_mac": str(attachment.admin_mac),
        "generation": attachment.generation,
        "representor": attachment.representor,
        "ifindex": attachment.ifindex,
        "netns_is_ours": attachment.netns_is_ours,
        "netns_id": list(attachment.netns_id),
        "netns_cookie": attachment.netns_cookie,
        "link_state": spec.link_state.value,
        "policy": settings_to_json(spec.overrides.policy),
        "vlan": vlan_to_json(spec.overrides.vlan) if spec.overrides.vlan else None,
        "port": spec.port,
        "number": spec.number,
    }
    return json.dumps(document)


def attachment_from_text(vf: VfAddress, text: str) -> Attachment:
    """The reverse of attachment_to_text. Raises ValueError, KeyError, TypeError."""
    document = json.loads(text)
    require_type(str, *(document[name] for name in ("guest", "netns", "interface", "port_group", "representor", "admin_mac")))
    require_type(str, document["mac"] or "")
    require_type(int, document["generation"], document["ifindex"], *document["netns_id"])
    require_range(document["ifindex"], 1, _MOST_IFINDEX)
    require_range(document["generation"], 0, MOST_GENERATION)
    if "\0" in document["netns"] or "\0" in document["interface"]:
        raise ValueError("a name holds a NUL")
    require_type(bool, document["netns_is_ours"])
    require_type(dict, document["policy"])
    vlan = document["vlan"]
    spec = AdapterSpec(
        guest=document["guest"],
        netns=document["netns"],
        interface=document["interface"],
        port_group=document["port_group"],
        mac=MacAddress.parse(document["mac"]) if document["mac"] else None,
        datapath=Datapath(document["datapath"]),
        link_state=LinkState(document["link_state"]),
        overrides=PortOverrides(policy=settings_from_json(document["policy"]), vlan=vlan_from_json(vlan) if vlan else None),
        port=_number_or_none(document.get("port")),
        number=_number_or_none(document.get("number")),  # earlier versions did not number ports
    )
    first, second = document["netns_id"]
    cookie = document.get("netns_cookie", 0)  # earlier versions did not ask
    require_type(int, cookie)
    return Attachment(
        vf=vf,
        spec=spec,
        admin_mac=MacAddress.parse(document["admin_mac"]),
        generation=document["generation"],
        representor=document["representor"],
        ifindex=document["ifindex"],
        netns_is_ours=document["netns_is_ours"],
        netns_id=(first, second),
        netns_cookie=cookie,
    )


def _number_or_none(value: Any) -> int | None:
    return None if value is None else _port_number(value)


def adapter_to_json(spec: AdapterSpec) -> dict[str, Any]:
    """As configuration files write it below its guest; what is as by default is left out."""
    document: dict[str, Any] = {"name": spec.interface, "kind": "vf", "port_group": spec.port_group}
    if spec.port is not None:
        document["port"] = spec.port
    if spec.mac:
        document["mac"] = str(spec.mac)
    document["datapath"] = spec.datapath.value
    if spec.link_state is not LinkState.AUTO:
        document["link_state"] = spec.link_state.value
    return {**document, **overrides_to_json(spec.overrides)}
