"""Processes beside this one: how many there is room for, their end with their parent, and one work for many things."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

FEWEST = 2000  # things: for fewer, starting processes (about a second) costs more than it saves
_AT_ONCE = 100  # things that a process is handed at once

_work: Callable[[Any], Any]  # of a process of `each`, for all that it is handed


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def end_with_parent() -> None:
    """From now on this process ends when the one that asked for it has ended, however: no orphan goes on working.

    Linux's parent-death signal would not do: the parent of a forked run is the fork server, and that lives as long as
    its children.
    """
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def each(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Results of `work` on each item, in the items' order; of few items in this process.

    Args:
        work: A function that can be pickled; what it raises is raised here. Each process has one copy, so that what
            it remembers from one item serves later ones.
        items: What it is called with.
    """
    processes = cores()
    if len(items) < FEWEST or processes == 1:
        yield from map(work, items)
        return
    context = multiprocessing.get_context("spawn")  # the one fork server there can be is `harness.execute.local`'s
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_begin, initargs=(work,)) as pool:
        yield from pool.map(_work_on, items, chunksize=_AT_ONCE)


def _begin(work: Callable[[Any], Any]) -> None:
    """Keep the function; and go when the parent goes."""
    global _work  # noqa: PLW0603 - a process of the pool keeps nothing else between two items
    _work = work
    end_with_parent()


def _work_on(item: Any) -> Any:  # noqa: ANN401 - whatever `each` was given
    return _work(item)
