"""A VF in use, as the PF controller knows it: what was given to whom, and what is observed of its devices. A value that changes in
place; for the inventory and who serves the VF.
"""

from dataclasses import dataclass, field
from enum import Enum

from sriov_xdp.pf.state.intent import Attachment, Datapath, VfAddress
from sriov_xdp.vswitch.decision import VfState


class Stage(Enum):
    """How far a VF is. Only one that is IN_SERVICE is held to what its hooks must be; a PLANNED one has no device yet."""

    PLANNED = "planned"
    CHANGING = "changing"
    IN_SERVICE = "in service"


@dataclass(frozen=True, slots=True)
class Hop:
    """The pair of devices on the host that what a shaped guest sends goes through: its frames wait in near's queue, and come out of
    far. By ifindexes."""

    near: int
    far: int


@dataclass(slots=True)
class AttachedVf:
    """A VF in use. active: the program kind that is attached now, and why. is_settled: whether its tc program is attached by the
    kind of hook that is meant. is_open: whether its representor was put up last. lag: why its device could not follow its port
    yet, "" when it could; link_lag: why its representor could not follow the uplink. hop: that is ready for its guest's
    frames. cut_for_loop_with: the other VF of a loop through the guest, because of which this one takes no part in floods.
    watched_until: how long somebody wants to see its frames, 0 = nobody does. was_present: whether a station could be reached
    there, as was published last."""

    attachment: Attachment
    state: VfState
    active: Datapath
    active_reason: str
    stage: Stage = Stage.PLANNED
    is_settled: bool = False
    is_open: bool = False
    lag: str = ""
    link_lag: str = ""
    has_carrier: bool = True
    guest_runs_xdp: bool = False
    is_restless: bool = False  # its guest's XDP program comes and goes, and is not followed until it rests
    hop: Hop | None = None
    cut_for_loop_with: VfAddress | None = None
    watched_until: float = 0.0
    was_present: bool = False
    guest_features_before: dict[str, bool] = field(default_factory=dict)

    @property
    def address(self) -> VfAddress:
        """pf0vf3."""
        return self.attachment.vf
