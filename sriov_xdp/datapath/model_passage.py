"""A frame on its way through the reference model, and what its rules ask about it: its VLAN, its neighbours, who has an address.
For model.py and who explains by it. Pure: no IO.
"""

from dataclasses import dataclass

from sriov_xdp.datapath.abi import VLAN_SERVICE, PortFlag, Verdict
from sriov_xdp.datapath.model_ports import ETH_HEADER_BYTES, TAG_BYTES, TPID_8021AD, Ethernet, Port, Ports


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A frame at the port that it came in by."""

    ports: Ports
    slot: int
    frame: bytes
    ethernet: Ethernet | None

    @property
    def port(self) -> Port:
        """Where it came in."""
        return self.ports[self.slot]

    @property
    def read(self) -> Ethernet:
        """The frame taken apart; only for rules behind the one that asks for whole headers."""
        assert self.ethernet is not None
        return self.ethernet

    @property
    def vlan(self) -> int:
        """The VLAN that it is in, with VLAN_SERVICE where it is 802.1ad's: an access port gives its own, else the tag says; without
        one it is a trunk's native VLAN."""
        if self.port.is_access or not self.read.vid:
            return self.port.untagged_vlan
        return self.read.vid | (VLAN_SERVICE if self.read.tpid == TPID_8021AD else 0)

    @property
    def switched(self) -> Ethernet:
        """The frame as the switch sees it that let it in: in an access VLAN of 802.1ad a tag is the guest's own."""
        is_guests = self.port.is_access and self.port.has(PortFlag.SERVICE) and self.read.vid
        return self.read.with_tag_for_inner() if is_guests else self.read

    @property
    def takes_service_tags(self) -> bool:
        """Whether tags of 802.1ad may enter: from the wire, where they mean anything here, and by a trunk port of that kind."""
        if self.port.is_uplink:
            return any(port.has(PortFlag.SERVICE) for port in self.siblings.values())
        return self.port.has(PortFlag.TRUNK) and self.port.has(PortFlag.SERVICE)

    @property
    def payload_bytes(self) -> int:
        """What an MTU bounds."""
        tags = (self.read.tpid is not None) + (self.read.tpid is not None and self.read.has_inner_tag)
        return len(self.frame) - ETH_HEADER_BYTES - tags * TAG_BYTES

    @property
    def siblings(self) -> Ports:
        """The ports of the same PF that are there; an embedded switch knows no others."""
        return {slot: port for slot, port in self.ports.items() if port.value.ifindex and port.value.pf == self.port.value.pf}

    @property
    def is_listened_to(self) -> bool:
        """Whether a port of its PF hears unicast between others."""
        return any(port.has(PortFlag.PROMISCUOUS) for port in self.siblings.values())

    @property
    def uplink(self) -> int | None:
        """Slot of the PF's uplink."""
        return next((slot for slot, port in self.siblings.items() if port.is_uplink), None)

    @property
    def nowhere(self) -> Verdict:
        """Of a frame for the wire, where there is no uplink: there was one, or there was none."""
        own = (port for port in self.ports.values() if port.value.pf == self.port.value.pf)
        return Verdict.UPLINK_LOST if any(port.is_lost for port in own) else Verdict.NO_TARGET

    def is_host(self, mac: bytes) -> bool:
        """Whether the address is the uplink's own, which is the host's."""
        return self.uplink is not None and self.ports[self.uplink].value.mac == mac

    def access_holder(self, mac: bytes, ports: Ports | None = None) -> int | None:
        """Slot of the access port in the frame's VLAN that has the address. ports: among these only."""
        among = self.siblings if ports is None else ports
        holders = (slot for slot, port in among.items() if port.is_access and port.is_reached_by(mac, self.vlan))
        return next((slot for slot in holders if self.ports[slot].untagged_vlan == self.vlan), None)

    def holder(self, mac: bytes, ports: Ports | None = None) -> int | None:
        """Slot of the VF that has the address in the frame's VLAN: an access port, else a trunk port, which has it in all its
        VLANs."""
        among = self.siblings if ports is None else ports
        if (slot := self.access_holder(mac, among)) is not None:
            return slot
        trunks = (slot for slot, port in among.items() if port.has(PortFlag.TRUNK) and port.carries(self.vlan))
        return next((slot for slot in trunks if among[slot].is_reached_by(mac, self.vlan)), None)

    @property
    def reachable(self) -> Ports:
        """Where stations are looked for: a guest without a carrier may be elsewhere, with its addresses."""
        return {slot: port for slot, port in self.siblings.items() if not port.has(PortFlag.AWAY)}
