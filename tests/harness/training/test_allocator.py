"""Memory that a step frees is there for the next step, where glibc is; the bits are the same."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys

import pytest

from harness.training import allocator

# Steps on blocks of 40 MB, which glibc gives a mapping of their own, first as it likes and then told to keep memory.
# Prints, for both, page faults a step once all is warm, and a digest; and whether the telling worked.
STEPS = """
import hashlib, json, resource
import torch
from harness.training.allocator import keep_memory

torch.set_num_threads(1)
images = torch.rand(10, 1000, 1000, generator=torch.Generator().manual_seed(0))
weight = torch.ones(1000, requires_grad=True)

def step():
    weight.grad = None
    ((images * weight).relu() - 0.5).square().mean().backward()

def faults_a_step():
    for _ in range(2):
        step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(2):
        step()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 2

def digest():
    return hashlib.sha256(weight.grad.numpy().tobytes()).hexdigest()

print(json.dumps([faults_a_step(), digest(), keep_memory(), faults_a_step(), digest()]))
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library here is not glibc")
def test_steps_stop_faulting_and_keep_their_bits() -> None:
    """Without it a step asks the system again for each of its blocks, page by page."""
    # In a process of its own: what is set there holds for good.
    ended = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True)
    without, digest, kept, with_it, same_digest = json.loads(ended.stdout)
    assert without > 10
    assert kept
    assert with_it < without / 5
    assert digest == same_digest


def test_other_c_libraries_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """They have no `mallopt`, and nothing is done."""
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert not allocator.keep_memory()


def test_a_refusal_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """mallopt(3) returns 0 on error."""

    class Refusing:
        """A C library."""

        @staticmethod
        def mallopt(_name: int, _value: int) -> int:
            """Refuse."""
            return 0

    monkeypatch.setattr(ctypes, "CDLL", lambda _: Refusing)
    assert not allocator.keep_memory()
