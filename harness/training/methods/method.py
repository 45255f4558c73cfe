"""What a distillation method is, and how one is found by name.

A method is a module: its parameters, if it has any, are trained with the student's, by the same optimiser and under the
same gradient clipping. Its forward pass is its loss; the loop minimises alpha * loss + (1 - alpha) * cross-entropy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from harness.errors import StudyError
from harness.study.methods import find
from harness.study.spec import RunSpec
from harness.training.architectures import channels
from harness.training.network import Outputs
from harness.training.streams import stream


class Method(nn.Module):
    """A way to learn from a teacher. Subclass it, say what it needs, and write its loss as `forward`.

    Class attributes:
        needs: `logits` (the teacher's features are not computed, its logits may come from a table: see
            `harness.training.teacher_table`) or `features` (the outputs of every stage as well as the logits).
        hyperparameters: Names of the hyperparameters beside `alpha`. Each must be given, and is above 0.
        teacher: `trained`, or `untrained`: the teacher's network as it was before training, for control arms.

    Args:
        student_channels: Channels of the student's features, a stage each.
        teacher_channels: Channels of the teacher's.
        hyperparameters: Values by name, without alpha.
        generator: Random stream for the method's own parameters; use no other.
    """

    needs: ClassVar[Literal["logits", "features"]] = "logits"
    hyperparameters: ClassVar[tuple[str, ...]] = ()
    teacher: ClassVar[Literal["trained", "untrained"]] = "trained"

    def __init__(
        self,
        student_channels: Sequence[int],
        teacher_channels: Sequence[int],
        hyperparameters: Mapping[str, float],
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.values = dict(hyperparameters)
        self.build(student_channels, teacher_channels, generator)

    def build(
        self, student_channels: Sequence[int], teacher_channels: Sequence[int], generator: torch.Generator
    ) -> None:
        """Make the method's own layers, and refuse a pair that it cannot compare; for a method with either.

        Args:
            student_channels: See the class.
            teacher_channels: See the class.
            generator: See the class.
        """

    def forward(self, student: Outputs, teacher: Outputs) -> Tensor:
        """The loss of one batch.

        Args:
            student: Its features (each batch, channels, height, width) and logits (batch, classes), float32.
            teacher: The same of the teacher, without gradients; no features where `needs` is `logits`.

        Returns:
            A scalar: the mean over the batch.
        """
        raise NotImplementedError


def method_class(name: str) -> type[Method]:
    """The class behind a method's name.

    Raises:
        StudyError: There is none, or it is no `Method`.
    """
    point = find(name)
    found = point.load()
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise StudyError(f"method {name}: expected {point.value} to be a subclass of {Method.__name__}, found {found}.")
    return found


def make(spec: RunSpec) -> Method:
    """The method of a distilled run, with fresh parameters.

    Raises:
        StudyError: There is no such method, or it takes other hyperparameters.
        ValueError: The run is a baseline.
    """
    if spec.teacher is None:
        raise ValueError(f"{spec.name} is a baseline and has no method")
    kind = method_class(spec.method)
    given = {name: value for name, value in spec.hyperparameters if name != "alpha"}
    if set(given) != set(kind.hyperparameters):
        raise StudyError(
            f"method {spec.method}: expected the hyperparameters {', '.join(['alpha', *kind.hyperparameters])}, found "
            f"{', '.join(name for name, _ in spec.hyperparameters)}; correct `selection.grid` in the profile."
        )
    width = spec.model.width
    return kind(
        channels(spec.architecture, width),
        channels(spec.teacher.architecture, width),
        given,
        stream("projections", spec.role, spec.seed),
    )


def same_stages(student_channels: Sequence[int], teacher_channels: Sequence[int]) -> list[tuple[int, int]]:
    """Channels of student and teacher, stage by stage.

    Raises:
        StudyError: One has more stages than the other, so that features have no partner.
    """
    if len(student_channels) != len(teacher_channels):
        raise StudyError(
            f"expected student and teacher with as many stages, found {len(student_channels)} and "
            f"{len(teacher_channels)}; methods that compare features need a pair of one family."
        )
    return list(zip(student_channels, teacher_channels, strict=True))
