"""Two noises: seeds vary and test images vary, so an effect has two intervals.

"These images": what other seeds would give on the same test images; every model's own interval. "New images":
what other seeds would give on other test images drawn as these were; wider, and made here from per-image
correctness. Teachers are held fixed in both: a cell's runs share theirs. Where a teacher has several checkpoints, each
one's students are a cell here; the model's own interval holds for other checkpoints, and part of their noise over
images is then counted twice, which errs wide.

Derivation. Let y[r, i] = 100 if run r classifies image i rightly, else 0, for N images. Runs and images are
crossed random effects (Searle, Casella and McCulloch, Variance Components, 1992, ch. 4; Owen, Ann Appl Stat 1,
2007, 386-411, whose effects need be neither normal nor of equal variance). Expectations over seeds and images
split y into uncorrelated parts, for a run r of cell j:

    y[r, i] = mu[j] + I[j, i] + S[r] + E[r, i]      image in this cell, seed, seed x image

The estimate sum_r w[r] mean_i y[r, i] then has variance V = V_S + V_E + V_I, with

    V_S = var(sum_r w[r] S[r])      V_E = var(sum_r w[r] E[r, i]) / N      V_I = var(sum_r w[r] I[j(r), i]) / N

A model of run means sees S + mean_i E differ between seeds: its SE_seed^2 estimates V_S + V_E. The images' effect on
the estimate, d[i] = sum_r w[r] y[r, i], has var_i(d) / N, which estimates V_I + V_E. Hence V_E, which is in both,
goes off once:

    SE_new^2 = SE_seed^2 + var_i(d) / N - C,      C an estimate of V_E

C comes from the layout seeds x images of every cell: e[r, i] = y[r, i] less its run's and its image's mean in
the cell, plus the cell's. With n runs in the cell, E[e e'] is (1 - 1/n) of that of E, so

    C = sum_blocks sum_i (sum_(r in block) w[r] sqrt(n / (n - 1)) e[r, i])^2 / (N (N - 1))

Where every run is its own block this is sum_r w[r]^2 MS(seed x image) / N. Runs of one block (the model's groups, as
student:seed) may share E, as they share S: the blocks must be the model's, since SE_seed^2 holds V_E on its terms.
All sums over images are quadratic forms in the runs' covariance over images, which is computed once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from analysis.inference.estimate import Estimate
from analysis.runs.columns import BASELINE, cell_label, text_of

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

DF_METHOD = "satterthwaite over seeds and images"
_SAME_PP = 1e-6  # a weighted mean of accuracies and the model's estimate differ by rounding alone
_SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Images:
    """What the intervals need of per-image correctness; rows and columns are runs.

    Attributes:
        accuracy_pct: Accuracy of each run, percent.
        covariance_pp2: Covariance over images of 100 * correct between runs (n - 1).
        noise_pp2: The same of the seed x image parts, scaled to the variance of E; between blocks it is 0.
        count: Test images, at least 2.
        df_noise: Degrees of freedom of the seed x image mean square in the smallest cell that has one.
    """

    accuracy_pct: Floats
    covariance_pp2: Floats
    noise_pp2: Floats
    count: int
    df_noise: int


@dataclass(frozen=True)
class ImageNoise:
    """An estimate for new test images.

    Attributes:
        estimate: Same value, standard error of seeds and images together.
        share_images: Share of its variance that the choice of images adds, 0 to 1; the rest is the seeds'.
        n_images: Test images.
        floored: Whether the images' part came out at or below 0, so that it was left out: `estimate` is then
            that for these images, and the true error for new images may be larger.
    """

    estimate: Estimate
    share_images: float
    n_images: int
    floored: bool


@dataclass(frozen=True)
class PairedGain:
    """A distilled cell against its student's baseline, seed by seed, on the same images.

    Attributes:
        teacher: Architecture.
        student: Architecture.
        method: Distillation method.
        checkpoints: Seeds of the teacher's checkpoints, in order; one empty text where they are not known.
        seeds: Seeds that the baseline and every checkpoint's runs have, in order.
        gain_pp: Mean gain over checkpoints and seeds.
        these: Paired t over seeds for these images and checkpoints; None if the seeds' gains do not differ, so that
            there is no interval.
        new: The same for new images; None where `these` is.
        mcnemar_p: For each checkpoint, and each seed with it, the exact two-sided McNemar test of its two networks. It
            speaks of this one pair of networks on new images, not of the method: other seeds may differ.
    """

    teacher: str
    student: str
    method: str
    checkpoints: tuple[str, ...]
    seeds: tuple[int, ...]
    gain_pp: float
    these: Estimate | None
    new: ImageNoise | None
    mcnemar_p: tuple[float, ...]

    @property
    def mcnemar_significant(self) -> int:
        """Seeds whose McNemar test has p below 0.05, in either direction."""
        return sum(p < _SIGNIFICANT for p in self.mcnemar_p)


def images_of(correct: Bools, cells: Sequence[str], blocks: Sequence[str]) -> Images:
    """Sum up per-image correctness, once for all contrasts.

    Args:
        correct: Whether a run (row) classifies an image (column) rightly.
        cells: Each run's teacher with its checkpoint, student and method: another teacher is no other seed.
        blocks: Each run's group in the model that gives the standard errors, as `student:seed`.

    Raises:
        ValueError: Shapes disagree, or there is one image only.
    """
    runs, count = correct.shape
    if not (runs == len(cells) == len(blocks)):
        raise ValueError(f"expected a cell and a block for each of {runs} runs, got {len(cells)} and {len(blocks)}")
    if count < 2:  # noqa: PLR2004 - a variance needs two
        raise ValueError(f"expected at least 2 test images, got {count}")
    covariance = np.atleast_2d(np.cov(100.0 * correct))
    cell, block = np.asarray(cells, dtype=str), np.asarray(blocks, dtype=str)
    same = cell[:, None] == cell[None, :]
    n = same.sum(axis=1)
    # a cell of one run cannot tell seed x image from image: nothing goes off for it, and the interval errs wide
    scale = np.sqrt(np.where(n > 1, n / np.maximum(n - 1, 1), 0.0))
    leave = scale[:, None] * (np.eye(runs) - same / n[:, None])
    noise = np.where(block[:, None] == block[None, :], leave @ covariance @ leave.T, 0.0)
    df_noise = (count - 1) * int(min(n[n > 1], default=2) - 1)
    return Images(100 * correct.mean(axis=1), covariance, noise, count, df_noise)


def new_images(estimate: Estimate, weights: Floats, images: Images) -> ImageNoise:
    """Widen an estimate for these images to one for new images.

    Degrees of freedom by Satterthwaite (Biometrics Bulletin 2, 1946, 110-114) over SE_seed^2, var_i(d) / N and C. One
    of them is subtracted, where the formula holds well only if it is small beside the others (Gaylor and Hopper,
    Technometrics 11, 1969, 691-706): here it is part of both others, and has thousands of degrees of freedom.

    Args:
        estimate: A linear combination of accuracies, pp, with the model's own standard error.
        weights: Its weight of each run: the value is the sum of weights times accuracies in percent.
        images: Correctness of the same runs in the same order.

    Raises:
        ValueError: The weights do not give the estimate's value.
    """
    value = float(weights @ images.accuracy_pct)
    if abs(value - estimate.value) > _SAME_PP:
        raise ValueError(f"the weights must give the estimate {estimate.value:.6f} pp (got {value:.6f} pp)")
    seeds = estimate.se**2
    effect = float(weights @ images.covariance_pp2 @ weights) / images.count
    noise = float(weights @ images.noise_pp2 @ weights) / images.count
    added = effect - noise
    if added <= 0:
        return ImageNoise(estimate, 0.0, images.count, floored=True)
    total = seeds + added
    df = total**2 / (seeds**2 / estimate.df + effect**2 / (images.count - 1) + noise**2 / images.df_noise)
    wider = Estimate(estimate.value, math.sqrt(total), df, DF_METHOD)
    return ImageNoise(wider, added / total, images.count, floored=False)


def paired_gains(final: pd.DataFrame, correct: Bools) -> tuple[PairedGain, ...]:
    """Every distilled cell against its student's baseline, on the same seeds and images.

    Args:
        final: Rows of the final phase (`analysis.runs.table.finals`).
        correct: Whether the run of each row (row) classifies an image (column) rightly.

    Returns:
        A row for each teacher, student and method that shares at least two seeds with its baseline.
    """
    columns = ["teacher", "teacher_seed", "student", "method", "seed"]
    rows = {(str(t), text_of(c), str(s), str(m), int(seed)): place
            for place, (t, c, s, m, seed) in enumerate(final[columns].itertuples(index=False))}  # fmt: skip
    gains = []
    for teacher, student, method in sorted({(t, s, m) for t, _, s, m, _ in rows if m != BASELINE}):
        own = {(c, seed) for t, c, s, m, seed in rows if (t, s, m) == (teacher, student, method)}
        checkpoints = tuple(sorted({c for c, _ in own}))
        seeds = sorted({seed for _, seed in own if ("", "", student, BASELINE, seed) in rows})
        shared = tuple(seed for seed in seeds if all((c, seed) in own for c in checkpoints))
        if len(shared) > 1:
            distilled = [rows[teacher, c, student, method, seed] for c in checkpoints for seed in shared]
            baseline = [rows["", "", student, BASELINE, seed] for seed in shared]
            cell = (teacher, student, method)
            gains.append(_paired(cell, checkpoints, shared, correct[distilled], correct[baseline]))
    return tuple(gains)


def mcnemar(first: Bools, second: Bools) -> Floats:
    """Exact two-sided McNemar test of each row of `first` against that of `second` (McNemar, Psychometrika 12, 1947).

    Of the images that one of two networks alone gets right, each is the first's with probability 1/2.
    """
    only_first = (first & ~second).sum(axis=1)
    discordant = (first ^ second).sum(axis=1)
    fewer = np.minimum(only_first, discordant - only_first)
    return np.asarray(np.minimum(1.0, 2 * stats.binom.cdf(fewer, discordant, 0.5)))


def _paired(
    cell: tuple[str, str, str], checkpoints: tuple[str, ...], seeds: tuple[int, ...], distilled: Bools, baseline: Bools
) -> PairedGain:
    n, images = baseline.shape
    alone = np.tile(baseline, (len(checkpoints), 1))
    # whole images, so that equal gains are equal to the last digit
    each = (distilled.sum(axis=1) - alone.sum(axis=1)) * (100 / images)
    each = each.reshape(len(checkpoints), n).mean(axis=0)
    gain_pp = float(each.mean())
    these, new = None, None
    if np.ptp(each) > 0:
        these = Estimate(gain_pp, float(each.std(ddof=1)) / math.sqrt(n), float(n - 1), "paired seeds")
        # a checkpoint's students are a cell of their own: another teacher is no other seed
        names = [f"{cell_label(*cell)}:{c}" for c in checkpoints for _ in seeds] + [
            cell_label("", cell[1], BASELINE)
        ] * n
        blocks = [str(seed) for seed in (*seeds * len(checkpoints), *seeds)]
        weights = np.repeat([1 / len(distilled), -1 / n], [len(distilled), n])
        new = new_images(these, weights, images_of(np.vstack([distilled, baseline]), names, blocks))
    p_values = tuple(float(p) for p in mcnemar(distilled, alone))
    return PairedGain(*cell, checkpoints, seeds, gain_pp, these, new, p_values)
