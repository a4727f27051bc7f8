"""What happens to uplinks: their devices are looked at, as the kernel has them, when an event names them and each minute.

The kernel is asked beside the writer. For the events; writer thread only.
"""

from collections.abc import Callable

from sriov_xdp.host.links import Link, Links
from sriov_xdp.pf.hands import live, uplinks
from sriov_xdp.pf.hands.context import Context, GoingOn, Steps
from sriov_xdp.pf.verbs import adoption

_MOST_TRIES = 10


class UplinkEvents:
    """walk: starts steps of the writer's own, once however often it is asked to."""

    def __init__(self, context: Context, walk: Callable[[Callable[[], Steps[None]]], None], going_on: GoingOn) -> None:
        self._context = context
        self._walk = walk
        self._going_on = going_on
        self._tries: dict[str, int] = {}
        self._news: dict[str, None] = {}  # PFs, in the order in which events named their uplinks

    def try_again(self) -> None:
        """Uplinks that are there and were not to be had: what is in the way may go by itself, as the programs of a bpffs that was
        unmounted. Some times, and then with the look each minute, as each try may touch the device."""
        for name, pf in self._context.inventory.pfs.items():
            if pf.uplink or not pf.refusal:
                self._tries.pop(name, None)
            elif self._tries.get(name, 0) < _MOST_TRIES:
                self._tries[name] = self._tries.get(name, 0) + 1
                self.look_soon(name)

    def look_soon(self, name: str) -> None:
        """An event named the uplink of this PF. What is looked at already is looked at once more."""
        self._news[name] = None
        self._walk(self.look_at_news)

    def look_at_news(self) -> Steps[None]:
        """The uplinks that events named, each as it is now, however many events there were. Takes its turn."""
        names = list(self._news)
        self._news.clear()
        yield from self._context.turns.take(self.look_at(names))

    def look_at(self, names: list[str]) -> Steps[None]:
        """Uplinks of PFs, one after the other."""
        for name in names:
            with self._going_on(name, "its uplink could not be looked at"):
                yield from self._look_at(name)
            yield None

    def _look_at(self, name: str) -> Steps[None]:
        pf = self._context.inventory.pfs.get(name)
        if pf is None or pf.spec.uplink is None:
            return
        ifindex, wanted = pf.uplink.ifindex if pf.uplink else 0, pf.spec.uplink

        def look(links: Links) -> tuple[Link | None, uplinks.UseByHost, bool]:
            link = links.find(ifindex) if ifindex else None
            return link, uplinks.use_by_host(links, link), not link and links.exists(wanted)

        link, use, is_back = yield from live.beside(self._context, look)
        if self._context.inventory.pfs.get(name) is not pf or (pf.uplink.ifindex if pf.uplink else 0) != ifindex:
            return
        if pf.uplink:
            uplinks.follow(self._context, pf, link)
        if pf.uplink:
            uplinks.follow_host(self._context, pf, use)
        if pf.uplink is None and is_back:
            adoption.take_uplink(self._context, name)
        yield from live.follow_link_states(self._context, name)
