"""Which rows estimate the same thing, and which of them counts.

A model's name says how its rows came about: `primary` is the fit, `primary:refit` the same after a singular fit
without the zero variance, and `...:new-images` the row that counts with an interval for other test images.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeVar

from analysis.results import Contrast, EmMean, Fidelity

REFIT, NEW_IMAGES = "refit", "new-images"
MODERATION, GAINS = ("moderation", "feature-logit"), ("gains", "pair-gains")  # families of contrasts

Estimated = TypeVar("Estimated", Contrast, Fidelity)


class Estimand(NamedTuple):
    """What makes two contrasts estimates of the same thing; the refit estimates what the fit does."""

    model: str
    metric: str
    subset: str
    contrast: str


def plain_model(model: str) -> str:
    """Name of a model, whichever of its fits is meant."""
    return model.partition(":")[0]


def is_refit(model: str) -> bool:
    """Whether this is a refit without the variances that were estimated as zero."""
    return REFIT in model.split(":")[1:]


def is_for_new_images(model: str) -> bool:
    """Whether intervals are for other test images."""
    return NEW_IMAGES in model.split(":")[1:]


def estimand(row: Contrast | Fidelity) -> Estimand:
    """The estimand of a row."""
    return Estimand(plain_model(row.model), row.metric, row.subset, row.contrast)


def that_count(rows: Iterable[Estimated]) -> dict[Estimand, Estimated]:
    """The row of each estimand that claims rest on, for these test images: the refit where there is one."""
    found: dict[Estimand, Estimated] = {}
    for row in rows:
        if not is_for_new_images(row.model) and (is_refit(row.model) or estimand(row) not in found):
            found[estimand(row)] = row
    return found


def means_that_count(rows: Iterable[EmMean]) -> tuple[EmMean, ...]:
    """The estimated means over all runs that claims rest on."""
    whole = [row for row in rows if row.subset == "all"]
    refitted = [row for row in whole if is_refit(row.model)]
    return tuple(refitted or whole)


def beside(rows: Iterable[Contrast]) -> list[Contrast]:
    """Rows for these test images, the fits of one estimand next to each other, else in their order."""
    groups: dict[Estimand, list[Contrast]] = {}
    for row in rows:
        if not is_for_new_images(row.model):
            groups.setdefault(estimand(row), []).append(row)
    return [row for group in groups.values() for row in group]
