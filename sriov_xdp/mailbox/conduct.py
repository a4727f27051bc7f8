"""How a VF's driver behaves, over all of its connections: so many invalid messages in a row, and the PF hears nothing but a reset
from it any more, as ice does (ICE_DFLT_NUM_INVAL_MSGS_ALLOWED of ice_virtchnl.c). Pure.
"""

from dataclasses import dataclass

MOST_INVALID = 10


@dataclass(slots=True)
class Conduct:
    """invalid_in_a_row: messages; what is malicious stays so until start_over()."""

    invalid_in_a_row: int = 0

    @property
    def is_malicious(self) -> bool:
        """Whether nothing but a reset is heard."""
        return self.invalid_in_a_row >= MOST_INVALID

    def heard(self, *, is_valid: bool) -> bool:
        """One message more. Returns whether it made the VF malicious."""
        if self.is_malicious:
            return False
        self.invalid_in_a_row = 0 if is_valid else self.invalid_in_a_row + 1
        return self.is_malicious

    def start_over(self) -> None:
        """The VF was reset, or the operator lets it speak again."""
        self.invalid_in_a_row = 0
