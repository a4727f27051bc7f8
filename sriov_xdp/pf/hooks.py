"""Programs on devices: which kind runs where, by tcx link where the kernel has them, by clsact filter otherwise.

The tc program is on every port, always, attached first; XDP comes on top. Nothing here is believed for having been done once:
missing() asks the kernel. Attaching makes the kernel wait, so it runs beside the writer where guests are being served. For the
pf package.
"""

from sriov_xdp.datapath import libbpf
from sriov_xdp.datapath.libbpf import XDP_FLAGS_DRV_MODE, AttachType
from sriov_xdp.datapath.pins import Pins
from sriov_xdp.host import clsact

VF_TC, VF_XDP = "tc_vf", "xdp_vf"
_UPLINK_PROGRAMS = ("tc_uplink", "xdp_uplink")
TC_PROGRAMS = ("tc_vf", "tc_uplink")  # by which a filter is known as ours
TC_KIND, TCX, CLSACT = "tc", "tcx", "clsact"  # how tc programs are attached, as the state says it to the next start


class Hooks:
    """Of one folder of pins. has_tcx: how tc programs are attached; former_kind: how an earlier run did, None when nobody said."""

    def __init__(self, pins: Pins, *, has_tcx: bool, former_kind: str | None) -> None:
        self._pins = pins
        self.has_tcx = has_tcx
        # Whether devices may have programs of the other kind. Filters must be asked for, half a millisecond each, and do no harm
        # behind a link; a link is a name, and would come before a filter.
        self.may_have_other_kind = not has_tcx or former_kind != self.tc_kind

    @property
    def tc_kind(self) -> str:
        """How tc programs are attached, in a word."""
        return TCX if self.has_tcx else CLSACT

    def attach_tc(self, name: str, program: str, ifindex: int) -> None:
        """The tc program on a device. Raises DataPathError, HostError."""
        if self.has_tcx:
            self._pins.attach(f"{name}_tc", program, ifindex, AttachType.TCX_INGRESS)
        else:
            clsact.attach(ifindex, self._pins.program_fd(program), program, TC_PROGRAMS)

    def attach_xdp(self, name: str, program: str, ifindex: int) -> None:
        """The XDP program in a device's driver. Raises DataPathError."""
        self._pins.attach(f"{name}_xdp", program, ifindex, AttachType.XDP, flags=XDP_FLAGS_DRV_MODE)

    def has_xdp(self, name: str) -> bool:
        """Whether a device runs the XDP program, from an earlier run too."""
        return self._pins.has_link(f"{name}_xdp")

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

    def leave_other_tc_kind(self, name: str, ifindex: int) -> None:
        """When an earlier run attached its tc programs the other way."""
        if self.has_tcx:
            clsact.detach(ifindex, TC_PROGRAMS)
        else:
            self._pins.detach(f"{name}_tc")

    def missing(self, name: str, tc_program: str, xdp_program: str | None, ifindex: int) -> list[str]:
        """Which of the programs that must run on a device do not, as the kernel says. Raises DataPathError, HostError."""
        found = []
        if self.has_tcx:
            runs_tc = self._pins.runs(f"{name}_tc", tc_program, ifindex)
        else:
            runs_tc = clsact.program_ids(ifindex).get(tc_program) == self._pins.id_of(tc_program)
        if not runs_tc:
            found.append(tc_program)
        if xdp_program and not self._pins.runs(f"{name}_xdp", xdp_program, ifindex):
            found.append(xdp_program)
        return found

    def is_held(self, name: str, tc_program: str, ifindex: int) -> bool:
        """Whether a program of ours, of whichever build and kind, holds what enters a device: then there is no gap until the right
        one replaces it. Raises DataPathError, HostError."""
        return self._pins.is_on(f"{name}_tc", ifindex) or tc_program in clsact.program_ids(ifindex)

    def foreign_owner(self, name: str, ifindex: int, xdp_program_id: int) -> str | None:
        """What shows that another daemon of this product serves a device: its program there; None when there is none."""
        found = {program: number for program, number in self._on_device(ifindex, xdp_program_id) if number}
        ours = self._pins.own_program_ids() | {self._pins.program_of(f"{name}_tc"), self._pins.program_of(f"{name}_xdp")}
        for program, number in sorted(found.items()):
            if program.startswith(_UPLINK_PROGRAMS) and number not in ours:
                return f"program {program} (id {number})"
        return None

    @staticmethod
    def _on_device(ifindex: int, xdp_program_id: int) -> list[tuple[str, int]]:
        numbers = [xdp_program_id, *libbpf.attached_programs_if_any(ifindex, AttachType.TCX_INGRESS)]
        return [*((libbpf.program_name(number) or "", number) for number in numbers), *clsact.program_ids(ifindex).items()]
