"""What is known of the running kernel: whether a frame of several buffers may pass XDP on a veth.

A veth copies a frame above one buffer (3,520 bytes) into page_pool fragments before any XDP program sees it. Without the fix
"page_pool: keep frag_offset aligned for odd-sized requests", a last piece of odd length makes the next frame's head odd, and
veth takes bit 0 of that pointer for a flag of its own: a guest can end the host. Only conversion does harm, whatever the
program says, so a device that may take such frames must run no XDP. Pure but for read(); for the pf and doctor.
"""

import platform
import re
from dataclasses import dataclass

# Stable branch → first release with the fix. A branch that is not here is taken for unfixed.
FIXED_IN: dict[tuple[int, int], int] = {(6, 12): 115}
# Before it XDP takes a frame of several buffers, but cannot redirect it: the frame is lost, and no tracepoint tells.
REDIRECTS_SINCE = (6, 3)
_DEBIAN = re.compile(r"\bDebian (\d+)\.(\d+)\.(\d+)-")
_RELEASE = re.compile(r"(\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class JumboXdp:
    """Whether veths may take frames above one XDP buffer while they run XDP; because: the observation behind it."""

    is_allowed: bool
    because: str


def version(release: str, build: str) -> tuple[int, int, int] | None:
    """The stable release behind `uname -r` and `uname -v`. Debian's release name keeps its first number over an ABI, so
    its build text, which names the package, is what counts there. None when neither tells."""
    found = _DEBIAN.search(build) or _RELEASE.match(release)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def jumbo_xdp(release: str, build: str) -> JumboXdp:
    """By `uname -r` and `uname -v`."""
    known = version(release, build)
    name = ".".join(str(part) for part in known) if known else release
    if known and known[:2] < REDIRECTS_SINCE:
        return JumboXdp(
            is_allowed=False, because=f"kernel {name} loses frames of several buffers that XDP redirects, as all before 6.3"
        )
    fixed_in = FIXED_IN.get(known[:2]) if known else None
    if known and fixed_in is not None and known[2] >= fixed_in:
        return JumboXdp(is_allowed=True, because=f"kernel {name} carries the page_pool fix of {known[0]}.{known[1]}.{fixed_in}")
    return JumboXdp(is_allowed=False, because=f"kernel {name} is not known to carry the page_pool fix, without which it can panic")


def read() -> JumboXdp:
    """Of the running kernel."""
    return jumbo_xdp(platform.release(), platform.version())
