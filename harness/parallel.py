"""The same work on many things, in as many processes as there are cores."""

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


def each(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Results of `work` on each item, in the items' order; of few items in this process.

    Args:
        work: A function that can be pickled; what it raises is raised here. Each process has one copy, so that what
            it remembers from one item serves later ones.
        items: What it is called with.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if len(items) < FEWEST or cores == 1:
        yield from map(work, items)
        return
    context = multiprocessing.get_context("spawn")  # the one fork server there can be is `harness.execute.local`'s
    with ProcessPoolExecutor(cores, mp_context=context, initializer=_begin, initargs=(work,)) as pool:
        yield from pool.map(_work_on, items, chunksize=_AT_ONCE)


def _begin(work: Callable[[Any], Any]) -> None:
    """Keep the function; whatever ends the parent, `kill -9` too, ends this process: nobody else would."""
    global _work  # noqa: PLW0603 - a process of the pool keeps nothing else between two items
    _work = work
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _work_on(item: Any) -> Any:  # noqa: ANN401 - whatever `each` was given
    return _work(item)
