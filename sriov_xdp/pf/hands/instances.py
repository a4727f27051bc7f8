"""Whose devices and filters are whose: an instance is a daemon's state, by a random name that marks carry. For the pf package."""

import socket

from sriov_xdp.datapath.marks import Marks
from sriov_xdp.host import bpffs
from sriov_xdp.host.claim import Claimed, claim, is_claimed
from sriov_xdp.pf.errors import Conflict


def _name(instance: str) -> str:
    return f"sriov-xdp/instance/{instance}"


def claim_instance(instance: str) -> socket.socket:
    """One daemon an instance in a network namespace, where its devices are: one that has a copy of the state, with folders of its
    own, would take them over. Raises Conflict."""
    try:
        return claim(_name(instance))
    except Claimed as error:
        text = f"instance {instance}: another daemon serves it, so this state is a copy of its state ({error})"
        raise Conflict(f"{text}; stop that one first, or start this one with an empty state directory") from error


def is_served(instance: str) -> bool:
    """Whether a daemon of it runs, or its pins are on a bpffs that is mounted here, so that one may come back to them. A clsact
    filter outlives both. Raises OSError."""
    return is_claimed(_name(instance)) or any(Marks(folder).instance() == instance for folder in bpffs.folders())
