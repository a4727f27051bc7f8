"""What devices say of their owner, to be known when nothing else is: a device group from their first moment, and an alias.

The group tells instance and PF, and is set in the call that makes a pair. The alias of a representor tells all that is needed to
know its attachment again, and that its pair was made ready; the alias of a guest end tells the driver in the guest which VF it
is. A guest can write its end's alias, so nothing on the host believes that one. Pure; for the pf package.
"""

import re
import zlib
from dataclasses import dataclass

from sriov_xdp.host.links import Link
from sriov_xdp.pf.state.intent import Attachment, VfAddress
from sriov_xdp.vswitch.address import MacAddress
from sriov_xdp.vswitch.vlan import Vlan

_PRODUCT = "sriov-xdp"
_MOST_ALIAS_BYTES = 254  # dev_set_alias() takes less than IFALIASZ with the NUL that netlink adds
_AS_THE_GUEST, _TOO_LONG = "=", "?"  # in place of a namespace
_OURS = "+"  # before it: it was made for the guest, and goes with it
_HOP, _HOP_WORD, _ENTRANCE = 1 << 30, "hop", "entrance"
_DIGEST = re.compile(r"[0-9a-f]{8}")
_GROUP_BASE, _GROUP_PF_BITS = 1 << 30, 4
_GROUP_INSTANCE = (1 << 30 - _GROUP_PF_BITS) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class HostMark:
    """A representor's alias. netns None: it was too long to be told; netns_is_ours: it was made for the guest."""

    vf: VfAddress
    guest: str
    interface: str
    port_group: str
    admin_mac: MacAddress
    netns: str | None
    netns_is_ours: bool = False


def host_alias(instance: str, attachment: Attachment, vlan: Vlan) -> str:
    """Of a representor whose pair is ready, and whose guest end says the same. All names at their longest fit, a namespace's path
    aside."""
    spec = attachment.spec
    of_guest_end = f"{zlib.crc32(guest_alias(attachment.vf, vlan).encode()):08x}"
    words = [_PRODUCT, instance, str(attachment.vf), spec.guest, spec.interface, spec.port_group, str(attachment.admin_mac)]
    netns = _AS_THE_GUEST if spec.netns == spec.guest else spec.netns.replace("%", "%25").replace(" ", "%20")
    text = " ".join([*words, f"{_OURS if attachment.netns_is_ours else ''}{netns}", of_guest_end])
    return text if len(text.encode()) <= _MOST_ALIAS_BYTES else " ".join([*words, _TOO_LONG, of_guest_end])


def guest_alias(vf: VfAddress, vlan: Vlan) -> str:
    """Tells the VF driver in the guest which netdev is which VF, and its port's VLAN, which virtchnl has no word for."""
    return f"{_PRODUCT} {vf} vlan {vlan}"[:_MOST_ALIAS_BYTES]


def hop_number(ifindex: int) -> int:
    """Of the far end of a port's hop, by its representor's: another device of the same slot. No representor has such a number."""
    return ifindex ^ _HOP


def hop_alias(instance: str, vf: VfAddress) -> str:
    """Of the far end of a hop that was made ready."""
    return f"{_PRODUCT} {instance} {_HOP_WORD} {vf}"


def hop_entrance_alias(instance: str, vf: VfAddress) -> str:
    """Of its near end."""
    return f"{hop_alias(instance, vf)} {_ENTRANCE}"


def is_hop(link: Link) -> bool:
    """Whether a device is an end of a hop, of whichever instance."""
    words = link.alias.split(" ")
    return (words[0], words[2:3]) == (_PRODUCT, [_HOP_WORD])


def is_hop_entrance(link: Link) -> bool:
    """Whether it is the near end: nothing comes out of it, so it needs no program."""
    return is_hop(link) and link.alias.endswith(f" {_ENTRANCE}")


def is_ready(link: Link, instance: str, attachment: Attachment, vlan: Vlan) -> bool:
    """Whether the pair of a representor was made ready, or followed its port, to the end."""
    return link.alias == host_alias(instance, attachment, vlan)


def read_host_mark(instance: str, link: Link) -> HostMark | None:
    """What host_alias() wrote, None for anything else. Earlier versions wrote the namespace always, and nothing behind it."""
    words = link.alias.split(" ")
    if words[:2] != [_PRODUCT, instance] or len(words) not in (8, 9) or not all(_DIGEST.fullmatch(word) for word in words[8:]):
        return None
    vf, guest, interface, port_group, mac, netns = words[2:8]
    try:
        address, admin_mac = VfAddress.parse(vf), MacAddress.parse(mac)
    except ValueError:
        return None
    is_ours, netns = netns.startswith(_OURS), netns.removeprefix(_OURS)
    place = {_AS_THE_GUEST: guest, _TOO_LONG: None}.get(netns, netns.replace("%20", " ").replace("%25", "%"))
    return HostMark(
        vf=address,
        guest=guest,
        interface=interface,
        port_group=port_group,
        admin_mac=admin_mac,
        netns=place,
        netns_is_ours=is_ours,
    )


def instance_of(link: Link) -> str | None:
    """Whose representor a device is, None for one that is nobody's."""
    words = link.alias.split(" ")
    return words[1] if words[0] == _PRODUCT and len(words) > 1 and _DIGEST.fullmatch(words[1]) else None


def group_of(instance: str, pf_number: int) -> int:
    """The device group of a PF's pairs: bit 30, then the instance, then the PF."""
    return _GROUP_BASE | (int(instance, 16) & _GROUP_INSTANCE) << _GROUP_PF_BITS | pf_number


def pf_of_group(group: int) -> int:
    """The PF's number."""
    return group & (1 << _GROUP_PF_BITS) - 1


def is_group_of(instance: str, group: int) -> bool:
    """Whether a device of this group is the instance's, of whichever PF."""
    return group >> _GROUP_PF_BITS == group_of(instance, 0) >> _GROUP_PF_BITS


def is_of(instance: str, link: Link) -> bool:
    """Whether a device is the instance's: by its group, or by the alias alone (earlier versions)."""
    return is_group_of(instance, link.group) or link.alias.startswith(f"{_PRODUCT} {instance} ")


def is_marked(link: Link) -> bool:
    """Whether a device is a pair's of this product, of whichever instance."""
    return link.alias.startswith(f"{_PRODUCT} ")
