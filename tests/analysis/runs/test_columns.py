"""One cell: which texts are values, and the sentence for each that is not."""

from __future__ import annotations

import pytest

from analysis.errors import TableError
from analysis.runs.columns import COLUMNS, parse_column, text_of

BY_NAME = {column.name: column for column in COLUMNS}


@pytest.mark.parametrize(
    ("column", "text", "value"),
    [
        ("test_acc_best", "1e-1", 0.1),
        ("test_acc_best", "1", 1.0),
        ("test_acc_best", ".5", 0.5),
        ("test_acc_best", "+0.5", 0.5),
        ("val_acc", "", None),
        ("seed", "1.0", 1),
        ("seed", "1e3", 1000),
        ("seed", "9007199254740993", 2**53 + 1),
        ("clip_projections", "TRUE", True),
        ("student", "<b>r18</b>", "<b>r18</b>"),
        ("student", "ResNet-18 (breit, größer)", "ResNet-18 (breit, größer)"),
        ("teacher", "", ""),
        ("checkpoint", "best-validation", "best-validation"),
        ("checkpoint", "", ""),
    ],
)
def test_texts_that_are_values(column: str, text: str, value: object) -> None:
    """Numbers in any decimal form, long seeds to the last digit, names in any script."""
    found = parse_column([text], BY_NAME[column], "mine.csv")
    assert found == [value]
    assert type(found[0]) is type(value)


@pytest.mark.parametrize(
    ("column", "text", "words"),
    [
        ("test_acc_best", "95.1%", "without a percent sign; write a fraction, 0.951 for 95.1%"),
        ("test_acc_best", "0,951", "with a decimal point; write 0.951 for 0,951"),
        ("test_acc_best", "nan", "must be a number (found nan)"),
        ("test_acc_best", "inf", "must be a number (found inf)"),
        ("test_acc_best", "1e999", "must be a number (found 1e999)"),
        ("test_acc_best", "0_9", "must be a number (found 0_9)"),
        ("test_acc_best", "\u0660.9", "must be a number"),
        ("val_acc", "NA", "must be a number, or empty where there is none (found NA)"),
        ("val_acc", "95", "looks like percent; divide it by 100 (found 95)"),
        ("alpha", "50", "looks like percent; divide it by 100 (found 50)"),
        ("seed", "-1", "must be at least 0 (found -1)"),
        ("seed", "0.5", "must be a whole number (found 0.5)"),
        ("seed", str(2**63), "must be at most 9223372036854775807; number them anew"),
        ("seed", "9" * 5000, f"must be a number (found {'9' * 60}...)"),
        ("student", "a\nb", "holds the invisible character U+000A; write it anew (found a?b)"),
        ("student", "a\u200bb", "invisible character U+200B"),
        ("val_acc", "0.\u200b9", "invisible character U+200B; write it anew (found 0.?9)"),
        ("weights_sha256", "A" * 64, "must be a SHA-256 digest of 64 hex digits"),
        ("clip_projections", "1", "must be true, false or empty (found 1)"),
    ],
)
def test_texts_that_are_not(column: str, text: str, words: str) -> None:
    """One sentence on one line, with the place, what is wrong, and what was found."""
    with pytest.raises(TableError) as error:
        parse_column([text], BY_NAME[column], "mine.csv")
    assert str(error.value).startswith(f"mine.csv, row 2, column {column}: ")
    assert words in str(error.value)
    assert str(error.value).isprintable()


def test_one_value_above_one_is_no_column_in_percent() -> None:
    """A single slip is named as such."""
    with pytest.raises(TableError, match=r"row 3, column val_acc: must be from 0 to 1 \(found 95\)"):
        parse_column(["0.9", "95", "0.91"], BY_NAME["val_acc"], "mine.csv")


def test_text_of_typed_cells() -> None:
    """A typed frame reads like its file."""
    assert [text_of(value) for value in (True, None, float("nan"), 3, 0.25, " a ")] == [
        "true",
        "",
        "",
        "3",
        "0.25",
        "a",
    ]
