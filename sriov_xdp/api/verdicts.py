"""What each verdict means and what to do about it: for `sriov-xdp verdicts` and docs/verdicts.md. A row for each, which a test asks
for; the numbers are datapath/abi.py's. Texts only; for the command line and the reference."""

from dataclasses import dataclass

from sriov_xdp.datapath.abi import Verdict


@dataclass(frozen=True, slots=True)
class Explanation:
    """meaning: what happened to the frame, where it entered the switch; remedy: what to do when that is not wanted."""

    meaning: str
    remedy: str


_NOTHING = "nothing: it went where it should"
EXPLANATIONS: dict[Verdict, Explanation] = {
    Verdict.FORWARDED: Explanation("left by the one port that has its destination, or by the uplink", _NOTHING),
    Verdict.FLOODED: Explanation("a group's frame; a copy left by each port of its VLAN", _NOTHING),
    Verdict.TO_HOST: Explanation(
        "from the wire, for the host: to the uplink's own address, or a control protocol as LLDP", _NOTHING
    ),
    Verdict.UNKNOWN_PORT: Explanation(
        "came in by a device that is no port any more, or not yet",
        "seen for a moment at an attach or detach; else `sriov-xdp doctor`",
    ),
    Verdict.LINK_DOWN: Explanation(
        "came in by a port whose link is down", "`vf show` says who has it down; `vf set VF --link-state enable` has it up"
    ),
    Verdict.MALFORMED: Explanation(
        "a header is cut off, its source is a group's address or none, or a super-frame has more than 512 segments",
        "the sender builds broken frames; no port lets them in",
    ),
    Verdict.OVERSIZE: Explanation(
        "longer than the MTU where it entered, or than what its target takes",
        "give the sender the switch's MTU, or raise it: `mtu` of the switch, and of the uplink",
    ),
    Verdict.CONTROL_FRAME: Explanation(
        "a guest spoke LLDP, LACP, EAPOL, STP, PTP or the like, which end at the port; or a PAUSE, from either side",
        "nothing: end the protocol in the guest if its tries disturb",
    ),
    Verdict.VLAN_DENIED: Explanation(
        "its tag is of a kind that its port does not carry (802.1ad where no VLAN is of that kind, or 9100), or names VLAN 4095",
        "tag with 802.1Q where the frame comes from",
    ),
    Verdict.DOUBLE_TAG: Explanation(
        "a tag behind a tag, by which it could get into another VLAN", "send one tag; QinQ is not let in"
    ),
    Verdict.SPOOF_MAC: Explanation(
        "its source is the address of another port of the switch, or of the uplink: refused whatever the policy",
        "two guests with one address, or one that pretends: give one of them another MAC",
    ),
    Verdict.FORGED_SOURCE: Explanation(
        "its source is not the port's effective MAC, and `forged_transmits` says reject",
        "VRRP, a bond: name its addresses in `--allowed-macs`; a nested bridge: those, or `--forged-transmits accept`; after a MAC "
        "change that was not granted, `vf reset`",
    ),
    Verdict.NO_TARGET: Explanation(
        "nobody on this side has its destination in its VLAN, and it came from the wire, or there is no uplink; or a flood without "
        "receivers",
        "from the wire mostly noise of the segment; from a guest look whether destination and VLAN are right, and at `pf show`",
    ),
    Verdict.TARGET_DENIED: Explanation(
        "the port that has its destination has its link down, or is not in its VLAN; or a guest's frame for the host's own address",
        "`vf show` of the target; guests and host do not talk through the uplink's address",
    ),
    Verdict.REDIRECT_ERROR: Explanation(
        "the device did not take it: down, without a carrier, its queue full, or it takes no redirected frames",
        "`ip -s link` of the target's device; a full queue means that the receiver is slower than what is sent to it",
    ),
    Verdict.HAIRPIN: Explanation("its destination is the port that it came from", "the sender talks to itself; nothing comes back"),
    Verdict.STORM: Explanation(
        "a group's frame beyond what the port may send in a second",
        "find what floods in the guest; the limits are `--storm-broadcast-pps` and `--storm-multicast-pps`",
    ),
    Verdict.LOOP: Explanation(
        "a guest's floods come back by another of its ports, and are cut off there; or from the wire with an address of this side",
        "take one of the ports out of the guest's bridge; for bonds over two PFs `wire_own_source: accept`",
    ),
    Verdict.MISSED_STAGE: Explanation(
        "the next program of its way was not there",
        "somebody removed pins: `sriov-xdp doctor`; a restart of the daemon puts them back",
    ),
    Verdict.UNTAGGED: Explanation(
        "a trunk port's guest sent it without a tag, or with a priority tag only, and the port has no VLAN for that",
        "tag it in the guest, or give the port an access VLAN: `--vlan access:N`",
    ),
    Verdict.BLOCKED: Explanation(
        "its port is blocked, or that of its destination", "`port show` says who blocks it; `--block false` or `inherit` ends that"
    ),
    Verdict.SPOOF_VLAN: Explanation(
        "a guest tagged it with a VLAN that its port may not send: any at a port without trunk, one that is not listed at a trunk",
        "give the port the VLAN (`--vlan trunk:...`), or end the tagging in the guest",
    ),
    Verdict.PRIVATE_VLAN: Explanation(
        "its two ports do not meet within their VLAN: one is isolated, or they are of different communities",
        "`port show` of both tells `private_vlan`; nothing, where that is meant",
    ),
    Verdict.NOT_SUBSCRIBED: Explanation(
        "a multicast frame, and no guest that might have got it asked for its group",
        "let the guest's driver ask for the group, or give its port `--flood-multicast true`",
    ),
    Verdict.QUEUE_FULL: Explanation(
        "for a guest that is held to a rate, or from one, whose queue had no room; counted at its own port since it has the rate",
        "`port show` tells `shaping_egress` and `shaping_ingress`: raise the rate, or send less",
    ),
    Verdict.RATE_LIMITED: Explanation(
        "its guest sent more than its port's rate lets pass",
        "`port show` tells `shaping_ingress`: raise the rate or its burst, or send less; TCP needs half a second's burst",
    ),
    Verdict.UPLINK_LOST: Explanation(
        "for the wire, which has no carrier, or whose device is gone",
        "`pf show` and `doctor` tell of the uplink; what guests send to each other goes on where `uplink_loss` is keep_local",
    ),
}
