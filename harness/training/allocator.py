"""Lets the C library keep the memory that a step frees for the next step: fewer page faults, and the same bits."""

from __future__ import annotations

import ctypes

# <malloc.h>. mallopt(3): M_MMAP_MAX 0 "disables the use of mmap(2) for servicing large allocation requests";
# M_TRIM_THRESHOLD is "the minimum size of the top of the heap" at which memory goes back to the system.
# The threshold of mmap alone would not do: mallopt(3) allows 32 MiB at most, the size of the largest activations of a
# full-size network at batch 128.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_LARGEST = 2**31 - 1


def keep_memory() -> bool:
    """Tell glibc, for the rest of this process, to serve large blocks from a heap that it keeps.

    By default each activation of some megabytes is a mapping of its own, made and zeroed in every step.

    Returns:
        Whether it was done: False where the C library is not glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return all(mallopt(name, value) == 1 for name, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _LARGEST)))
