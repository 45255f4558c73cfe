"""What went wrong with a run, in words, wherever it was carried out."""

from __future__ import annotations

import pytest

from harness.errors import DataError
from harness.execute.attempt import error_of
from harness.training.loop import TrainingFailed


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (DataError("the images are damaged"), "the images are damaged"),
        (TrainingFailed("loss is nan in epoch 3"), "loss is nan in epoch 3"),
        (OSError(28, "No space left on device"), "OSError: [Errno 28] No space left on device"),
    ],
)
def test_what_is_known_is_a_sentence(failure: Exception, said: str) -> None:
    """Without a traceback."""

    def work() -> None:
        raise failure

    assert error_of(work) == said


def test_anything_else_is_told_whole() -> None:
    """With its traceback: it is our bug, or a method's."""
    error = error_of(lambda: 1 // 0)
    assert error is not None
    assert error.startswith("Traceback")
    assert error.endswith("ZeroDivisionError: integer division or modulo by zero\n")


def test_nothing_went_wrong() -> None:
    """A run that is done has no error."""
    assert error_of(lambda: "a folder") is None


def test_an_interruption_is_no_failure_of_the_run() -> None:
    """It goes through, to whoever started the run."""

    def work() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        error_of(work)
