"""Batched, seeded augmentation of uint8 images: random crop after zero padding, random mirror."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor


def pad(images: Tensor, padding: int) -> Tensor:
    """Zero-pad images (count, channels, height, width) by `padding` pixels on every side."""
    return F.pad(images, (padding,) * 4)


def random_views(
    padded: Tensor, index: Tensor, generator: torch.Generator, *, padding: int, horizontal_flip: bool
) -> Tensor:
    """Random crops, perhaps mirrored, of some images.

    Args:
        padded: All training images, uint8, padded: (count, channels, height + 2 padding, width + 2 padding).
        index: Which images, shape (batch,).
        generator: CPU generator of the augmentation stream; advanced by this call.
        padding: Pixels of padding on each side.
        horizontal_flip: Mirror each image with probability one half.

    Returns:
        uint8 images, shape (batch, channels, height, width).
    """
    batch = len(index)
    height, width = padded.shape[2] - 2 * padding, padded.shape[3] - 2 * padding
    # Always drawn, used or not: the stream's numbers do not depend on the settings.
    top, left = torch.randint(0, 2 * padding + 1, (2, batch), generator=generator)
    flip = torch.randint(0, 2, (batch,), generator=generator).bool()
    columns = left[:, None] + torch.arange(width)
    if horizontal_flip:
        columns = torch.where(flip[:, None], columns.flip(1), columns)
    rows = top[:, None] + torch.arange(height)
    index, rows, columns = (each.to(padded.device) for each in (index, rows, columns))
    # Advanced indices apart from each other put their axes first: (batch, height, width, channels).
    views = padded[index[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return views.permute(0, 3, 1, 2)


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """uint8 images to float32, per channel (x / 255 - mean) / std; `mean` and `std` have shape (channels,)."""
    scale = 1 / (255 * std)
    return images.float() * scale.view(1, -1, 1, 1) - (mean / std).view(1, -1, 1, 1)
