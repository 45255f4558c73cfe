"""A collected runs table is held against its run folders: edits are named, and what has no record is not refused."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tiny_study import Tiny
from typer.testing import CliRunner

from harness import parallel
from harness.cli import app
from harness.store import store
from harness.store.record import RunRecord
from harness.tables import read_runs
from harness.verify.records import RecordsCheck, check_records

TABLE, STORE = Path("results/tiny/runs.csv"), Path("runs/tiny")
BASELINE = "final/resnet18-none-s1"  # stands in `final` alone
FEATURE = "final/resnet34-resnet18-feature-a0.5-t0-s1"
SHARED = "final/resnet18-none-s0"  # stands in `stem_ablation` too
NO_RECORDS = (
    "Not checked against run records, as no row has one beside this table: nothing shows that its numbers are those "
    "that training wrote."
)


@pytest.fixture(autouse=True)
def _collected(trained: Tiny) -> None:  # noqa: ARG001 - the fixture makes the study and works in its folder
    """Every test begins with a table as `harness collect` writes it: 15 rows of 11 runs."""
    assert CliRunner().invoke(app, ["collect"]).exit_code == 0


@pytest.fixture
def folders_read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The run folders that the check reads, in order."""
    folders: list[Path] = []

    def read(folder: Path) -> RunRecord:
        folders.append(folder)
        return store.read(folder)

    monkeypatch.setattr("harness.verify.records.read", read)
    return folders


def checked(path: Path = TABLE) -> RecordsCheck:
    """The table as it lies there, held against its records."""
    return check_records(path, read_runs(path))


def lines() -> list[dict[str, str]]:
    """The table's rows as text."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write(rows: list[dict[str, str]], path: Path = TABLE) -> None:
    """Write rows as a table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def edit(run_id: str, column: str, change: Callable[[str], str]) -> tuple[str, str]:
    """Change a cell of every row of one run; returns what stood there and what stands there now."""
    rows, values = lines(), []
    for row in rows:
        if row["run_id"] == run_id:
            values.append((row[column], change(row[column])))
            row[column] = values[-1][1]
    write(rows)
    return values[0]


def last_digit(text: str) -> str:
    """The next number above, which differs in the last bit."""
    return repr(math.nextafter(float(text), math.inf))


def other(value: Any) -> Any:  # noqa: ANN401 - a cell of any kind
    """Another value of the same kind; of an empty cell, one that is not."""
    if isinstance(value, bool):
        return not value
    if pd.isna(value):
        return 0.5
    if isinstance(value, float):
        return math.nextafter(value, math.inf)
    return value + 1 if isinstance(value, int) else f"{value[:-1]}#"


# --- what passes ------------------------------------------------------------------------------------------------------


def test_an_honest_table_passes_whole() -> None:
    """Every row of every stage was held against its record, and there is nothing to say."""
    found = checked()
    assert (found.rows, found.checked, found.problems, found.unlisted) == (15, 15, (), ())
    assert found.note == ""


def test_each_run_folder_is_read_once(folders_read: list[Path]) -> None:
    """Weights are large: 11 folders are hashed for 15 rows."""
    assert checked().problems == ()
    assert len(folders_read) == len({*folders_read}) == 11


@pytest.mark.parametrize("path", ["runs.csv", "../tiny/runs.csv", "../../results/tiny/runs.csv"])
def test_where_one_stands_does_not_matter(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The records are beside the table's `results`, however the path is written."""
    monkeypatch.chdir(TABLE.parent)
    assert checked(Path(path)).checked == 15


def test_another_writer_of_the_same_values_is_no_edit() -> None:
    """Rows in another order and numbers in another form are the same table."""
    rows = [row | {"seed": f"{row['seed']}.0", "test_acc_best": f"{row['test_acc_best']}e0"} for row in lines()]
    write(rows[::-1])
    found = checked()
    assert (found.checked, found.problems) == (15, ())


# --- an edited table --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["test_acc_best", "kl_t4", "seconds", "latency_ms_batch128"])
def test_a_last_digit_is_enough(column: str) -> None:
    """One number of the table: the problem names run, stage and column, with both values to the last digit."""
    before, after = edit(FEATURE, column, last_digit)
    assert before != after
    found = checked()
    assert found.checked == 15
    assert found.problems == (
        f"run {FEATURE}, stage final, column {column}: the table says {after}, the run's record {before}",
    )


def test_no_column_can_be_edited() -> None:
    """Each in turn, by one digit, one letter or a value where there was none: one problem, and it names the column."""
    runs = read_runs(TABLE)
    for run_id in (FEATURE, BASELINE):
        (row,) = runs.index[runs["run_id"] == run_id]
        for column in [name for name in runs.columns if name not in ("stage", "run_id")]:
            edited = runs.astype(object)
            edited.loc[row, column] = other(edited.loc[row, column])
            (problem,) = check_records(TABLE, edited).problems
            assert problem.startswith(f"run {run_id}, stage final, column {column}: the table says ")


def test_an_emptied_cell_is_an_edit() -> None:
    """A run whose openings are not told would not be judged by them."""
    edit(BASELINE, "test_openings", lambda _: "")
    assert checked().problems == (
        f"run {BASELINE}, stage final, column test_openings: the table says nothing, the run's record 2",
    )


def test_a_column_that_was_taken_out_is_an_edit() -> None:
    """Of every row; only the rule of the checkpoint may be left unsaid, as in tables of before it was a column."""
    write([{name: value for name, value in row.items() if name != "ece"} for row in lines()])
    assert len(checked().problems) == 15
    assert CliRunner().invoke(app, ["collect"]).exit_code == 0
    write([{name: value for name, value in row.items() if name != "checkpoint"} for row in lines()])
    assert checked().problems == ()


def test_another_checkpoint_rule_than_the_records_is_an_edit() -> None:
    """`harness collect` knows one rule."""
    write([row | {"checkpoint": "best-test"} for row in lines()])
    problems = checked().problems
    assert len(problems) == 15
    assert "column checkpoint: the table says best-test, the run's record best-validation" in problems[0]


def test_an_edit_of_a_shared_run_is_named_in_both_stages() -> None:
    """Its rows agree with each other, as the schema wants, and not with the record."""
    edit(SHARED, "test_acc_final", last_digit)
    problems = checked().problems
    assert [problem.partition(", column")[0] for problem in problems] == [
        f"run {SHARED}, stage final",
        f"run {SHARED}, stage stem_ablation",
    ]


def test_a_run_under_anothers_name_is_found() -> None:
    """Two run_ids that changed places: the numbers are those of the other."""
    swap = {BASELINE: FEATURE, FEATURE: BASELINE}
    write([row | {"run_id": swap.get(row["run_id"], row["run_id"])} for row in lines()])
    problems = checked().problems
    assert any(f"run {FEATURE}, stage final, column method: the table says none" in problem for problem in problems)
    assert any(f"run {BASELINE}, stage final, column weights_sha256" in problem for problem in problems)


@pytest.mark.parametrize("stage", ["stem_ablation", "select"])
def test_a_run_that_was_moved_out_of_its_stage_is_found(stage: str) -> None:
    """A final run elsewhere is no longer judged."""
    edit(BASELINE, "stage", lambda _: stage)
    (problem,) = checked().problems
    assert problem.startswith(f"run {BASELINE} stands first in stage {stage}; ")
    assert "final" in problem.partition(";")[2]


@pytest.mark.parametrize("run_id", ["", "my run"])
def test_a_row_that_hides_its_run_is_found(run_id: str) -> None:
    """Among collected rows, one without a run folder's name is none of them."""
    edit(BASELINE, "run_id", lambda _: run_id)
    found = checked()
    assert (found.checked, found.unlisted) == (14, ())
    left_out, problem = found.problems
    assert left_out == f"run {BASELINE} is recorded beside this table and is not in it"
    assert problem.startswith("stage final, resnet18:none, seed 1: column run_id must be PHASE/NAME")
    assert problem.endswith(f"(found {run_id or 'nothing'})")


# --- edited folders ---------------------------------------------------------------------------------------------------


def test_a_flipped_bit_of_the_weights_is_found() -> None:
    """In a file of which the table has the digest alone; the store's own sentence names it, once a run."""
    weights = STORE / SHARED / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    found = checked()
    assert found.checked == 15
    assert found.problems == (f"{weights.absolute()} was changed after it was written",)


def test_an_edited_run_is_found_among_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large table run folders are read by several processes: one changed byte, and one changed cell, are named."""
    monkeypatch.setattr(parallel, "FEWEST", 2)
    honest = checked()
    assert (honest.checked, honest.problems) == (15, ())
    path = STORE / FEATURE / "correct_last.bin"
    path.write_bytes(bytes([path.read_bytes()[0] ^ 128]) + path.read_bytes()[1:])
    edit(BASELINE, "val_acc", last_digit)
    (file,) = [problem for problem in checked().problems if FEATURE in problem]
    (cell,) = [problem for problem in checked().problems if problem != file]
    assert file.endswith(f"{path} was changed after it was written")
    assert f"run {BASELINE}, stage final, column val_acc" in cell


def test_an_edited_record_is_found() -> None:
    """Also where the table tells the same story."""
    path = STORE / BASELINE / "record.json"
    content = json.loads(path.read_text())
    content["test_best"]["accuracy"] = 1.0
    path.write_text(json.dumps(content, indent=1) + "\n")
    edit(BASELINE, "test_acc_best", lambda _: "1.0")
    (problem,) = checked().problems
    assert problem == f"{path.parent.absolute()}: record.json was edited after it was written"


def test_folders_that_changed_places_are_found() -> None:
    """Each is whole, and is not the run that the table names."""
    (STORE / BASELINE).rename(STORE / "aside")
    (STORE / SHARED).rename(STORE / BASELINE)
    (STORE / "aside").rename(STORE / SHARED)
    assert any(
        problem == f"run {BASELINE}, stage final, column run_id: the table says {BASELINE}, the run's record {SHARED}"
        for problem in checked().problems
    )


def test_a_folder_without_record_is_found() -> None:
    """It was a run folder once."""
    (STORE / BASELINE / "record.json").unlink()
    assert checked().problems == (f"{(STORE / BASELINE / 'record.json').absolute()} is missing",)


# --- what has no record -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("copy", ["mine.csv", "results/runs.csv", "results/other/runs.csv", "elsewhere/tiny/runs.csv"])
def test_a_copied_table_is_noted(copy: str) -> None:
    """Its records are not beside it, whatever its numbers: nothing is refused, and a note says so."""
    edit(FEATURE, "test_acc_best", last_digit)
    write(lines(), Path(copy))
    found = checked(Path(copy))
    assert (found.rows, found.checked, found.problems) == (15, 0, ())
    assert found.note == NO_RECORDS


def test_a_table_of_another_trainer_is_noted() -> None:
    """Even where `harness collect` would put its own: it names no run folder, so it is not held against any."""
    columns = ("student", "method", "seed", "test_acc_best")
    write(
        [{name: row[name] for name in columns} for row in lines() if (row["stage"], row["method"]) == ("final", "none")]
    )
    found = checked()
    assert (found.rows, found.checked, found.problems) == (2, 0, ())
    assert found.note.startswith(NO_RECORDS)


def test_runs_that_are_gone_are_noted() -> None:
    """Folders may be removed to save space."""
    shutil.rmtree(STORE / SHARED)
    found = checked()
    assert (found.checked, found.problems) == (13, ())
    assert found.note == "13 of 15 rows checked against run records; the others' are not at hand."


def test_whole_runs_that_the_table_lacks_are_found() -> None:
    """Runs that were taken out may be those that differ; also under another name than their folder's."""
    everything = lines()
    write([row for row in everything if row["run_id"] != BASELINE])
    found = checked()
    assert (found.rows, found.checked, found.unlisted) == (14, 14, ())
    assert found.problems == (f"run {BASELINE} is recorded beside this table and is not in it",)
    write([row | ({"run_id": "final/gone-s1"} if row["run_id"] == BASELINE else {}) for row in everything])
    assert checked().problems == (f"run {BASELINE} is recorded beside this table and is not in it",)


def test_damaged_runs_that_the_table_lacks_are_noted() -> None:
    """`harness collect --partial` leaves them out."""
    write([row for row in lines() if row["run_id"] not in (BASELINE, FEATURE)])
    for run in (BASELINE, FEATURE):
        (STORE / run / "weights.safetensors").write_bytes(b"half")
    found = checked()
    assert (found.problems, set(found.unlisted)) == ((), {BASELINE, FEATURE})
    assert found.note.startswith("2 runs are recorded beside this table and not in it, since stale or damaged;")


@pytest.mark.parametrize(
    "run_id",
    [
        f"../tiny/{BASELINE}",
        f"final/../{BASELINE}",
        "final/..",
        "final/.",
        f"./{BASELINE}",
        f"{BASELINE}/",
        f"{BASELINE}/record.json",
        f"final//{BASELINE.partition('/')[2]}",
        f"/{BASELINE}",
        "ABSOLUTE",
        f".partial/{BASELINE}",
        f"final/{'x' * 5000}",
    ],
)
def test_a_run_id_leads_nowhere_but_to_a_run_folder(run_id: str, folders_read: list[Path]) -> None:
    """Ways that would end at a whole run folder, or outside, are not followed."""
    shutil.copytree(STORE / BASELINE, STORE / ".partial" / BASELINE)
    run_id = run_id.replace("ABSOLUTE", str((STORE / BASELINE).absolute()))
    edit(BASELINE, "run_id", lambda _: run_id)
    found = checked()
    assert found.checked == 14
    named = {row["run_id"] for row in lines() if row["run_id"] != run_id}
    # the run's own folder is looked at all the same, since no row names it
    assert {folder.relative_to(STORE.absolute()).as_posix() for folder in folders_read} == named | {BASELINE}
    left_out, problem = found.problems
    assert left_out == f"run {BASELINE} is recorded beside this table and is not in it"
    assert "column run_id must be PHASE/NAME" in problem
