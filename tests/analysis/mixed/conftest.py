"""Models that several files fit: the criterion falls into strata, components cross, one is gated, one does both."""

from __future__ import annotations

import numpy as np
import pytest
from designs import CROSSED, GATED, SPLIT, STUDY, crossed, gated, split, study

from analysis.mixed.fit import Fit, fit
from analysis.mixed.model import Model, build


@pytest.fixture(scope="session")
def models() -> dict[str, Model]:
    """`strata`, `crossed`, `gated`, `split` (some strata) and `plain` (no random part)."""
    table = study(np.random.default_rng(1))
    return {
        "strata": build(STUDY, table),
        "crossed": build(CROSSED, crossed(np.random.default_rng(2))),
        "gated": build(GATED, gated(np.random.default_rng(3))),
        "split": build(SPLIT, split(np.random.default_rng(4))),
        "plain": build("acc_pct ~ student * method", table),
    }


@pytest.fixture(scope="session")
def fits(models: dict[str, Model]) -> dict[str, Fit]:
    """The models by REML."""
    return {name: fit(model) for name, model in models.items()}
