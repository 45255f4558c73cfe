"""Random streams: one name, one sequence, whatever else is drawn."""

from __future__ import annotations

from typing import get_args

import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.training.streams import Purpose, stream

names = st.tuples(
    st.sampled_from(get_args(Purpose)),
    st.sampled_from(["teacher", "student"]),
    st.integers(0, 2**31 - 1),
    st.integers(1, 200),
)


@given(st.sets(names, min_size=2, max_size=30))
def test_distinct_names_are_distinct_streams(chosen: set[tuple[Purpose, str, int, int]]) -> None:
    """Purpose, role, seed and epoch each make another stream."""
    assert len({stream(*name).initial_seed() for name in chosen}) == len(chosen)
    assert len({tuple(torch.rand(4, generator=stream(*name)).tolist()) for name in chosen}) == len(chosen)


def test_neighbouring_names_do_not_run_together() -> None:
    """Seed 1, epoch 23 is not seed 12, epoch 3."""
    assert stream("order", "student", 1, 23).initial_seed() != stream("order", "student", 12, 3).initial_seed()


def test_a_name_always_gives_the_same_numbers() -> None:
    """Also after the stream, another stream, and torch's global generator were used."""
    first = torch.rand(5, generator=stream("order", "student", 0, 1))
    torch.rand(7, generator=stream("augment", "student", 0, 1))
    torch.manual_seed(3)
    torch.rand(7)
    assert torch.equal(torch.rand(5, generator=stream("order", "student", 0, 1)), first)


def test_streams_leave_the_global_generator_alone() -> None:
    """Making a stream and drawing from it moves nothing else."""
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    torch.rand(5, generator=stream("init", "teacher", 0))
    assert torch.equal(torch.random.get_rng_state(), before)
