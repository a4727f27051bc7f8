"""A configuration that is on trial: what was before comes back unless somebody says in time that it stays. Pure; what is done about
it is in verbs/confirmation.
"""

from dataclasses import dataclass

MOST_SECONDS = 86_400


@dataclass(slots=True, kw_only=True)
class Trial:
    """boot: the boot of the host in which it began; due: when its time is over, in seconds of the kernel's clock since that boot;
    next_try: not before then, as it could not be taken back the last time, for what trouble says; retry_seconds: and then after
    so long again, which grows."""

    fingerprint: str
    boot: str
    due: float
    next_try: float = 0.0
    retry_seconds: float = 5.0
    trouble: str = ""

    def is_over(self, boot: str, now: float) -> bool:
        """Whether it is to be taken back now."""
        return (boot != self.boot or now >= self.due) and now >= self.next_try
