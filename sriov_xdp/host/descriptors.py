"""How many files this process may have open."""

import resource


def raise_limit() -> int:
    """Takes all that the host grants: the soft limit becomes the hard one. Returns it."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def limit() -> int:
    """The limit now."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
