"""Separate random streams: each use of chance has its own generator, named by purpose, role, seed and epoch.

A stream is derived from its name alone, never from another stream's state. So runs may be cut at any epoch,
reordered or run side by side, and changing how one stream is used leaves the others as they were.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import torch

Purpose = Literal["init", "projections", "order", "augment", "label_noise", "method"]


def stream(purpose: Purpose, *name: str | int) -> torch.Generator:
    """A fresh CPU generator for one purpose.

    Args:
        purpose: What the numbers are for.
        name: What else tells this stream from others: role, seed, epoch, ...

    Returns:
        A generator seeded with the first 63 bits of the SHA-256 of the name.
    """
    text = "/".join(str(part) for part in ("kdcap", purpose, *name))
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
    return torch.Generator().manual_seed(seed)
