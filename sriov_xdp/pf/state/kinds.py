"""The kinds of objects that a configuration names, a row each: what plan, diff, apply and consent know of them. Pure.

KINDS stand in the order in which they need each other: an adapter needs the switch of its port group, that one its PF. What is
done about a kind is in verbs/kinds.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sriov_xdp.pf.state.intent import AdapterSpec, HostIntent, PfSpec
from sriov_xdp.pf.state.intent_text import adapter_to_json, switch_to_json
from sriov_xdp.vswitch.ports import Switch

Spec = PfSpec | Switch | AdapterSpec
Document = dict[str, Any]


class Action(StrEnum):
    """What a step does. REATTACH: removed and added, as it cannot change in place."""

    REMOVE = "remove"
    REATTACH = "reattach"
    CHANGE = "change"
    ADD = "add"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kind:
    """specs: a configuration's, by name. show: one as a document. loss: what somebody loses by an action, from which spec to
    which; None when nobody loses anything. in_place: actions for which no device comes or goes; what is in place is done
    together, all or nothing. is_moved: whether what changed, from one configuration to another, must be attached anew."""

    name: str
    specs: Callable[[HostIntent], Mapping[str, Any]]
    show: Callable[[Any], Document]
    loss: Callable[[Action, Any, Any], str | None]
    in_place: frozenset[Action]
    is_moved: Callable[[HostIntent, HostIntent, Any, Any], bool] = lambda _current, _wanted, _before, _after: False

    def __str__(self) -> str:
        return self.name


def _show_pf(spec: PfSpec) -> Document:
    return {
        "name": spec.name,
        "uplink": spec.uplink,
        "num_vfs": spec.num_vfs,
        "wire_own_source": spec.wire_own_source.value,
        "switching": spec.switching.value,
        "uplink_loss": spec.uplink_loss.value,
    }


def _loss_of_pf(action: Action, before: PfSpec | None, after: PfSpec | None) -> str | None:
    if action is Action.REMOVE:
        return "the uplink goes back to the host"
    if before and after and before.uplink is not None and before.uplink != after.uplink:
        return "its guests lose the wire that they have, and the uplink goes back to the host"
    return None


def _show_adapter(spec: AdapterSpec) -> Document:
    document = {"guest": spec.guest, "netns": spec.netns, **adapter_to_json(spec)}
    del document["kind"]
    return document


def _loss_of_adapter(action: Action, _before: AdapterSpec | None, _after: AdapterSpec | None) -> str | None:
    if action is Action.REMOVE:
        return "the guest loses the interface, with its addresses"
    if action is Action.REATTACH:
        return "the guest loses the interface, with its addresses, and gets a new one"
    return None


def _is_adapter_moved(current: HostIntent, wanted: HostIntent, before: AdapterSpec, after: AdapterSpec) -> bool:
    """An adapter keeps its interface while its namespace and its PF stay; a group may take its adapters to another PF."""
    has_other_place = (before.plug, before.netns) != (after.plug, after.netns)
    return has_other_place or _pf_of(current, before.port_group) != _pf_of(wanted, after.port_group)


def _pf_of(intent: HostIntent, group: str) -> str | None:
    return next((switch.pf for switch in intent.switches if switch.group(group)), None)


PF = Kind(
    name="pf",
    specs=lambda intent: {pf.name: pf for pf in intent.pfs},
    show=_show_pf,
    loss=_loss_of_pf,
    in_place=frozenset(),
)
SWITCH = Kind(
    name="switch",
    specs=lambda intent: {switch.name: switch for switch in intent.switches},
    show=switch_to_json,
    loss=lambda _action, _before, _after: None,
    in_place=frozenset(Action),
)
ADAPTER = Kind(
    name="adapter",
    specs=lambda intent: {f"{spec.guest}/{spec.interface}": spec for spec in intent.adapters},
    show=_show_adapter,
    loss=_loss_of_adapter,
    in_place=frozenset({Action.CHANGE}),
    is_moved=_is_adapter_moved,
)
KINDS = (PF, SWITCH, ADAPTER)
