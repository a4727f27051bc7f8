"""Why an operator's command was not carried out. The class tells the kind of failure, the text subject, observation and
remedy."""

from sriov_xdp.datapath.errors import DataPathError
from sriov_xdp.host.errors import HostError
from sriov_xdp.store.errors import StoreError


class PfError(Exception):
    """Base; by itself: the host or the data path failed."""


class NotFound(PfError):
    """The command names something that is not there."""


class Refused(PfError):
    """The policy does not allow it."""


class Conflict(PfError):
    """It contradicts what is there, or another change is under way."""


class Invalid(PfError):
    """The command itself makes no sense."""


FAULTS = (HostError, DataPathError, PfError, StoreError, OSError)
"""What may go wrong with one object while the others are served on."""
