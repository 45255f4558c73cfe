"""The control arm: Logit-KD from a teacher that was never trained.

What is gained here is not the teacher's knowledge but the smoothing of the labels: a method that gains no more than
this one transfers nothing.
"""

from __future__ import annotations

from harness.training.methods.logit import LogitKD


class RandomTeacher(LogitKD):
    """Logit-KD with the teacher's network as it was initialised."""

    teacher = "untrained"
