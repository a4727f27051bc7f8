"""What a VF asks its PF to receive for beside its own address: what the guest wants, less what was granted; what the guest gave up
is given back.

Pure; one address a request, as one that is refused would refuse all. Stations come first: where one is refused while multicast
groups are held, which count against the same quota and which a port hears anyway by default, the groups are given back for it.
"""

from dataclasses import dataclass

RETRY_SECONDS = 60.0  # a policy may be another one by then


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: to receive for an address, or no more."""

    mac: bytes
    is_wanted: bool


class Receiving:
    """Of one VF."""

    def __init__(self) -> None:
        self._granted: set[bytes] = set()
        self._refused: dict[bytes, float] = {}
        self._has_no_room_for_groups = False

    @property
    def granted(self) -> frozenset[bytes]:
        """What the PF said yes to."""
        return frozenset(self._granted)

    def start_over(self) -> None:
        """The device was reset, or the PF is another one: nothing is granted any more, and all is asked anew."""
        self._granted.clear()
        self._refused.clear()
        self._has_no_room_for_groups = False

    def next(self, wanted: frozenset[bytes], now_seconds: float) -> Ask | None:
        """The request to make now; None when there is none. wanted: all that the guest's interface is asked to receive."""
        wanted = frozenset(mac for mac in wanted if not (self._has_no_room_for_groups and is_group(mac)))
        for mac in sorted(self._granted - wanted):
            return Ask(mac, is_wanted=False)
        self._refused = {mac: until for mac, until in self._refused.items() if mac in wanted and until > now_seconds}
        missing = sorted(wanted - self._granted - self._refused.keys(), key=lambda mac: (is_group(mac), mac))
        return Ask(missing[0], is_wanted=True) if missing else None

    def answered(self, ask: Ask, *, is_success: bool, now_seconds: float) -> None:
        """What the PF said to it."""
        if not ask.is_wanted:
            self._granted.discard(ask.mac)
        elif is_success:
            self._granted.add(ask.mac)
        elif not is_group(ask.mac) and any(map(is_group, self._granted)):
            self._has_no_room_for_groups = True
        else:
            self._refused[ask.mac] = now_seconds + RETRY_SECONDS


def is_group(mac: bytes) -> bool:
    """Whether it is no station's."""
    return bool(mac[0] & 1)
