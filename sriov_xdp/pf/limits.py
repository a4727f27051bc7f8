"""The limits that an attachment can run into, each with its reason and a clear refusal before anything is changed."""

from sriov_xdp.datapath import abi
from sriov_xdp.pf.context import Context
from sriov_xdp.pf.errors import Conflict
from sriov_xdp.pf.images import member_lists
from sriov_xdp.pf.inventory import AttachedVf
from sriov_xdp.vswitch.vlan import Vlan, VlanMode


def check_limits(context: Context, attached: AttachedVf, vlan: Vlan) -> None:
    """Raises Conflict when one more VF with this VLAN does not fit."""
    if not context.tables.has_room_for(len(attached.device.unicast)):
        raise Conflict(f"FDB: all {abi.MAX_FDB_ENTRIES} entries of this host are in use; detach a VF or remove filters")
    pf = context.inventory.pf(attached.address.pf)
    lists = member_lists(context.inventory, pf)
    wanted = abi.VLAN_TRUNKS if vlan.mode is VlanMode.TRUNK else vlan.access_vlan
    if wanted not in lists and context.tables.member_lists() >= abi.MAX_VLANS:
        raise Conflict(f"VLANs: {abi.MAX_VLANS} flood lists of this host are in use; use an existing VLAN")
    for number, slots in lists.items():
        grows = number == wanted or (vlan.mode is VlanMode.TRUNK and number in vlan.vlans)
        if grows and len(slots) >= abi.MAX_MEMBERS:
            raise Conflict(f"VLAN {number} of PF {pf.spec.name}: {abi.MAX_MEMBERS} members, which is the limit of one flood")
