"""Batched augmentation against one image at a time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from harness.training.augment import normalise, pad, random_views


def noise(count: int, height: int, width: int) -> Tensor:
    """Images in which no two pixels are alike in all channels, so that a crop has one place only."""
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=seeded(99))


def seeded(seed: int) -> torch.Generator:
    """A generator."""
    return torch.Generator().manual_seed(seed)


def slow_views(images: Tensor, index: Tensor, seed: int, padding: int, *, flip: bool) -> Tensor:
    """Pad, crop and mirror one image after the other, with the draws that the batched version documents."""
    generator = seeded(seed)
    top, left = torch.randint(0, 2 * padding + 1, (2, len(index)), generator=generator).tolist()
    mirrored = torch.randint(0, 2, (len(index),), generator=generator).tolist()
    views = []
    for place, number in enumerate(index.tolist()):
        channels, height, width = images[number].shape
        canvas = torch.zeros(channels, height + 2 * padding, width + 2 * padding, dtype=torch.uint8)
        canvas[:, padding : padding + height, padding : padding + width] = images[number]
        view = canvas[:, top[place] : top[place] + height, left[place] : left[place] + width]
        views.append(torch.flip(view, [2]) if flip and mirrored[place] else view)
    return torch.stack(views)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 4), st.booleans(), st.integers(0, 1000), st.integers(1, 9))
def test_views_are_those_of_a_slow_loop(
    height: int,
    width: int,
    padding: int,
    flip: bool,
    seed: int,
    batch: int,
) -> None:
    """Any size, padding and batch, images repeated or not."""
    images = noise(5, height, width)
    index = torch.randint(0, 5, (batch,), generator=seeded(seed + 1))
    found = random_views(pad(images, padding), index, seeded(seed), padding=padding, horizontal_flip=flip)
    assert found.dtype == torch.uint8
    assert torch.equal(found, slow_views(images, index, seed, padding, flip=flip))


def offsets(images: Tensor, views: Tensor, padding: int) -> list[tuple[int, int, bool]]:
    """Where each view was cut from its padded image, and whether it was mirrored; found by trying every place."""
    height, width = images.shape[2:]
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    found = []
    for canvas, view in zip(padded, views, strict=True):
        places = [
            (top, left, mirrored)
            for top in range(2 * padding + 1)
            for left in range(2 * padding + 1)
            for mirrored in (False, True)
            if torch.equal(
                torch.flip(view, [2]) if mirrored else view, canvas[:, top : top + height, left : left + width]
            )
        ]
        assert len(places) == 1, "a view is a crop of its padded image, in one place"
        found += places
    return found


def test_every_view_is_a_crop_and_every_crop_occurs() -> None:
    """Padding 1 gives 9 places, mirrored or not: 18 views an image, about equally often in 1,800 draws."""
    images = noise(1800, 6, 6)
    views = random_views(pad(images, 1), torch.arange(1800), seeded(0), padding=1, horizontal_flip=True)
    found = offsets(images, views, 1)
    shares = [found.count(place) / 1800 for place in sorted(set(found))]
    assert len(shares) == 18
    # Each share has mean 1/18 and sd sqrt(1/18 * 17/18 / 1800) = 0.0054.
    assert max(abs(share - 1 / 18) for share in shares) < 4.5 * 0.0054


def test_a_view_that_is_no_crop_is_noticed() -> None:
    """The search above fails for a picture with one pixel changed."""
    images = noise(1, 6, 6)
    views = images.clone()
    views[0, 0, 3, 3] ^= 1
    with pytest.raises(AssertionError, match="a crop of its padded image"):
        offsets(images, views, 1)


def test_no_padding_and_no_flip_change_nothing() -> None:
    """The images come back as they are, in the order asked for."""
    images, index = noise(7, 5, 4), torch.tensor([6, 0, 3])
    assert torch.equal(pad(images, 0), images)
    assert torch.equal(random_views(images, index, seeded(0), padding=0, horizontal_flip=False), images[index])


def test_without_flip_nothing_is_mirrored() -> None:
    """A mirrored digit is another character."""
    images = noise(200, 6, 6)
    views = random_views(pad(images, 1), torch.arange(200), seeded(0), padding=1, horizontal_flip=False)
    assert not any(mirrored for _, _, mirrored in offsets(images, views, 1))


def test_the_stream_moves_on_alike_whatever_the_settings() -> None:
    """So that turning the flip off changes no crop, and no later batch."""
    images, index = noise(4, 8, 8), torch.arange(4)
    states = []
    for padding, flip in ((0, False), (1, False), (4, True)):
        generator = seeded(0)
        random_views(pad(images, padding), index, generator, padding=padding, horizontal_flip=flip)
        states.append(generator.get_state())
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])


def test_padding_is_black() -> None:
    """A frame of zeros around every image."""
    padded = pad(torch.full((1, 3, 2, 2), 9, dtype=torch.uint8), 2)
    assert padded.shape == (1, 3, 6, 6)
    assert int(padded.sum()) == 9 * 3 * 4
    assert bool((padded[:, :, 2:4, 2:4] == 9).all())


def test_normalising_is_mean_and_sd_in_units_of_one() -> None:
    """(x / 255 - mean) / sd for every pixel value, in float64; float32 keeps it to 2e-6."""
    mean, std = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2470, 0.2435, 0.2616])
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).repeat(2, 3, 1, 1)
    found = normalise(images, mean, std)
    assert found.dtype == torch.float32
    for channel in range(3):
        expected = (images[:, channel].double() / 255 - mean[channel].double()) / std[channel].double()
        assert float((found[:, channel].double() - expected).abs().max()) < 2e-6
