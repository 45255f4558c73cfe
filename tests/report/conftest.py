"""The sample study's reports, rendered once for all tests that only read them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sample_study
from browser import Browser

from report.render import Rendered, render


@pytest.fixture(scope="session")
def rendered() -> Rendered:
    """The report of the hand-made study."""
    return render(sample_study.analysis(), sample_study.runs(), sample_study.context())


@pytest.fixture(scope="session")
def page(rendered: Rendered) -> str:
    """Its page."""
    return rendered.html


@pytest.fixture(scope="session")
def full() -> Rendered:
    """The same study's with curves, a verification, and a title that looks like markup."""
    return render(sample_study.analysis(), sample_study.runs(), sample_study.full_context())


@pytest.fixture(scope="session")
def singular_page() -> str:
    """The page of the same study after a singular fit."""
    return render(sample_study.singular(), sample_study.runs(), sample_study.context()).html


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for all tests."""
    with Browser() as running:
        yield running


@pytest.fixture(scope="session")
def file(page: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page as a file."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page, encoding="utf-8")
    return path
