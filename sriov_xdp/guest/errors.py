"""Why the VF driver could not do what it was asked."""


class VfDriverError(Exception):
    """No mailbox, no device, or the PF did not answer; the text has the remedy."""
