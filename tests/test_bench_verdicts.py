"""The published operating characteristics of `harness verify` are those of its code, and its errors are kept."""

from __future__ import annotations

import json
import math
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from analysis.replication.judge import Bools
from analysis.replication.spread import weights
from analysis.study.simulation import Share
from bench import verdicts
from bench.__main__ import main
from bench.verdicts import Case, Published, Row
from harness.verify import families
from harness.verify.cells import labels_of, layout_of
from harness.verify.comparable import Comparable
from harness.verify.reference import METRIC, Reference, read_reference

PAGE = Path("docs/verify.md")
OUTCOMES = ("fail", "pass", "inconclusive")
Figures = dict[tuple[str, str, str, int], tuple[float, ...]]  # percent of each outcome, by table, case, ICC and seeds


def figures(text: str) -> Figures:
    """The figures of all tables of a page."""
    block = verdicts.BLOCK.search(text)
    assert block is not None
    found: Figures = {}
    for name, title in verdicts.TITLES.items():
        table = block[0].partition(f"{title}:\n\n")[2].partition("\n\n")[0]
        head, _, *lines = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
        for case, icc, *cells in lines:
            for seeds, cell in zip(head[2:], cells, strict=True):
                found[name, case, icc, int(seeds.split()[0])] = tuple(float(part) for part in cell.split(" / "))
    return found


def draws_of(text: str) -> int:
    """Pairs of studies behind each figure of a page."""
    told = re.search(r"percent of ([\d,]+) pairs", text)
    assert told is not None
    return int(told[1].replace(",", ""))


def agree(share: Share, documented_pct: float, draws: int) -> bool:
    """Whether a simulated share is likely if the documented one, give or take rounding and its error, is the truth."""
    p = documented_pct / 100
    slack = 0.0005 + 3 * math.sqrt(p * (1 - p) / draws)
    too_many = stats.binom.sf(share.count - 1, share.draws, min(p + slack, 1.0))
    too_few = stats.binom.cdf(share.count, share.draws, max(p - slack, 0.0))
    return bool(min(too_many, too_few) > 1e-5)  # there are hundreds of figures


def keeps_to_five_percent(share: Share) -> bool:
    """Whether false FAILs are at most 5%, within three Monte-Carlo errors."""
    return share.errors_from(0.05) < 3


def outcomes(judged: tuple[Bools, Bools]) -> list[str]:
    """FAIL and PASS of each pair in words."""
    return ["FAIL" if fails else "PASS" if passes else "INCONCLUSIVE" for fails, passes in zip(*judged, strict=True)]


@pytest.fixture(scope="module")
def reference() -> Reference:
    """The published runs and their rule."""
    return read_reference(verdicts.REFERENCE)


@pytest.fixture(scope="module")
def study() -> Published:
    """The study that is simulated."""
    return verdicts.published()


@pytest.fixture(scope="module")
def simulated() -> list[Row]:
    """Every row of the tables, from few pairs of studies and another seed than the documented ones."""
    return list(verdicts.measure(400, seed=7))


@pytest.fixture(scope="module")
def page() -> str:
    """The page with the documented figures."""
    return PAGE.read_text(encoding="utf-8")


def false_fails(case: Case, study: Published, icc: float, seeds: int, draws: int = 1500) -> Share:
    """How often a case ends in FAIL."""
    drawn = verdicts.draw(study, icc, seeds, draws, seed=1)
    return Share(int(verdicts.judged(case, drawn, study, seeds)[0].sum()), draws)


@pytest.mark.parametrize("seeds", verdicts.SEEDS)
def test_an_exact_replicate_fails_in_at_most_five_percent(study: Published, seeds: int) -> None:
    """At each ICC; a rule with twice the errors is caught, and so is a judge who takes cells for independent."""
    case, independent = verdicts.cases(study)["replicate"]
    for icc in case.iccs:
        assert keeps_to_five_percent(false_fails(case, study, icc, seeds))
    assert not keeps_to_five_percent(false_fails(independent, study, 0.3, seeds))
    rule = case.rule
    doubled = replace(
        rule,
        alpha_members=2 * rule.alpha_members,
        alpha_shift=2 * rule.alpha_shift,
        alpha_spread=2 * rule.alpha_spread,
    )
    assert not keeps_to_five_percent(false_fails(replace(case, rule=doubled), study, study.icc, seeds))


def test_documented_false_fails_are_at_most_five_percent(page: str) -> None:
    """Exact replicates, by accuracies, gains and contrasts, and moved means where the rule assumes them."""
    draws, checked = draws_of(page), 0
    for (name, case, icc, seeds), (fail, *_) in figures(page).items():
        independent = case == "cells taken for independent"
        kept = keeps_to_five_percent(Share(round(fail / 100 * draws), draws))
        if "as the rule then assumes" in case or (name in ("replicate", "effects") and not independent):
            assert kept, (name, case, icc, seeds)
            checked += 1
        elif independent and icc == "0.300":
            assert not kept
    assert checked == 5 * (3 + 2 + 9)


def test_a_cell_off_by_the_margin_seldom_passes(page: str) -> None:
    """Each of the two one-sided tests errs with 5%, so documented wrong PASSes are at most that."""
    draws = draws_of(page)
    wrong = [found[1] for key, found in figures(page).items() if key[1].endswith("the margin")]
    assert len(wrong) == len(verdicts.SEEDS)
    assert all(keeps_to_five_percent(Share(round(pct / 100 * draws), draws)) for pct in wrong)


def test_documented_figures_are_those_of_the_code(simulated: list[Row], page: str) -> None:
    """Every figure of docs/verify.md is found again within Monte-Carlo error, and the page has no others.

    Those of a study with fewer seeds would not do.
    """
    documented, draws = figures(page), draws_of(page)
    assert draws == 20_000
    found = {(row.table, row.case, f"{row.icc:.3f}", row.seeds): row for row in simulated}
    assert found.keys() == documented.keys()
    off = [
        (key, outcome)
        for key, row in found.items()
        for outcome, pct in zip(OUTCOMES, documented[key], strict=True)
        if not agree(row.shares[outcome], pct, draws)
    ]
    assert not off
    key = ("different", "one cell lower by 0.3 pp", "0.097", 5)
    assert not agree(found[key].shares["fail"], documented[*key[:3], 3][0], draws)


def test_some_documented_figures_are_found_to_the_digit(study: Published, page: str) -> None:
    """The same draws give them again, at five seeds and the fitted ICC, and a slightly different rule does not."""
    documented, draws = figures(page), draws_of(page)
    drawn = verdicts.draw(study, study.icc, 5, draws)

    def found_pct(case: Case) -> list[float]:
        fails, passes = verdicts.judged(case, drawn, study, 5)
        return [100 * fails.mean(), 100 * passes.mean(), 100 * (~fails & ~passes).mean()]

    of = {name: found[0] for name, found in verdicts.cases(study).items()}
    for name, case in of.items():
        # 0.06: rounding, and a pair of studies or two that another machine's last bits may move
        assert found_pct(case) == pytest.approx(documented[name, case.name, f"{study.icc:.3f}", 5], abs=0.06)
    other = replace(of["different"], rule=replace(study.accuracies, alpha_members=0.025))
    assert abs(found_pct(other)[0] - documented["different", other.name, f"{study.icc:.3f}", 5][0]) > 1


def test_the_reference_cards_words_agree(reference: Reference, study: Published, page: str) -> None:
    """Its shares of honest replicates that would FAIL, were every cell moved by 0.05 or 0.10 pp, stand on the page."""
    told = re.search(r"(\d+)% or (\d+)% of honest replicates", reference.card.between_study_note)
    assert told is not None
    documented, draws = figures(page), draws_of(page)
    for sd, pct in zip(("0.05", "0.10"), told.groups(), strict=True):
        now = documented["moved", f"every cell by {sd} pp", f"{study.icc:.3f}", 5][0]
        error = 100 * math.sqrt(2 * now / 100 * (1 - now / 100) / draws)  # both were simulated 20,000 times
        assert abs(now - int(pct)) <= 3 * error + 0.5  # 0.5: the card has whole percents


def test_the_layout_is_the_published_one(reference: Reference, study: Published) -> None:
    """Five simulated seeds weigh as the published ones do, and scatter as the page says."""
    rows = reference.finals
    real, ours = weights(layout_of(rows, study.cells)), weights(study.layout(5))
    np.testing.assert_allclose(ours.noise, real.noise)
    np.testing.assert_allclose(ours.seed, real.seed)
    assert len(study.cells) == 10
    assert study.distilled.sum() == 8
    # by split-plot analysis of the ten cells: mean squares 0.026103 (5 cells a group) and 0.016952
    assert study.total_variance_pp2 == pytest.approx(0.016952 + (0.026103 - 0.016952) / 5, abs=2e-6)
    assert (round(math.sqrt(study.total_variance_pp2), 3), round(study.icc, 3)) == (0.137, 0.097)


def test_draws_have_the_variance_and_the_icc_asked_for(study: Published) -> None:
    """Runs of one student and seed share the ICC, other runs nothing; both studies of a pair are drawn anew."""
    drawn = verdicts.draw(study, 0.3, 2, 20_000, seed=3)
    of = study.layout(2)
    covariance = np.cov(drawn.new_pp, rowvar=False) / study.total_variance_pp2
    expected = 0.3 * np.equal.outer(of.group, of.group) + 0.7 * np.eye(20)
    assert np.abs(covariance - expected).max() < 0.05  # five errors of a variance
    across = drawn.reference_pp.T @ drawn.new_pp / 20_000 / study.total_variance_pp2
    assert np.abs(across).max() < 0.04


@pytest.mark.parametrize("shift_pp", [0.0, 0.2, -0.35])
def test_simulated_studies_are_judged_as_tables_are(reference: Reference, study: Published, shift_pp: float) -> None:
    """The same runs as a table, against the published ones, get the same verdicts from `harness.verify`."""
    size, cell, known = 4, study.layout(5).cell, reference.finals
    known = known.iloc[np.lexsort((known["seed"].to_numpy(), np.array(labels_of(known))))]
    assert labels_of(known) == [study.cells[c] for c in cell]
    known_pct = families.ACCURACY.of(known)
    drawn = verdicts.draw(study, study.icc, 5, size, seed=8)
    new_pct = drawn.new_pp + known_pct.reshape(10, 5).mean(axis=1)[cell] + shift_pp * (cell == 4)
    pairs = replace(drawn, reference_pp=np.tile(known_pct, (size, 1)), new_pp=new_pct)
    of_accuracies = verdicts.cases(study)["replicate"][0]
    of_gains = verdicts.cases(study)["effects"][0]
    tables = [
        Comparable(study.cells, study.cells, known.assign(**{METRIC: y / 100}), known.iloc[:0], ()) for y in new_pct
    ]
    accuracies = [families.accuracies(table, reference, reference.card.rule, ()).verdict for table in tables]
    gains = [families.gains(table, reference, ()).verdict for table in tables]
    assert outcomes(verdicts.judged(of_accuracies, pairs, study, 5)) == accuracies
    assert outcomes(verdicts.judged(of_gains, pairs, study, 5)) == gains
    assert len({*accuracies, *gains}) > 1


def test_the_command_writes_the_page_and_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it prints stands between the markers, the rest stays; JSON has each share with its error."""
    page, found = tmp_path / "page.md", tmp_path / "found.json"
    page.write_text("before\n<!-- printed by: python -m bench verdicts -->\nold\n<!-- end of print -->\nafter\n")
    monkeypatch.setattr(verdicts, "SEEDS", (2,))
    monkeypatch.setattr(sys, "argv", ["bench", "--json", str(found), "verdicts", "--draws", "50", "--page", str(page)])
    main()
    printed = capsys.readouterr()
    text = page.read_text()
    assert printed.out in text
    assert text.startswith("before\n")
    assert text.endswith("<!-- end of print -->\nafter\n")
    assert "old" not in text
    assert re.search(r"rows in \d+ seconds", printed.err)
    rows = json.loads(found.read_text())["verdicts"]
    assert len(rows) == len(figures(text))
    assert all(sum(row[f"{outcome}_pct"] for outcome in OUTCOMES) == pytest.approx(100) for row in rows)
    first = rows[0]
    assert first["fail_mc_se_pct"] == pytest.approx(math.sqrt(first["fail_pct"] * (100 - first["fail_pct"]) / 50))


@pytest.mark.parametrize("text", ["no markers", None])
def test_a_page_without_markers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    """Before minutes of simulation, with a sentence; and so is one that is not there."""
    page = tmp_path / "page.md"
    if text:
        page.write_text(text)
    monkeypatch.setattr(sys, "argv", ["bench", "verdicts", "--page", str(page)])
    with pytest.raises(SystemExit, match=r"page\.md: expected a page with the markers .* found none; copy them"):
        main()
