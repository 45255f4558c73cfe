"""List scheduling: graphs reckoned by hand, and bounds that hold for every graph."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.study.schedule import (
    NEGLIGIBLE,
    chains,
    critical_path,
    doubling,
    enough_workers,
    list_schedule,
)

Graph = tuple[list[int], list[frozenset[int]]]


def needs(*before: Sequence[int]) -> list[frozenset[int]]:
    """By task, what it needs."""
    return [frozenset(each) for each in before]


# Two teachers of 6 and 2, a student of the first of 1, two of the second of 3 each, and a run of its own of 4.
SMALL: Graph = ([6, 2, 1, 3, 3, 4], needs([], [], [0], [1], [1], []))


@pytest.mark.parametrize(
    ("workers", "starts", "makespan", "utilisation"),
    [
        # chains: 7 5 1 3 3 4. One worker: task 0, then 1, 5, 3, 4, 2.
        (1, (0, 6, 18, 12, 15, 8), 19, 1.0),
        # the second worker: 1 at 0, 5 at 2 (4 is longer than the students' 3), 3 at 6; the first: 0, then 4, then 2
        (2, (0, 0, 9, 6, 6, 2), 10, 19 / 20),
        # the third: 5 at 0; at 2 the second takes 3, at 4 the third takes 4, ending at 7 as does 2, begun at 6
        (3, (0, 0, 6, 2, 4, 0), 7, 19 / 21),
        (4, (0, 0, 6, 2, 2, 0), 7, 19 / 28),
    ],
)
def test_a_small_graph(workers: int, starts: tuple[float, ...], makespan: float, utilisation: float) -> None:
    """Drawn by hand, task by task."""
    found = list_schedule(*SMALL, workers)
    assert (found.workers, found.starts, found.makespan_s) == (workers, starts, makespan)
    assert found.utilisation == pytest.approx(utilisation)


def test_the_longest_chain_is_taken_not_the_longest_task() -> None:
    """A task of 2 that 10 wait for goes before one of 5: 12 in all, where the other order takes 17."""
    graph = [5, 2, 10], needs([], [], [1])
    assert chains(*graph) == [5, 12, 10]
    assert critical_path(*graph) == [1, 2]
    assert list_schedule(*graph, 1).starts == (12, 0, 2)
    assert list_schedule(*graph, 2).makespan_s == 12


def test_the_critical_path_of_a_small_graph() -> None:
    """Teacher and student of 7; a single task where nothing waits; nothing where there is nothing."""
    assert critical_path(*SMALL) == [0, 2]
    assert critical_path([1, 3, 2], needs([], [], [])) == [1]
    assert critical_path([], []) == []
    assert critical_path([1, 1, 1, 9], needs([], [0], [1], [0, 2])) == [0, 1, 2, 3]


def test_it_is_no_best_order() -> None:
    """3, 3, 2, 2, 2 on two workers: the longest first take 7, the best order 6 (3 + 3 and 2 + 2 + 2)."""
    assert list_schedule([3, 3, 2, 2, 2], needs(*[[]] * 5), 2).makespan_s == 7


def test_enough_workers_of_a_small_graph() -> None:
    """Three: they take the 7 of the longest chain; two take 10. One where tasks follow each other."""
    assert enough_workers(*SMALL) == 3
    assert enough_workers([1, 1, 1], needs([], [0], [1])) == 1
    assert enough_workers([1] * 5, needs(*[[]] * 5)) == 5
    assert enough_workers([], []) == 1


def test_the_numbers_of_workers_shown() -> None:
    """Powers of two, the last one enough."""
    assert [doubling(up_to) for up_to in (1, 2, 3, 4, 21)] == [[1], [1, 2], [1, 2, 4], [1, 2, 4], [1, 2, 4, 8, 16, 32]]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Up to twelve tasks that need any earlier ones."""
    seconds = draw(st.lists(st.integers(1, 20), min_size=1, max_size=12))
    before = [
        draw(st.frozensets(st.integers(0, task - 1), max_size=3)) if task else frozenset()
        for task in range(len(seconds))
    ]
    return seconds, before


@settings(max_examples=150, deadline=None)
@given(graphs(), st.integers(1, 6))
def test_every_schedule_is_one_and_keeps_its_bounds(graph: Graph, workers: int) -> None:
    """No task before what it needs, no more at once than workers, none idle while a task could start.

    Nor shorter than work and longest chain allow, nor longer than Graham's bound; one worker takes the sum.
    """
    seconds, before = graph
    found = list_schedule(seconds, before, workers)
    ends = [start + takes for start, takes in zip(found.starts, seconds, strict=True)]
    for task, start in enumerate(found.starts):
        can_start = max((ends[earlier] for earlier in before[task]), default=0)
        assert start >= can_start
        for moment in {can_start, *ends}:
            at_work = sum(begun <= moment < end for begun, end in zip(found.starts, ends, strict=True))
            assert at_work <= workers
            if can_start <= moment < start:
                assert at_work == workers
    longest = sum(seconds[task] for task in critical_path(seconds, before))
    least = max(longest, sum(seconds) / workers)
    assert longest == max(chains(seconds, before))
    assert found.makespan_s == max(ends)
    assert least <= found.makespan_s <= (2 - 1 / workers) * least
    assert found.utilisation == pytest.approx(sum(seconds) / workers / found.makespan_s)
    assert list_schedule(seconds, before, 1).makespan_s == sum(seconds)
    assert list_schedule(seconds, before, len(seconds)).makespan_s == longest
    assert list_schedule(seconds, before, enough_workers(seconds, before)).makespan_s <= longest * (1 + NEGLIGIBLE)


@pytest.mark.parametrize(("before", "workers"), [(needs([], [1]), 1), (needs([1], []), 1), (needs([], []), 0)])
def test_what_is_no_graph_is_refused(before: list[frozenset[int]], workers: int) -> None:
    """A task that needs itself or a later one would wait for ever, as would all without a worker."""
    with pytest.raises(ValueError, match="a worker or more, and tasks that need earlier ones"):
        list_schedule([1, 1], before, workers)
