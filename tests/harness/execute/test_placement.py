"""Where runs go: by cores, by measured memory, and a card alone for what was not measured yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from small_jobs import Place

from harness.execute.cards import Card
from harness.execute.job import Job
from harness.execute.placement import HEADROOM, Placement
from harness.study.spec import RunSpec

MakeJob = Callable[..., Job]
BIG, SMALL = Card(0, "GPU-big", 100), Card(1, "GPU-small", 50)  # bytes; 90 and 45 may be used


@pytest.fixture
def job(make_spec: Callable[..., RunSpec], tmp_path_factory: pytest.TempPathFactory) -> MakeJob:
    """Makes jobs by architecture, seed and arithmetic."""
    place = Place(tmp_path_factory.getbasetemp())

    def make(architecture: str = "resnet18", seed: int = 0, device: str = "auto", threads: int = 1) -> Job:
        return place.job(
            make_spec(architecture=architecture, seed=seed, optimisation={"device": device, "threads": threads})
        )

    return make


def taken(placement: Placement, ready: list[Job]) -> list[tuple[Job, Card | None]]:
    """All that there is room for now."""
    found = []
    while (one := placement.take(ready)) is not None:
        found.append(one)
    return found


def test_cores_are_counted_by_threads(job: MakeJob) -> None:
    """Five cores hold two runs of two threads, and then none of two; what does not fit stays in its order."""
    ready = [job(seed=seed, device="cpu", threads=2) for seed in range(4)]
    first, second, *rest = ready
    placement = Placement([BIG], cores=5)
    assert taken(placement, ready) == [(first, None), (second, None)]
    assert ready == rest
    placement.leave(first)
    assert taken(placement, ready) == [(rest[0], None)]


def test_a_run_of_more_threads_than_cores_has_them_alone(job: MakeJob) -> None:
    """It would never start otherwise."""
    ready = [job(seed=seed, device="cpu", threads=16) for seed in range(2)]
    assert len(taken(Placement([], cores=2), ready)) == 1


def test_a_number_of_workers_is_obeyed(job: MakeJob) -> None:
    """More than the cores, or fewer."""
    assert len(taken(Placement([], 2, workers=3), [job(seed=seed, device="cpu", threads=2) for seed in range(5)])) == 3
    assert len(taken(Placement([BIG, SMALL], 8, workers=1), [job(seed=seed) for seed in range(5)])) == 1


def test_auto_takes_cores_where_there_is_no_card(job: MakeJob) -> None:
    """And `cuda` too: its run says what is missing."""
    ready = [job(device="auto"), job(device="cuda", seed=1)]
    assert [card for _, card in taken(Placement([], cores=2), ready)] == [None, None]


def test_a_box_of_both_uses_both(job: MakeJob) -> None:
    """Runs on cores do not wait for the cards, nor the other way round."""
    on_cores, on_card = job(device="cpu", seed=1), [job(seed=0), job(seed=2)]
    ready = [*on_card, on_cores]
    assert taken(Placement([BIG], cores=4), ready) == [(on_card[0], BIG), (on_cores, None)]
    assert ready == [on_card[1]]


def test_an_unmeasured_run_has_a_card_alone(job: MakeJob) -> None:
    """The largest idle one; all others wait, until it has told its memory."""
    ready = [job(seed=seed) for seed in range(4)]
    first, second, third, _ = ready
    placement = Placement([SMALL, BIG], cores=8)
    assert taken(placement, ready) == [(first, BIG), (second, SMALL)]
    placement.measured(first, 30)
    # 60 are left of the big card, 15 of the small one: one more of 30 fits, and one again, and then none
    assert [card for _, card in taken(placement, ready)] == [BIG, BIG]
    placement.leave(second)
    ready = [job(seed=seed) for seed in (8, 9)]
    assert [card for _, card in taken(placement, ready)] == [SMALL]
    assert third not in ready


def test_a_run_goes_where_most_memory_is_free(job: MakeJob) -> None:
    """And a tenth of each card stays free."""
    placement = Placement([BIG, replace(SMALL, memory_bytes=80)], cores=99)
    placement.measured(job(), 20)
    cards = [card for _, card in taken(placement, [job(seed=seed) for seed in range(9)])]
    # 90 and 72: big 90 -> 70, other 72 -> 52, big 70 -> 50, other 52 -> 32, big 50 -> 30, other 32 -> 12, big 30 -> 10
    assert [card.index for card in cards if card] == [0, 1, 0, 1, 0, 1, 0]
    assert HEADROOM == 0.1


def test_the_first_measure_of_a_shape_counts(job: MakeJob) -> None:
    """Seeds have one shape; later figures were taken beside other runs. Other networks have their own."""
    placement = Placement([BIG], cores=99)
    placement.measured(job(seed=0), 30)
    placement.measured(job(seed=1), 90)
    ready = [job(seed=seed) for seed in range(2, 9)]
    assert len(taken(placement, ready)) == 3
    assert taken(placement, [job("resnet34")]) == []


def test_a_card_is_kept_for_what_waits_longest(job: MakeJob) -> None:
    """An unmeasured run waits for an idle card: smaller ones that come after it do not fill it for ever."""
    placement = Placement([BIG], cores=99)
    placement.measured(job(), 20)
    running = job(seed=1)
    assert taken(placement, [running]) == [(running, BIG)]
    unmeasured = job("resnet34")
    ready = [unmeasured, job(seed=2)]
    assert taken(placement, ready) == []
    placement.leave(running)
    assert taken(placement, ready) == [(unmeasured, BIG)]
    two = Placement([BIG, SMALL], cores=99)
    two.measured(job(), 20)
    assert [card for _, card in taken(two, [job(seed=seed) for seed in range(2)])] == [BIG, BIG]
    assert taken(two, [job("resnet34"), job("resnet50")]) == [(job("resnet34"), SMALL)]
    ready = [job("resnet50"), job(seed=3)]
    assert [one.spec.architecture for one, _ in taken(two, ready)] == ["resnet18"]  # beside the others, not after them


def test_what_fits_no_card_is_tried_on_an_idle_one(job: MakeJob) -> None:
    """The largest: it was measured there; it may work, and nothing waits for ever."""
    placement = Placement([SMALL, BIG], cores=8)
    placement.measured(job(), 95)
    ready = [job(seed=seed) for seed in range(3)]
    assert [card for _, card in taken(placement, ready)] == [BIG, SMALL]


def test_a_card_of_unknown_memory_has_one_run(job: MakeJob) -> None:
    """Measured or not."""
    placement = Placement([replace(BIG, memory_bytes=0)], cores=8)
    placement.measured(job(), 20)
    assert len(taken(placement, [job(seed=seed) for seed in range(3)])) == 1


def test_runs_per_gpu_stands_above_memory_and_cores(job: MakeJob) -> None:
    """Three on each, evenly, without a measure."""
    cards = [card for _, card in taken(Placement([BIG, SMALL], 1, None, 3), [job(seed=seed) for seed in range(9)])]
    assert [card.index for card in cards if card] == [0, 1, 0, 1, 0, 1]


def test_runs_on_cards_are_no_more_than_cores(job: MakeJob) -> None:
    """Each keeps a core busy with calling kernels; a card is never idle for that."""
    placement = Placement([BIG], cores=2)
    placement.measured(job(), 1)
    assert len(taken(placement, [job(seed=seed) for seed in range(9)])) == 2
    assert len(taken(Placement([BIG, SMALL], cores=1), [job(seed=seed) for seed in range(9)])) == 2
