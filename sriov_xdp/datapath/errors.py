"""Faults of the data path. The kernel or the build is the culprit, never a guest's request."""

from sriov_xdp.faults import Fault


class DataPathError(Fault):
    """Something the data path needs could not be done; the text names the object, what happened and the remedy."""


class CompileError(DataPathError):
    """The C programs could not be compiled or the verifier refused one."""
