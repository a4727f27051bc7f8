"""Why the VF driver could not do what it was asked."""

from sriov_xdp.faults import Fault


class VfDriverError(Fault):
    """No mailbox, no device, or the PF did not answer; the text has the remedy."""
