"""Work on many things gives what work on few gives, in order, and what goes wrong in a process is told."""

from __future__ import annotations

import os

import pytest

from harness import parallel
from harness.errors import StoreError
from harness.parallel import each


def process_of(item: int) -> tuple[int, int]:
    """The item and who works on it."""
    return item, os.getpid()


def refuse(item: int) -> int:
    """One item that nobody can work on."""
    if item == 2:
        raise StoreError(f"item {item} is damaged")
    return item


class Counting:
    """Remembers how many items it was called with."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, item: int) -> tuple[int, int]:
        """Who works, and how many items this copy has had."""
        del item
        self.calls += 1
        return os.getpid(), self.calls


def test_few_things_are_worked_on_here() -> None:
    """No process is started for them."""
    assert list(each(process_of, range(5))) == [(item, os.getpid()) for item in range(5)]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) == 1, reason="one core works on everything itself")
def test_many_things_are_worked_on_elsewhere_and_come_back_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every item once, in its place, by other processes than this."""
    monkeypatch.setattr(parallel, "FEWEST", 3)
    found = list(each(process_of, range(250)))
    assert [item for item, _ in found] == list(range(250))
    assert os.getpid() not in {process for _, process in found}


@pytest.mark.skipif(len(os.sched_getaffinity(0)) == 1, reason="one core works on everything itself")
def test_a_process_has_one_copy_of_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it remembers from one item, a digest say, is there for all that the process is handed later."""
    monkeypatch.setattr(parallel, "FEWEST", 3)
    monkeypatch.setattr(parallel, "_AT_ONCE", 2)
    found = list(each(Counting(), range(20 * len(os.sched_getaffinity(0)))))
    for process in {process for process, _ in found}:
        calls = [count for worker, count in found if worker == process]
        assert calls == list(range(1, len(calls) + 1))


def test_what_goes_wrong_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its own sentence."""
    monkeypatch.setattr(parallel, "FEWEST", 3)
    with pytest.raises(StoreError, match="item 2 is damaged"):
        list(each(refuse, range(5)))


def test_one_core_works_on_everything_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second process would only take turns."""
    monkeypatch.setattr(parallel, "FEWEST", 3)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert {process for _, process in each(process_of, range(5))} == {os.getpid()}
