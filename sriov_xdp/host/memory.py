"""The C library's heap."""

import ctypes

_libc = ctypes.CDLL(None)


def give_memory_back() -> None:
    """Returns free heap pages to the kernel: attaching many VFs leaves holes that would else count as ours for good. Does
    nothing where the C library has no malloc_trim (musl)."""
    trim = getattr(_libc, "malloc_trim", None)
    if trim is not None:
        trim(0)
