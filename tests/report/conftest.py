"""The sample study's page, rendered once for all tests that only read it."""

from __future__ import annotations

import pytest
import sample_study

from report.render import render


@pytest.fixture(scope="session")
def page() -> str:
    """The page of the hand-made study."""
    return render(sample_study.analysis(), sample_study.runs(), sample_study.context())
