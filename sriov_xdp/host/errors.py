"""Faults of the host: the kernel refused, or the operator named something that is not there."""

from sriov_xdp.faults import Fault


class HostError(Fault):
    """A change of the host could not be made; the text names subject, observation and remedy."""


class LinkMissing(HostError):
    """The named network device does not exist."""
