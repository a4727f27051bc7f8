"""Who is who on the test network, one switch of PF 0 and a stranger of PF 1."""

from programs import uplink, vf

from sriov_xdp.datapath.abi import PortFlag, Verdict
from sriov_xdp.datapath.model import Fate

SLOT_UPLINK, SLOT_OTHER_UPLINK = 0, 1
SLOT_VM1, SLOT_VM2, SLOT_FORGER, SLOT_PARKED = 16, 17, 18, 19
SLOT_WEB1, SLOT_WEB2, SLOT_DB1 = 20, 21, 22
SLOT_ROUTER, SLOT_FIREWALL = 23, 24
SLOT_TENANT = 25
SLOT_STRANGER = 26  # a device that is no port

WEB, DB, LAB, UNUSED = 10, 20, 30, 40  # VLANs


def mac(last: int) -> bytes:
    return bytes([0x02, 0, 0, 0, 0, last])


MAC_UPLINK, MAC_OTHER_UPLINK = mac(0xE0), mac(0xE1)
MAC_VM1, MAC_VM2, MAC_FORGER, MAC_PARKED = mac(1), mac(2), mac(3), mac(4)
MAC_WEB1, MAC_WEB2, MAC_DB1 = mac(5), mac(6), mac(7)
MAC_ROUTER, MAC_FIREWALL, MAC_TENANT = mac(8), mac(9), mac(10)
MAC_VM1_SECOND = mac(0x11)
MAC_ON_THE_WIRE, MAC_INVENTED = mac(0xF0), mac(0xF1)
GROUP = bytes.fromhex("01005e010203")
NOBODY = bytes(6)

NETWORK = {
    SLOT_UPLINK: uplink(0, MAC_UPLINK, flags=PortFlag.NATIVE_XDP),
    SLOT_OTHER_UPLINK: uplink(1, MAC_OTHER_UPLINK, flags=PortFlag.NATIVE_XDP),
    SLOT_VM1: vf(SLOT_VM1, MAC_VM1, more_macs=[MAC_VM1_SECOND]),
    SLOT_VM2: vf(SLOT_VM2, MAC_VM2),
    SLOT_FORGER: vf(SLOT_FORGER, MAC_FORGER, flags=PortFlag.FORGED_ACCEPT),
    SLOT_PARKED: vf(SLOT_PARKED, MAC_PARKED, is_up=False),
    SLOT_WEB1: vf(SLOT_WEB1, MAC_WEB1, vlan=WEB),
    SLOT_WEB2: vf(SLOT_WEB2, MAC_WEB2, vlan=WEB),
    SLOT_DB1: vf(SLOT_DB1, MAC_DB1, vlan=DB),
    SLOT_ROUTER: vf(SLOT_ROUTER, MAC_ROUTER, trunk=[WEB, DB, LAB]),
    SLOT_FIREWALL: vf(SLOT_FIREWALL, MAC_FIREWALL, trunk=[WEB]),
    SLOT_TENANT: vf(SLOT_TENANT, MAC_TENANT, pf=1),
}


def dropped(verdict: Verdict) -> Fate:
    return Fate(verdict=verdict)


def forwarded(slot: int, frame: bytes) -> Fate:
    return Fate(verdict=Verdict.FORWARDED, left={slot: frame})


def flooded(left: dict[int, bytes], *, reaches_host: bool = False) -> Fate:
    return Fate(verdict=Verdict.FLOODED, left=left, reaches_host=reaches_host)
