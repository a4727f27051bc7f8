"""Why frames of a port take no fast way: a closed list, a word for each flag of a port that keeps them from it (enum sxdp_plain in
bpf/abi/numbers.h, which a test compares). For `port show` and metrics. Pure.
"""

from collections.abc import Mapping

from sriov_xdp.datapath.abi import PortFlag

_DOWN = "link down"
_BOTH = {
    PortFlag.TRUNK: "trunk",
    PortFlag.SERVICE: "802.1ad",
    PortFlag.BLOCKED: "blocked",
    PortFlag.WATCHED: "watched",
}
SENDS: Mapping[PortFlag, str] = {
    **_BOTH,
    PortFlag.JUMBO: "jumbo MTU",
    PortFlag.POLICED: "policed",
    PortFlag.SHAPED: "shaped",
    PortFlag.COPIED: "promiscuous port in its VLAN",
    PortFlag.VEPA: "VEPA",
    PortFlag.SPEAKS: "shared address",
}
RECEIVES: Mapping[PortFlag, str] = {
    **_BOTH,
    PortFlag.AWAY: "no carrier",
    PortFlag.NARROW: "lower MTU",
    PortFlag.PRIVATE: "private VLAN",
    PortFlag.QUEUED: "shaped",
    PortFlag.LOST: "no wire",  # of the uplink's port only
}


def reasons(flags: PortFlag) -> dict[str, list[str]]:
    """By direction, as the switch sees it from the guest: what it sends, and what it receives. Empty: its frames take the fast way,
    where the other port's do."""
    down = [] if PortFlag.LINK_UP in flags else [_DOWN]
    return {
        direction: [*down, *(word for flag, word in words.items() if flag in flags)]
        for direction, words in (("sends", SENDS), ("receives", RECEIVES))
    }
