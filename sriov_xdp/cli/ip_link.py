"""`vf set` in the words of `ip link set DEV vf N ...` (ip-link(8)), for people who think in them: what each sets of a port or a VF,
in the shape of a request of the admin socket. Pure, but for click's errors.
"""

from collections.abc import Callable
from typing import Any

import click

from sriov_xdp.api.numerals import NUMBER
from sriov_xdp.pf.errors import Refused
from sriov_xdp.vswitch.policy import nested
from sriov_xdp.vswitch.vlan import Proto

WORDS = (
    "mac ADDRESS | vlan N [qos N] [proto 802.1Q|802.1ad] | max_tx_rate MBIT | spoofchk on|off | trust on|off | "
    "state auto|enable|disable | mailbox enable"
)
_NO_MAC = "00:00:00:00:00:00"  # as there: the address is nobody's choice any more
_KBPS = 1000
_LAST_VLAN, _LAST_PRIORITY, _MOST_MBIT = 4094, 7, 30_000
_SWITCH = {"on": True, "off": False}


def read(words: tuple[str, ...]) -> dict[str, Any]:
    """Pairs of word and value → fields of a request. Raises click.UsageError; Refused for what no port can do."""
    said = dict(zip(words[::2], words[1::2], strict=False))
    unknown = [word for word in said if word not in (*_MEANINGS, "qos", "proto")]
    if unknown or len(words) % 2 or 2 * len(said) != len(words):
        what = f"{unknown[0]!r}: no such word" if unknown else f"{words[-1]!r}: a word, its value or both are missing or said twice"
        raise click.UsageError(f"{what}; expected {WORDS}")
    for of_vlan in {"qos", "proto"} & said.keys():
        if "vlan" not in said:
            raise click.UsageError(f"{of_vlan}: expected vlan N with it")
    document: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for word, value in said.items():
        if word in _MEANINGS:
            _MEANINGS[word](value, said, document, settings)
    return {**document, **({"policy": nested(settings)} if settings else {})}


_Meaning = Callable[[str, dict[str, str], dict[str, Any], dict[str, Any]], None]


def _mac(value: str, _said: dict[str, str], document: dict[str, Any], _settings: dict[str, Any]) -> None:
    document["mac"] = "inherit" if value == _NO_MAC else value


def _vlan(value: str, said: dict[str, str], document: dict[str, Any], _settings: dict[str, Any]) -> None:
    vlan = _number("vlan", value, _LAST_VLAN)
    qos = _number("qos", said.get("qos", "0"), _LAST_PRIORITY)
    protos = {proto.lower(): proto.value for proto in Proto}
    proto = protos.get(said.get("proto", Proto.CUSTOMER).lower())
    if proto is None:
        raise click.UsageError(f"proto {said['proto']!r}: expected {' or '.join(protos.values())}")
    if not vlan and (qos or proto == Proto.SERVICE):
        what = f"qos {qos}" if qos else f"proto {proto}"
        raise click.UsageError(f"vlan 0 {what}: expected a VLAN from 1 to {_LAST_VLAN} with it, as vlan 0 is none")
    document["vlan"] = {"access": vlan, "proto": proto, **({"qos": qos} if qos else {})} if vlan else "none"


def _max_tx_rate(value: str, _said: dict[str, str], _document: dict[str, Any], settings: dict[str, Any]) -> None:
    settings["shaping_ingress"] = {"average_kbps": _number("max_tx_rate", value, _MOST_MBIT) * _KBPS}


def _min_tx_rate(value: str, _said: dict[str, str], _document: dict[str, Any], _settings: dict[str, Any]) -> None:
    if _number("min_tx_rate", value, _MOST_MBIT):
        raise Refused(f"min_tx_rate {value}: no port is kept a share of its uplink; max_tx_rate of the others leaves it room")


def _spoofchk(value: str, _said: dict[str, str], _document: dict[str, Any], settings: dict[str, Any]) -> None:
    settings["forged_transmits"] = "reject" if _is_on("spoofchk", value) else "accept"


def _trust(value: str, _said: dict[str, str], _document: dict[str, Any], settings: dict[str, Any]) -> None:
    settings["trust"] = _is_on("trust", value)


def _state(value: str, _said: dict[str, str], document: dict[str, Any], _settings: dict[str, Any]) -> None:
    if value not in ("auto", "enable", "disable"):
        raise click.UsageError(f"state {value!r}: expected auto, enable or disable")
    document["link_state"] = value


def _mailbox(value: str, _said: dict[str, str], document: dict[str, Any], _settings: dict[str, Any]) -> None:
    if value != "enable":
        raise click.UsageError(f"mailbox {value!r}: expected enable")
    document["mailbox"] = value


_MEANINGS: dict[str, _Meaning] = {
    "mac": _mac,
    "vlan": _vlan,
    "max_tx_rate": _max_tx_rate,
    "rate": _max_tx_rate,  # its older word
    "min_tx_rate": _min_tx_rate,
    "spoofchk": _spoofchk,
    "trust": _trust,
    "state": _state,
    "mailbox": _mailbox,
}


def _number(word: str, text: str, most: int) -> int:
    if not NUMBER.fullmatch(text) or int(text) > most:
        raise click.UsageError(f"{word} {text!r}: expected a number from 0 to {most}")
    return int(text)


def _is_on(word: str, text: str) -> bool:
    if text not in _SWITCH:
        raise click.UsageError(f"{word} {text!r}: expected on or off")
    return _SWITCH[text]
