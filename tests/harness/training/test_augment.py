"""Batched augmentation against one image at a time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from harness.training.augment import (
    Views,
    crop,
    draw_views,
    normalise,
    numbered_views,
    pad,
    view_count,
    view_number,
)


def noise(count: int, height: int, width: int) -> Tensor:
    """Images in which no two pixels are alike in all channels, so that a crop has one place only."""
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=seeded(99))


def seeded(seed: int) -> torch.Generator:
    """A generator."""
    return torch.Generator().manual_seed(seed)


def random_crops(images: Tensor, index: Tensor, seed: int, padding: int, *, flip: bool) -> Tensor:
    """Views of some images, drawn and cut."""
    views = draw_views(len(index), seeded(seed), padding)
    return crop(pad(images, padding), index, views, padding=padding, horizontal_flip=flip)


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


@given(
    images=st.integers(1, 5),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    padding=st.integers(0, 4),
    flip=st.booleans(),
    seed=st.integers(0, 1000),
    batch=st.integers(1, 9),
)
def test_views_are_those_of_a_slow_loop(
    images: int, height: int, width: int, padding: int, flip: bool, seed: int, batch: int
) -> None:
    """Any size, padding and batch, images repeated or not."""
    pool = noise(images, height, width)
    index = torch.randint(0, images, (batch,), generator=seeded(seed + 1))
    found = random_crops(pool, index, seed, padding, flip=flip)
    assert found.dtype == torch.uint8
    assert torch.equal(found, slow_views(pool, index, seed, padding, flip=flip))


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
    views = random_crops(images, torch.arange(1800), 0, 1, flip=True)
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
    assert torch.equal(random_crops(images, index, 0, 0, flip=False), images[index])


def test_without_flip_nothing_is_mirrored() -> None:
    """A mirrored digit is another character."""
    images = noise(200, 6, 6)
    views = random_crops(images, torch.arange(200), 0, 1, flip=False)
    assert not any(mirrored for _, _, mirrored in offsets(images, views, 1))


def test_the_stream_moves_on_alike_whatever_the_padding() -> None:
    """So that a setting changes no draw of a later use."""
    states = []
    for padding in (0, 1, 4):
        generator = seeded(0)
        draw_views(4, generator, padding)
        states.append(generator.get_state())
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])


def test_turning_the_mirror_off_changes_no_crop() -> None:
    """The same places are cut; only mirroring them is left out."""
    images, index, views = noise(50, 6, 6), torch.arange(50), draw_views(50, seeded(0), 1)
    mirrored, plain = (crop(pad(images, 1), index, views, padding=1, horizontal_flip=flip) for flip in (True, False))
    undone = torch.where(views.flip[:, None, None, None], mirrored.flip(3), mirrored)
    assert torch.equal(undone, plain)
    assert not torch.equal(mirrored, plain)


def test_drawing_leaves_the_global_generator_alone() -> None:
    """Only the stream that was given moves on."""
    before = torch.get_rng_state()
    draw_views(100, seeded(0), 4)
    assert torch.equal(torch.get_rng_state(), before)


@given(padding=st.integers(0, 5), flip=st.booleans())
def test_every_view_has_a_number_of_its_own(padding: int, flip: bool) -> None:
    """All places, mirrored or not where images are mirrored, are numbered from 0 without a gap, and found again."""
    places = range(2 * padding + 1)
    top, left, mirrored = torch.cartesian_prod(
        torch.tensor(places), torch.tensor(places), torch.tensor([0, 1] if flip else [0])
    ).T
    views = Views(top, left, mirrored.bool())
    number = view_number(views, padding=padding, horizontal_flip=flip)
    assert number.dtype == torch.int64
    assert sorted(number.tolist()) == list(range(view_count(padding, flip)))
    again = numbered_views(number, padding=padding, horizontal_flip=flip)
    for found, expected in ((again.top, top), (again.left, left), (again.flip, mirrored.bool())):
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)


def test_views_with_one_number_look_alike() -> None:
    """A view's number tells its pixels: without mirroring, views that differ in `flip` alone share one."""
    images, views = noise(1, 6, 6), draw_views(400, seeded(0), 1)
    index = torch.zeros(400, dtype=torch.int64)
    for flip, count in ((True, 18), (False, 9)):
        assert view_count(1, flip) == count
        drawn = crop(pad(images, 1), index, views, padding=1, horizontal_flip=flip)
        number = view_number(views, padding=1, horizontal_flip=flip)
        assert number.unique().tolist() == list(range(count))
        again = numbered_views(number, padding=1, horizontal_flip=flip)
        assert torch.equal(crop(pad(images, 1), index, again, padding=1, horizontal_flip=flip), drawn)


def test_the_paper_has_162_views() -> None:
    """Padding 4 with mirror images: 9 x 9 places, twice."""
    assert view_count(4, True) == 162


def test_a_part_of_views_is_cut_like_the_whole() -> None:
    """An epoch's views are drawn at once and used a batch at a time."""
    images, views, index = noise(10, 5, 7), draw_views(10, seeded(3), 2), torch.arange(10)
    assert len(views) == 10
    assert len(views[4:]) == 6
    whole = crop(pad(images, 2), index, views, padding=2, horizontal_flip=True)
    for part in (slice(0, 4), slice(4, 8), slice(8, None)):
        found = crop(pad(images, 2), index[part], views[part], padding=2, horizontal_flip=True)
        assert torch.equal(found, whole[part])


def test_images_leave_ready_for_channels_last_convolutions() -> None:
    """Cropping and normalising keep the memory format, so that no step copies its images into another."""
    images = crop(pad(noise(5, 8, 8), 1), torch.arange(5), draw_views(5, seeded(0), 1), padding=1, horizontal_flip=True)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert normalise(images, torch.ones(3), torch.ones(3)).is_contiguous(memory_format=torch.channels_last)


def test_a_step_needs_nothing_from_the_host() -> None:
    """On a device that holds no numbers, all is computed there: nothing is read back, nothing comes from elsewhere."""
    nowhere = torch.device("meta")
    padded, index, views = (
        pad(noise(5, 8, 8), 1).to(nowhere),
        torch.arange(5, device=nowhere),
        draw_views(5, seeded(0), 1),
    )
    images = crop(padded, index, views.to(nowhere), padding=1, horizontal_flip=True)
    assert images.shape == (5, 3, 8, 8)
    assert view_number(views.to(nowhere), padding=1, horizontal_flip=True).device == nowhere
    with pytest.raises(RuntimeError, match="device"):
        crop(padded, index, views, padding=1, horizontal_flip=True)


def test_images_laid_out_otherwise_are_refused() -> None:
    """`crop` never copies all images in each step to lay them out anew."""
    with pytest.raises(RuntimeError, match="view"):
        crop(noise(5, 8, 8), torch.arange(5), draw_views(5, seeded(0), 0), padding=0, horizontal_flip=False)


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
