"""How long we wait for what has no right to take long, on machines that are slower than any that people have.

SRIOV_XDP_PATIENCE multiplies time limits; an emulated processor needs 5. For whoever sets a limit on a process of ours.
"""

import os

_NAME = "SRIOV_XDP_PATIENCE"


def patient(seconds: float) -> float:
    """The limit to wait by, instead of seconds. Raises ValueError when the variable is no number from 1 up."""
    text = os.environ.get(_NAME, "1")
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not factor >= 1:
        raise ValueError(f"{_NAME}={text}: expected a number from 1 up; unset it, or set it to how much slower the machine is")
    return seconds * factor
