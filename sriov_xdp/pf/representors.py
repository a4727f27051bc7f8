"""The two ends of a VF: a veth pair, the representor on the host and the guest end in the guest's namespace.

What each end needs (measured, see ARCHITECTURE.md): every guest end has GRO on, so that its NAPI takes xdp_frames from the
wire; a VF in XDP mode also computes its own checksums and puts VLAN tags in band, as nobody fills them in behind XDP.
"""

from contextlib import suppress

from sriov_xdp.datapath import abi
from sriov_xdp.host import features, namespaces
from sriov_xdp.host.errors import HostError
from sriov_xdp.host.links import Link, Links, VethPair, links_of
from sriov_xdp.pf.errors import Conflict, PfError
from sriov_xdp.pf.intent import Attachment, VfAddress
from sriov_xdp.pf.inventory import AttachedVf
from sriov_xdp.vswitch.vlan import Vlan

_CHECKSUMS = (features.TX_CHECKSUM, features.TX_CHECKSUM_SCTP)
_OFF_IN_XDP = (*_CHECKSUMS, features.TX_VLAN)
_ALIAS_BYTES = 255  # IFALIASZ without its end
_FIRST_IFINDEX = 1 << 20  # far above what the kernel hands out, so nobody else's device lands on a slot
_IFINDEX_BLOCKS = 1024


def host_alias(instance: str, vf: VfAddress) -> str:
    """Marks a representor as ours, of this state directory."""
    return f"sriov-xdp {instance} {vf}"


def guest_alias(vf: VfAddress, vlan: Vlan) -> str:
    """Tells the VF driver in the guest which netdev is which VF, and its port's VLAN, which virtchnl has no word for."""
    return f"sriov-xdp {vf} vlan {vlan}"[:_ALIAS_BYTES]


def choose_ifindex(links: Links, used_slots: frozenset[int]) -> int:
    """A free ifindex whose low bits are a free slot. Raises Conflict when all slots are in use."""
    for slot in range(abi.FIRST_VF_SLOT, abi.MAX_PORTS):
        if slot in used_slots:
            continue
        for block in range(_IFINDEX_BLOCKS):
            ifindex = _FIRST_IFINDEX + block * abi.MAX_PORTS + slot
            if links.find(ifindex) is None:
                return ifindex
    raise Conflict(f"VFs: all {abi.MAX_PORTS - abi.FIRST_VF_SLOT} slots of this host are in use; detach one first")


def choose_name(links: Links, vf: VfAddress) -> str:
    """The representor's name: the VF's address, with a letter when somebody else has that name."""
    for suffix in ("", *"abcdefghijklmnopqrstuvwxyz"):
        if not links.exists(f"{vf}{suffix}"):
            return f"{vf}{suffix}"
    raise Conflict(f"representor of {vf}: {vf} and {vf}a to {vf}z are all taken by other devices; remove one")


def create(links: Links, attachment: Attachment, vlan: Vlan, mtu_bytes: int, instance: str) -> None:
    """Makes the pair and prepares both ends. Leaves nothing behind when it fails. Raises HostError, Conflict."""
    spec = attachment.spec
    pair = VethPair(
        host_name=attachment.representor,
        host_ifindex=attachment.ifindex,
        guest_namespace=spec.netns,
        guest_name=spec.interface,
        guest_mac=str(attachment.admin_mac),
        guest_alias=guest_alias(attachment.vf, vlan),
        mtu_bytes=mtu_bytes,
    )
    try:
        links.create_pair(pair)
    except HostError as error:
        if isinstance(error.__cause__, FileExistsError):
            text = f"adapter {spec.interface} of guest {spec.guest}: namespace {spec.netns} has a device of that name"
            raise Conflict(f"{text}; choose another with --ifname") from error
        raise
    try:
        _prepare_host_end(links, attachment, instance)
        _prepare_guest_end(pair)
    except (HostError, PfError):
        links.delete(attachment.ifindex)
        raise


def _prepare_host_end(links: Links, attachment: Attachment, instance: str) -> None:
    links.silence(attachment.representor, attachment.ifindex)
    features.write(attachment.representor, {features.TX_VLAN: False})
    links.change(attachment.ifindex, ifalias=host_alias(instance, attachment.vf), state="up")


def _prepare_guest_end(pair: VethPair) -> None:
    """GRO only counts for an interface that is up, so up comes first."""
    with links_of(pair.guest_namespace) as guest:
        link = guest.by_name(pair.guest_name)
        guest.change(link.ifindex, ifalias=pair.guest_alias)
        guest.change(link.ifindex, state="up")
        features.write(pair.guest_name, {features.GRO: True})


def find_guest_end(netns: str, vf: VfAddress) -> Link | None:
    """The guest end, whatever the guest calls it now; None when it is not in that namespace."""
    with suppress(HostError), links_of(netns) as guest:
        return next((link for link in guest.dump() if link.alias.startswith(f"sriov-xdp {vf} ")), None)
    return None


def enter_xdp(vf: AttachedVf) -> None:
    """The guest end's offloads for XDP: checksums and tags are the guest's to make. What changed is remembered."""
    wanted = {features.GRO: True, **dict.fromkeys(_OFF_IN_XDP, False)}
    vf.guest_features_before = {**_write_guest(vf.attachment, wanted), **vf.guest_features_before}


def leave_xdp(vf: AttachedVf) -> None:
    """The offloads as they were, GRO aside, which every guest end needs. After a restart nothing is remembered: all on."""
    before = vf.guest_features_before or dict.fromkeys(_OFF_IN_XDP, True)
    _write_guest(vf.attachment, {**before, features.GRO: True})
    vf.guest_features_before = {}


def set_checksum_for_guest_program(attachment: Attachment, *, is_needed: bool) -> None:
    """A guest's program may send a frame back; a checksum that was left to hardware would then be missing for good."""
    with suppress(HostError):
        features.write(attachment.representor, dict.fromkeys(_CHECKSUMS, not is_needed))


def _write_guest(attachment: Attachment, wanted: dict[str, bool]) -> dict[str, bool]:
    """Returns what changed features were. A guest end that is gone needs none."""
    link = find_guest_end(attachment.spec.netns, attachment.vf)
    if link is None:
        return {}
    with namespaces.in_namespace(attachment.spec.netns):
        return features.write(link.name, wanted)


def set_guest_alias(attachment: Attachment, vlan: Vlan) -> None:
    """After the port's VLAN changed."""
    link = find_guest_end(attachment.spec.netns, attachment.vf)
    if link is None:
        return
    with suppress(HostError), links_of(attachment.spec.netns) as guest:
        guest.change(link.ifindex, ifalias=guest_alias(attachment.vf, vlan))


def set_guest_mtu(attachment: Attachment, mtu_bytes: int) -> None:
    """After the switch's MTU changed."""
    link = find_guest_end(attachment.spec.netns, attachment.vf)
    if link is None:
        return
    with links_of(attachment.spec.netns) as guest:
        guest.change(link.ifindex, mtu=mtu_bytes)
