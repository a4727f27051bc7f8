"""Why an operator's command was not carried out. The class tells the kind of failure and the exit code, the text subject,
observation and remedy."""

from sriov_xdp.faults import Fault


class PfError(Fault):
    """Base; by itself: the host or the data path failed."""


class NotFound(PfError):
    """The command names something that is not there."""

    exit_code = 3


class Refused(PfError):
    """The policy does not allow it."""

    exit_code = 4


class Conflict(PfError):
    """It contradicts what is there, or another change is under way."""

    exit_code = 5


class Invalid(PfError):
    """The command itself makes no sense."""


class Incomplete(PfError):
    """Some guests did not get what was asked for; everybody else did. exit_code: of the first fault; missing: names of the
    adapters."""

    def __init__(self, text: str, exit_code: int, missing: tuple[str, ...] = ()) -> None:
        super().__init__(text)
        self.exit_code, self.missing = exit_code, missing


FAULTS = (Fault, OSError)
"""What may go wrong with one object while the others are served on."""
