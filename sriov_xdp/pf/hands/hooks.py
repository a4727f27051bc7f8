"""Programs on devices: which kind runs where, by tcx link where the kernel has them, by clsact filter otherwise.

The tc program is on every port, always, attached first; XDP comes on top. A port is held by a filter first, which is there at
once, where a tcx link waits for a grace period of RCU with every other change of a device behind it; it is settled later
(settling), when the link takes the filter's place: the link's program runs first, so no frame passes between the two. Nothing
here is believed for having been done once: missing() asks the kernel. For the pf package.
"""

from dataclasses import dataclass

from sriov_xdp.datapath import libbpf
from sriov_xdp.datapath.libbpf import XDP_FLAGS_DRV_MODE, AttachType
from sriov_xdp.datapath.pins import Pins
from sriov_xdp.host import clsact
from sriov_xdp.pf.hands.instances import is_served

VF_TC, VF_XDP = "tc_vf", "xdp_vf"
_UPLINK_PROGRAMS = ("tc_uplink", "xdp_uplink")
TC_PROGRAMS = ("tc_vf", "tc_uplink")  # by which a filter is known as ours


class Hooks:
    """Of one folder of pins. instance: named by each filter, as a filter outlives its program's pins, and even its daemon's state.
    has_tcx: how tc programs are attached in the end."""

    def __init__(self, pins: Pins, instance: str, *, has_tcx: bool) -> None:
        self._pins = pins
        self._instance = instance
        self.has_tcx = has_tcx

    def hold(self, name: str, program: str, ifindex: int) -> None:
        """This build's tc program on a device, without a wait: in the link that is there, else by a filter. Raises
        DataPathError, HostError."""
        if self._pins.is_on(f"{name}_tc", ifindex):
            self._pins.attach(f"{name}_tc", program, ifindex, AttachType.TCX_INGRESS)
        else:
            self._attach_filter(program, ifindex)

    def _attach_filter(self, program: str, ifindex: int) -> None:
        clsact.attach(ifindex, self._pins.program_fd(program), f"{program} {self._instance}", TC_PROGRAMS)

    def settle(self, name: str, program: str, ifindex: int, *, is_ours: bool) -> None:
        """The tc program by the kind that is meant, and by no other. Makes the kernel wait. is_ours: the device, with whose end its
        qdisc ends. Raises DataPathError, HostError; then the device is held as it was."""
        if self.has_tcx:
            self._pins.attach(f"{name}_tc", program, ifindex, AttachType.TCX_INGRESS)
            remove = clsact.remove_filter if is_ours else clsact.detach
            remove(ifindex, TC_PROGRAMS)
        else:
            self._attach_filter(program, ifindex)
            self._pins.detach(f"{name}_tc")

    def is_settled(self, name: str, ifindex: int) -> bool:
        """Whether settle() has nothing to do. A filter that a run left behind a link, as it died between the two, is not looked
        for: it does nothing there. Raises DataPathError."""
        return self._pins.is_on(f"{name}_tc", ifindex) is self.has_tcx

    def attach_xdp(self, name: str, program: str, ifindex: int) -> None:
        """The XDP program in a device's driver. Raises DataPathError."""
        self._pins.attach(f"{name}_xdp", program, ifindex, AttachType.XDP, flags=XDP_FLAGS_DRV_MODE)

    def has_xdp(self, name: str) -> bool:
        """Whether a device runs the XDP program, from an earlier run too."""
        return self._pins.has_link(f"{name}_xdp")

    def is_xdp_on(self, name: str, ifindex: int) -> bool:
        """Whether a device runs an XDP program of ours, of whichever build. Raises DataPathError."""
        return self._pins.is_on(f"{name}_xdp", ifindex)

    def detach_xdp(self, name: str) -> None:
        """Leaves the tc program alone on the device."""
        self._pins.detach(f"{name}_xdp")

    def detach_all(self, name: str, ifindex: int) -> None:
        """Everything off a device that stays: the host's. A device that is gone took its programs along; the pins still go."""
        self.forget(name)
        clsact.detach(ifindex, TC_PROGRAMS)  # a run that died between two kinds may have left one

    def forget(self, name: str) -> None:
        """The pins of a device that went, with its programs."""
        self._pins.detach(f"{name}_xdp")
        self._pins.detach(f"{name}_tc")

    def missing(self, name: str, tc_program: str, xdp_program: str | None, ifindex: int) -> list[str]:
        """Which of the programs that must run on a device do not, as the kernel says. Raises DataPathError, HostError."""
        found = []
        running = self._pins.program_on(f"{name}_tc", ifindex)
        if not running:
            running = _first_filter_id(ifindex, tc_program)
        if running != self._pins.id_of(tc_program) and not self._pins.is_attached(tc_program, ifindex, AttachType.TCX_INGRESS):
            found.append(tc_program)
        if xdp_program and not (
            self._pins.runs(f"{name}_xdp", xdp_program, ifindex) or self._pins.is_attached(xdp_program, ifindex, AttachType.XDP)
        ):
            found.append(xdp_program)
        return found

    def pin_again(self, name: str, tc_program: str, xdp_program: str | None, ifindex: int) -> None:
        """What runs on a device and lost its pin, as where bpffs was unmounted, gets one. Raises DataPathError, OSError."""
        wanted = [(f"{name}_tc", tc_program, AttachType.TCX_INGRESS, 0)]
        if xdp_program:
            wanted.append((f"{name}_xdp", xdp_program, AttachType.XDP, XDP_FLAGS_DRV_MODE))
        for pin, program, kind, flags in wanted:
            if not self._pins.has_link(pin) and self._pins.is_attached(program, ifindex, kind):
                self._pins.attach(pin, program, ifindex, kind, flags=flags)

    def is_held(self, name: str, tc_program: str, ifindex: int) -> bool:
        """Whether a program of ours, of whichever build and kind, holds what enters a device: then there is no gap until the right
        one replaces it. Raises DataPathError, HostError."""
        return self._pins.is_on(f"{name}_tc", ifindex) or tc_program in _filter_ids(ifindex)

    @staticmethod
    def is_held_by_anybody(ifindex: int) -> bool:
        """Whether any tc program, whoever's, judges what enters a device, but for filters that are left of a daemon whose pins are
        gone. Raises HostError, DataPathError, OSError."""
        return bool(libbpf.attached_programs_if_any(ifindex, AttachType.TCX_INGRESS) or filters_in_service(ifindex))

    def foreign_owner(self, name: str, ifindex: int, xdp_program_id: int) -> str | None:
        """What shows that another daemon of this product serves a device: its program there; None when there is none. A filter of
        this instance is ours also when its pins are gone."""
        found = {program: number for program, number in self._on_device(ifindex, xdp_program_id) if number}
        ours = self._pins.own_program_ids() | {self._pins.program_of(f"{name}_tc"), self._pins.program_of(f"{name}_xdp")}
        for program, number in sorted(found.items()):
            if program.startswith(_UPLINK_PROGRAMS) and number not in ours:
                return f"program {program} (id {number})"
        return None

    def foreign_xdp(self, name: str, xdp_program_id: int) -> str | None:
        """The XDP program on a device, when it is none of this daemon's; None when there is none, or ours."""
        ours = self._pins.own_program_ids() | {self._pins.program_of(f"{name}_xdp")}
        if not xdp_program_id or xdp_program_id in ours:
            return None
        return f"XDP program {libbpf.program_name(xdp_program_id) or 'without a name'} (id {xdp_program_id})"

    def _on_device(self, ifindex: int, xdp_program_id: int) -> list[tuple[str, int]]:
        numbers = [xdp_program_id, *libbpf.attached_programs_if_any(ifindex, AttachType.TCX_INGRESS)]
        others = [one for one in filters_in_service(ifindex) if one.instance != self._instance]
        return [*((libbpf.program_name(number) or "", number) for number in numbers), *((one.program, one.id) for one in others)]


@dataclass(frozen=True, slots=True)
class Filter:
    """A tc filter as its name tells it. instance: empty of somebody else's, and of earlier versions'."""

    program: str
    instance: str
    id: int


def filters_on(ifindex: int) -> list[Filter]:
    """All on a device; empty of one that has none, or is gone."""
    return [Filter(*name.partition(" ")[::2], number) for name, number in clsact.program_ids(ifindex).items()]


def filters_in_service(ifindex: int) -> list[Filter]:
    """Without those whose daemon does not run, and whose pins are nowhere. Raises OSError."""
    return [one for one in filters_on(ifindex) if not one.instance or is_served(one.instance)]


def _first_filter_id(ifindex: int, program: str) -> int:
    """Of the filter that comes first, if it holds this program; 0 else."""
    name, number = clsact.first(ifindex) or ("", 0)
    return number if name.partition(" ")[0] == program else 0


def _filter_ids(ifindex: int) -> dict[str, int]:
    """By programs."""
    return {one.program: one.id for one in filters_on(ifindex)}
