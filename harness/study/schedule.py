"""How long a graph of tasks takes on a number of workers: list scheduling, simulated. No files, no clock.

A task is a number, its place in the sequences given; it needs earlier tasks only, as those of a plan do.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

Needs = Sequence[frozenset[int]]
NEGLIGIBLE = 0.01  # more workers no longer help once they shorten the makespan by no more than this share


@dataclass(frozen=True)
class Schedule:
    """Tasks on workers.

    Attributes:
        workers: How many.
        starts: When each task starts, in seconds from the beginning.
        makespan_s: When the last one ends.
        utilisation: Share of the workers' time in which they work, until the last task ends; 1 for no tasks.
    """

    workers: int
    starts: tuple[float, ...]
    makespan_s: float
    utilisation: float


def chains(seconds: Sequence[float], needs: Needs) -> list[float]:
    """Length of the longest chain that begins with each task: its own seconds, and those of what waits for it.

    Known as the bottom level or HLFET's level (T. L. Adam, K. M. Chandy, J. R. Dickson, "A comparison of list
    schedules for parallel processing systems", Communications of the ACM 17, 1974).
    """
    longest = [float(each) for each in seconds]
    for task in reversed(range(len(longest))):  # what waits for it has a higher number, and is known by now
        for earlier in needs[task]:
            longest[earlier] = max(longest[earlier], seconds[earlier] + longest[task])
    return longest


def critical_path(seconds: Sequence[float], needs: Needs) -> list[int]:
    """The tasks of the longest chain of all, in order: no number of workers does better than their sum."""
    longest = chains(seconds, needs)
    path: list[int] = []
    next_ones = list(range(len(longest)))
    while next_ones:
        path.append(max(next_ones, key=lambda task: longest[task]))
        next_ones = [task for task, before in enumerate(needs) if path[-1] in before]
    return path


def list_schedule(seconds: Sequence[float], needs: Needs, workers: int) -> Schedule:
    """Let every free worker take the task with the longest chain among those that can start.

    That is what `harness train` does. It is at most 2 - 1/workers times as long as the best order, for so is any order
    that leaves no worker idle while a task can start (R. L. Graham, "Bounds on multiprocessing timing anomalies", SIAM
    Journal on Applied Mathematics 17, 1969).

    Args:
        seconds: What each task takes.
        needs: By task, the earlier tasks that have to be done.
        workers: At least 1; all are alike, and each does one task at a time.

    Raises:
        ValueError: A task needs itself or a later one, or there is no worker.
    """
    if workers < 1 or any(earlier >= task for task, before in enumerate(needs) for earlier in before):
        raise ValueError("expected a worker or more, and tasks that need earlier ones only")
    longest = chains(seconds, needs)
    followers: list[list[int]] = [[] for _ in needs]
    for task, before in enumerate(needs):
        for earlier in before:
            followers[earlier].append(task)
    missing = [len(before) for before in needs]
    ready = [(-longest[task], task) for task, count in enumerate(missing) if count == 0]
    heapq.heapify(ready)
    running: list[tuple[float, int]] = []  # ends
    starts, now = [0.0] * len(missing), 0.0
    while ready or running:
        while ready and len(running) < workers:
            _, task = heapq.heappop(ready)
            starts[task] = now
            heapq.heappush(running, (now + seconds[task], task))
        now = running[0][0]
        while running and running[0][0] == now:
            for task in followers[heapq.heappop(running)[1]]:
                missing[task] -= 1
                if missing[task] == 0:
                    heapq.heappush(ready, (-longest[task], task))
    return Schedule(workers, tuple(starts), now, sum(seconds) / (workers * now) if now else 1.0)


def enough_workers(seconds: Sequence[float], needs: Needs) -> int:
    """The fewest workers that come within `NEGLIGIBLE` of the longest chain, below which no number of workers comes."""
    longest = max(chains(seconds, needs), default=0.0)

    def enough(workers: int) -> bool:
        return list_schedule(seconds, needs, workers).makespan_s <= longest * (1 + NEGLIGIBLE)

    most = 1
    while not enough(most):  # as many as there are tasks are always enough
        most *= 2
    return bisect_left(range(most), True, lo=most // 2 + 1, key=enough) if most > 1 else 1


def doubling(up_to: int) -> list[int]:
    """1, 2, 4, ... workers, the last one no fewer than `up_to`."""
    return [2**power for power in range((up_to - 1).bit_length() + 1)]
