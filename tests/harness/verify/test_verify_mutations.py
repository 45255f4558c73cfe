"""`harness verify` shown able to fail: a table of changes, each with the exit code and culprit that it deserves.

Changes of the published runs are judged against `yasar2026-v2`; changes of run folders and of a reference, on a small
study and a copy.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from tiny_study import Tiny
from typer.testing import CliRunner

from analysis.errors import TableError
from analysis.runs.table import cell_label
from harness.cli import app
from harness.errors import KdcapError
from harness.verify.reference import find_reference

CULPRIT = "resnet50>resnet34:feature"
CELL = ["teacher", "student", "method"]
Frame = pd.DataFrame
Change = Callable[[Frame], Frame]


def verify(*words: str | Path) -> tuple[int, str]:
    """Exit code and all that is said, as a shell would have them."""
    result = CliRunner().invoke(app, ["verify", *map(str, words)])
    if isinstance(result.exception, KdcapError | TableError):
        return 2, str(result.exception)
    return result.exit_code, " ".join(result.output.split())


def labels(frame: Frame) -> pd.Series:
    """Name of each row's cell."""
    return pd.Series([cell_label(*key) for key in frame[CELL].itertuples(index=False, name=None)], index=frame.index)


def shifted(cell: str, by_pp: float) -> Change:
    """One cell off by so many percentage points."""

    def change(frame: Frame) -> Frame:
        frame.loc[labels(frame) == cell, "test_acc_best"] += by_pp / 100
        return frame

    return change


def all_shifted(by_pp: float) -> Change:
    """Every cell off by as much."""
    return lambda frame: frame.assign(test_acc_best=frame["test_acc_best"] + by_pp / 100)


def inflated(factor: float) -> Change:
    """Every cell's spread around its mean multiplied."""

    def change(frame: Frame) -> Frame:
        means = frame.groupby(CELL)["test_acc_best"].transform("mean")
        return frame.assign(test_acc_best=means + factor * (frame["test_acc_best"] - means))

    return change


def swapped(one: str, other: str, column: str = "test_acc_best") -> Change:
    """Two cells under each other's label, seed by seed; both have the same seeds."""

    def change(frame: Frame) -> Frame:
        here, there = labels(frame) == one, labels(frame) == other
        values = frame.loc[here, column].to_list()
        frame.loc[here, column] = frame.loc[there, column].to_list()
        frame.loc[there, column] = values
        return frame

    return change


def dropped(frame: Frame) -> Frame:
    """Without one run."""
    return frame[~((labels(frame) == CULPRIT) & (frame["seed"] == "3"))]


def doubled(frame: Frame) -> Frame:
    """With one run twice."""
    return pd.concat([frame, frame.iloc[[7]]])


def in_percent(frame: Frame) -> Frame:
    """Percent where fractions belong."""
    return frame.assign(test_acc_best=100 * frame["test_acc_best"])


# change; exit code; culprit, as it must be named
MUTATIONS: dict[str, tuple[Change, int, str]] = {
    "nothing": (lambda frame: frame, 0, "PASS against yasar2026-v2: all 10 cells agree within 0.4 pp"),
    "one cell 0.3 pp down": (shifted(CULPRIT, -0.3), 1, f"FAIL against yasar2026-v2: {CULPRIT} differs by -0.30 pp"),
    "one cell 0.3 pp up": (shifted(CULPRIT, 0.3), 1, f"FAIL against yasar2026-v2: {CULPRIT} differs by +0.30 pp"),
    "one cell 0.5 pp down": (shifted(CULPRIT, -0.5), 1, f"FAIL against yasar2026-v2: {CULPRIT} differs by -0.50 pp"),
    "all cells 0.1 pp down": (all_shifted(-0.1), 1, "the mean over the cells judged is shifted by -0.10 pp"),
    "all cells 0.1 pp up": (all_shifted(0.1), 1, "the mean over the cells judged is shifted by +0.10 pp"),
    "spread times 4": (inflated(4), 1, "the variance of runs is 16 times the reference's"),
    "spread divided by 4": (inflated(0.25), 1, "the variance of runs is 0.062 times the reference's"),
    "R18 baseline for R34 feature": (
        swapped("resnet18:none", CULPRIT), 1, "resnet18:none differs by +0.38 pp",
    ),
    "R34 feature for R18 baseline": (swapped("resnet18:none", CULPRIT), 1, f"{CULPRIT} differs by -0.38 pp"),
    # two cells that do not differ (0.02 pp apart): no checker that looks at accuracies can see it
    "two teachers of R34 feature": (
        swapped("resnet101>resnet34:feature", CULPRIT), 0, "the largest difference is",
    ),
    "a seed dropped": (dropped, 0, f"Seeds of the reference not run for {CULPRIT}: 3."),
    "a run doubled": (doubled, 2, "stands there twice"),
    "percent for fraction": (in_percent, 2, "column test_acc_best: values must be fractions"),
    "another data set": (lambda frame: frame.assign(dataset="digits"), 2, "field dataset: reference yasar2026-v2 has"),
    "another stem": (lambda frame: frame.assign(stem="imagenet"), 2, "field stem of cell"),
    "other epochs": (lambda frame: frame.assign(epochs="200"), 2, "field epochs of cell"),
    "the last checkpoint": (lambda frame: frame.assign(checkpoint="last"), 2, "field checkpoint of this table"),
    "a narrow network": (lambda frame: frame.assign(parameters="176402"), 2, "field parameters of resnet"),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTATIONS)
def test_each_change_has_its_code_and_culprit(name: str, published: Frame, saved: Callable[[Frame], Path]) -> None:
    """Exit code and the words that name what is wrong, on the published runs."""
    change, code, culprit = MUTATIONS[name]
    found, said = verify("--runs", saved(change(published)), "--reference", "yasar2026-v2")
    assert (found, culprit in said) == (code, True), said


def changed_fidelity(frame: Frame) -> Frame:
    """One cell's divergence up by a tenth."""
    row = labels(frame) == CULPRIT
    frame["kl_t1"] = [
        f"{float(value) * 1.1}" if value and hit else value for value, hit in zip(frame["kl_t1"], row, strict=True)
    ]
    return frame  # fmt: skip


@pytest.mark.parametrize(
    ("family", "change", "culprit"),
    [
        ("gains", shifted("resnet18:none", -0.45), "the gain of resnet34>resnet18:feature differs by +0.45 pp"),
        ("claims", shifted("resnet18:none", -0.6), "moderation:feature-none:resnet34-resnet18 differs by -0.60 pp"),
        ("fidelity", changed_fidelity, f"kl_t1 of {CULPRIT} differs by +0.0182 nats"),
    ],
)
def test_every_family_can_fail_and_gate(
    family: str, change: Change, culprit: str, published: Frame, saved: Callable[[Frame], Path], tmp_path: Path
) -> None:
    """Each family finds what concerns it; it decides the exit code where it is named as a gate."""
    verdict = tmp_path / "verdict.json"
    table = saved(change(published))
    code, said = verify("--runs", table, "--reference", "yasar2026-v2", "--gate", family, "--json", verdict)
    assert code == 1
    assert culprit in said
    families = {one["family"]: one for one in json.loads(verdict.read_text())["families"]}
    assert families[family]["verdict"] == "FAIL"
    assert families[family]["gated"]
    assert not families["accuracies"]["gated"]


def test_teachers_can_fail(saved: Callable[[Frame], Path]) -> None:
    """A teacher half a point better than the published one FAILs the family of teachers, which gates if it is asked."""
    frame = pd.read_csv(find_reference("yasar2026-v2") / "runs.csv", dtype=str, keep_default_na=False)
    better = (frame["stage"] == "teachers") & (frame["student"] == "resnet50")
    frame.loc[better, "test_acc_best"] = [f"{float(value) + 0.005:.4f}" for value in frame.loc[better, "test_acc_best"]]
    table = saved(frame[frame["stage"].isin(["teachers", "final"])])
    for gate, expected in (((), 0), (("--gate", "teachers"), 1), (("--gate", "accuracies", "--gate", "teachers"), 1)):
        code, said = verify("--runs", table, "--reference", "yasar2026-v2", *gate)
        assert code == expected
        if gate:
            assert "resnet50:none differs by +0.50 pp" in said
        else:
            assert "teachers FAIL" in said  # told, though it does not decide


def with_teachers() -> Frame:
    """The published teachers and finals, as text."""
    frame = pd.read_csv(find_reference("yasar2026-v2") / "runs.csv", dtype=str, keep_default_na=False)
    return frame[frame["stage"].isin(["teachers", "final"])].reset_index(drop=True)


@pytest.mark.parametrize("field", ["epochs", "stem", "parameters"])
def test_teachers_trained_otherwise_are_refused_not_dropped(field: str, saved: Callable[[Frame], Path]) -> None:
    """A teacher of other epochs, stem or size taught another study; it must not leave its family unseen."""
    frame = with_teachers().assign(parameters="")
    rows = (frame["stage"] == "teachers") & (frame["student"] == "resnet50")
    frame.loc[rows, field] = {"epochs": "201", "stem": "imagenet", "parameters": "1000"}[field]
    frame.loc[rows, "test_acc_best"] = "0.9"
    table = saved(frame)
    code, said = verify("--runs", table, "--reference", "yasar2026-v2", "--gate", "teachers")
    assert code == 2
    assert f"field {field} of" in said
    assert "resnet50" in said
    code, said = verify("--runs", table, "--reference", "yasar2026-v2", "--gate", "teachers", "--allow", field)
    assert code == 1
    assert "resnet50:none differs by" in said


def test_a_blank_does_not_hide_a_cell(published: Frame, saved: Callable[[Frame], Path]) -> None:
    """A cell whose agreement is off cannot leave its family by one blank; a cell without any is named."""
    row = labels(published) == CULPRIT
    published.loc[row, "agreement"] = [f"{float(value) - 0.05}" for value in published.loc[row, "agreement"]]
    first = published.index[row][0]
    whole, gap, none = published.copy(), published.copy(), published.copy()
    gap.loc[first, "agreement"] = ""
    none.loc[row, "agreement"] = ""
    options = ("--reference", "yasar2026-v2", "--gate", "fidelity")
    assert verify("--runs", saved(whole), *options)[0] == 1
    code, said = verify("--runs", saved(gap), *options)
    assert (code, f"column agreement of cell {CULPRIT}" in said) == (2, True)
    code, said = verify("--runs", saved(none), *options)
    assert f"not judged in fidelity: {CULPRIT}" in said


def test_an_override_names_all_that_it_lets_pass(published: Frame, saved: Callable[[Frame], Path]) -> None:
    """One cell with 99 epochs must not cover for others with 3."""
    published["best_epoch"] = "3"
    published.loc[labels(published) == "resnet18:none", "epochs"] = "99"
    published.loc[published["student"] == "resnet34", "epochs"] = "3"
    code, said = verify("--runs", saved(published), "--reference", "yasar2026-v2")
    assert code == 2
    assert "(and 5 more)" in said
    code, said = verify("--runs", saved(published), "--reference", "yasar2026-v2", "--allow", "epochs")
    assert code == 0
    assert "cell resnet18:none: reference yasar2026-v2 has 100, this table says 99" in said
    assert f"cell {CULPRIT}: reference yasar2026-v2 has 100, this table says 3" in said


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame[frame["method"] == "none"],
        lambda frame: frame[frame["student"] == "resnet18"].head(1),
        lambda frame: frame[labels(frame) == CULPRIT],
        lambda frame: frame[["teacher", "student", "method", "seed", "test_acc_best", "dataset", "stem", "epochs"]],
    ],
)
def test_small_tables_have_a_verdict(change: Change, published: Frame, saved: Callable[[Frame], Path]) -> None:
    """Baselines alone, one run, one cell, or the fewest columns: whatever the verdict, it is no error."""
    for gate in ("accuracies", "teachers", "fidelity", "gains", "claims"):
        code, said = verify("--runs", saved(change(published)), "--reference", "yasar2026-v2", "--gate", gate)
        assert code in (0, 1, 3), said


def test_several_checkpoints_are_told(published: Frame, saved: Callable[[Frame], Path]) -> None:
    """They are taken for independent, which a reader must know; the spread of such runs is not compared."""
    taught = published["teacher"] != ""
    first = published.assign(teacher_seed=["0" if one else "" for one in taught])
    both = pd.concat([first, first[taught].assign(teacher_seed="1", weights_sha256="")])
    _, said = verify("--runs", saved(both), "--reference", "yasar2026-v2")
    assert "Cells pool runs from several checkpoints" in said
    assert "variance ratio" not in said


def test_names_that_kdcap_ships_mean_what_it_ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, published: Frame, saved: Callable[[Frame], Path]
) -> None:
    """A checkout under test cannot bring its own `yasar2026-v2`; by a path with a slash it can be asked for."""
    table = saved(published)
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path / "yasar2026-v2", tmp_path / "reference" / "yasar2026-v2"):
        shutil.copytree(find_reference("quick"), folder)
    assert verify("--runs", table, "--reference", "yasar2026-v2")[0] == 0
    code, said = verify("--runs", table, "--reference", "./yasar2026-v2")
    assert (code, "field dataset" in said) == (2, True)


def test_options_that_mean_nothing_are_refused(
    published: Frame, saved: Callable[[Frame], Path], tmp_path: Path
) -> None:
    """A pattern that fits no cell, an unset variable for a file name, runs without --bitwise."""
    table = ("--runs", saved(published), "--reference", "yasar2026-v2")
    for words, said in (
        (("--cells", "resnet50>*", "--cells", "typo*"), "--cells typo*"),
        (("--summary", ""), "expected the name of a file"),
        (("--junit", tmp_path), "expected the name of a file"),
        (("final/resnet18-none-s0",), "--bitwise"),
        (("--bitwise",), "--runs names a table"),
    ):
        code, found = verify(*table, *words)
        assert (code, said in found) == (2, True), found


def test_a_family_without_data_does_not_pass(published: Frame, saved: Callable[[Frame], Path]) -> None:
    """A gate that cannot be judged is INCONCLUSIVE, not open."""
    table = saved(published)  # no rows of teachers
    code, said = verify("--runs", table, "--reference", "yasar2026-v2", "--gate", "teachers")
    assert code == 3
    assert "no runs of stage `teachers`" in said


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda frame: frame.assign(stem="imagenet"), "stem"),
        (lambda frame: frame.assign(epochs="200"), "epochs"),
        (lambda frame: frame.assign(checkpoint="last"), "checkpoint"),
        (lambda frame: frame.assign(parameters="176402"), "parameters"),
    ],
)
def test_an_override_is_printed_everywhere(
    change: Change, field: str, published: Frame, saved: Callable[[Frame], Path], tmp_path: Path
) -> None:
    """`--allow` compares all the same, and every output says so."""
    files = {kind: tmp_path / kind for kind in ("json", "junit", "summary")}
    options = [word for kind, path in files.items() for word in (f"--{kind}", path)]
    table = saved(change(published))
    code, said = verify("--runs", table, "--reference", "yasar2026-v2", "--allow", field, *options)
    assert code == 0
    for text in (said, *(path.read_text() for path in files.values())):
        assert f"--allow {field}" in text


def test_another_margin_is_printed_everywhere(published: Frame, saved: Callable[[Frame], Path], tmp_path: Path) -> None:
    """A margin chosen by the one who asks is no secret, and it decides: 0.1 pp is too narrow for five seeds."""
    files = {kind: tmp_path / kind for kind in ("json", "junit", "summary")}
    options = [word for kind, path in files.items() for word in (f"--{kind}", path)]
    code, said = verify("--runs", saved(published), "--reference", "yasar2026-v2", "--margin", "0.1", *options)
    assert code == 3
    for text in (said, *(path.read_text() for path in files.values())):
        assert "--margin 0.1" in text
    assert verify("--runs", saved(published), "--reference", "yasar2026-v2", "--margin", "-1")[0] == 2


def test_chosen_cells_alone_are_judged(published: Frame, saved: Callable[[Frame], Path]) -> None:
    """A cell that is off is not looked at where others are asked for; a name that fits none is refused."""
    table = saved(shifted(CULPRIT, -0.5)(published))
    code, said = verify("--runs", table, "--reference", "yasar2026-v2", "--cells", "resnet101>*")
    assert code == 0
    assert "the cells judged (2 of the reference's 10) agree" in said
    assert "Left out by --cells: " in said
    code, said = verify("--runs", table, "--reference", "yasar2026-v2", "--cells", "resnet50>*")
    assert code == 1
    code, said = verify("--runs", table, "--reference", "yasar2026-v2", "--cells", "vgg*")
    assert code == 2
    assert "--cells vgg*: no cell" in said


@pytest.fixture
def study(trained: Tiny) -> Path:  # noqa: ARG001 - the fixture makes the study and works in its folder
    """A trained, collected small study with a reference frozen from it: its runs table."""
    assert CliRunner().invoke(app, ["collect"]).exit_code == 0
    table = Path("results/tiny/runs.csv")
    frozen = CliRunner().invoke(app, ["reference", "freeze", "--runs", str(table), "--name", "own", "--margin", "40"])
    assert frozen.exit_code == 0, frozen.output
    return table


def test_an_honest_study_is_checked_against_its_records(study: Path) -> None:
    """Nothing changed: no refusal, and the outputs say that every row was checked."""
    code, said = verify("--runs", study, "--reference", "own")
    assert code == 0
    assert "rows are what their run folders say" in said


def edit_table(study: Path) -> str:
    """One number of the runs table, in its last digit."""
    frame = pd.read_csv(study, dtype=str, keep_default_na=False)
    row = frame.index[frame["stage"] == "final"][-1]
    frame.loc[row, "val_acc"] = "0.5125"
    frame.to_csv(study, index=False)
    return frame.loc[row, "run_id"]


def flip_a_bit(_: Path) -> str:
    """One bit in the middle of a weight file."""
    path = next(Path("runs/tiny/final").glob("*feature*")) / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return f"{path} was changed after it was written"


def edit_record(_: Path) -> str:
    """One number of a record."""
    path = next(Path("runs/tiny/final").glob("*none*")) / "record.json"
    text = path.read_text()
    assert '"best_epoch": ' in text
    path.write_text(text.replace('"best_epoch": 1', '"best_epoch": 2') if '"best_epoch": 1' in text
                    else text.replace('"best_epoch": 2', '"best_epoch": 1'))  # fmt: skip
    return "record.json was edited after it was written"


def take_out_a_run(study: Path) -> str:
    """A row of the runs table removed: a run that differs would be missed."""
    frame = pd.read_csv(study, dtype=str, keep_default_na=False)
    run = frame.loc[frame.index[-1], "run_id"]
    frame[frame["run_id"] != run].to_csv(study, index=False)
    return f"run {run} is recorded beside this table and is not in it"


def rename_a_run(study: Path) -> str:
    """A run's numbers changed, and its folder's name with them."""
    frame = pd.read_csv(study, dtype=str, keep_default_na=False)
    rows = (frame["stage"] == "final") & (frame["method"] == "none") & (frame["seed"] == "1")
    (run,) = frame.loc[rows, "run_id"]
    frame.loc[rows, ["test_acc_best", "run_id"]] = ["0.99", "final/gone-s1"]
    frame.to_csv(study, index=False)
    return f"run {run} is recorded beside this table and is not in it"


@pytest.mark.parametrize("change", [edit_table, flip_a_bit, edit_record, take_out_a_run, rename_a_run])
def test_edited_runs_are_refused(study: Path, change: Callable[[Path], str]) -> None:
    """Files that are not what was written give no verdict; `--allow records` compares all the same, and says so."""
    culprit = change(study)
    code, said = verify("--runs", study, "--reference", "own")
    assert code == 2
    assert culprit in said
    assert "--allow records" in said
    code, said = verify("--runs", study, "--reference", "own", "--allow", "records")
    assert code != 2
    assert "--allow records" in said
    assert culprit in said


@pytest.mark.parametrize("edit", ["runs.csv", "reference.yaml"])
def test_an_edited_reference_is_refused(
    edit: str, tmp_path: Path, published: Frame, saved: Callable[[Frame], Path]
) -> None:
    """Either file of a reference, changed after it was frozen, is found by its digest."""
    folder = tmp_path / "yasar2026-v2"
    shutil.copytree(find_reference("yasar2026-v2"), folder)
    text = (folder / edit).read_text()
    old, new = ("0.9525", "0.9625") if edit == "runs.csv" else ("alpha:\n  total: 0.05", "alpha:\n  total: 0.06")
    assert old in text
    (folder / edit).write_text(text.replace(old, new, 1))
    code, said = verify("--runs", saved(published), "--reference", folder)
    assert code == 2
    assert edit in said
