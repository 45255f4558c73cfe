"""What one training run is made of: all that decides its bits, and nothing else.

A run's identity is the SHA-256 of this description as canonical JSON. Two runs with one identity are one run.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from harness.files import canonical_json, sha256_of_bytes

ResNet = Literal["resnet18", "resnet34", "resnet50", "resnet101"]
WideResNet = Literal[
    "wrn16_1", "wrn16_2", "wrn16_4", "wrn28_1", "wrn28_2", "wrn28_4", "wrn40_1", "wrn40_2", "wrn40_4"
]  # depth, and width over that of the narrowest
Architecture = Literal[ResNet, WideResNet]
# Channels that a first stage must put out: in channels_last, oneDNN's gradient of a strided 1x1 convolution (a shortcut
# of the next stage) of fewer channels writes past its memory (uxlfoundation/oneDNN issue 6035). On AVX-512 it does with
# up to 15 channels, in images several times as large as CIFAR's (128x128 in the issue).
NARROWEST = 8
BASELINE = "none"
NAME = r"^[a-z][a-z0-9_]*$"  # of methods and hyperparameters: they stand in names of folders
Method = Annotated[str, Field(pattern=NAME)]  # `none`, or the name of an entry point: see `harness.study.methods`
Stem = Literal["cifar", "imagenet"]
Role = Literal["teacher", "student"]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


def _pairs(values: Any) -> Any:  # noqa: ANN401 - whatever stands in a record
    """A block of `name: value` lines as pairs, which are frozen."""
    return tuple(values.items()) if isinstance(values, Mapping) else values


def _in_order(pairs: tuple[tuple[str, float], ...]) -> tuple[tuple[str, float], ...]:
    """Pairs by name: equal however they were ordered. Ranges are those of `harness.study.study.Grid`."""
    for name, value in pairs:
        if not (0 <= value <= 1 if name == "alpha" else value > 0):
            raise ValueError(f"`{name}` must be {'in [0, 1]' if name == 'alpha' else 'above 0'}, found {value:g}")
    names = [name for name, _ in pairs]
    if len({*names}) < len(names) or (names and "alpha" not in names):
        raise ValueError(f"each hyperparameter must stand once, `alpha` among them, found {', '.join(names)}")
    return tuple(sorted(pairs))


Hyperparameters = Annotated[
    tuple[tuple[str, float], ...],
    BeforeValidator(_pairs),
    AfterValidator(_in_order),
    PlainSerializer(dict, return_type=dict[str, float]),
]
_SHORT = {"alpha": "a", "temperature": "T"}  # in names of cells; others are spelled out


def run_name(cell: str, teacher_seed: int | None, seed: int) -> str:
    """Name of a run: its cell, its teacher's seed where it has one, and its own."""
    return f"{cell}-s{seed}" if teacher_seed is None else f"{cell}-t{teacher_seed}-s{seed}"


class Frozen(BaseModel):
    """A frozen block of the description: unknown keys and wrong types are errors, nothing is converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Dataset(Frozen):
    """Which images, how they are split, and how they are augmented.

    Attributes:
        name: `digits` (bundled with scikit-learn, 8x8), `cifar10`, `cifar100`, or `folder`.
        path: For `folder` only: a directory or tar archive in ImageFolder layout (train/CLASS/*, test/CLASS/*).
        train_images: Training images used; None for all that the validation split leaves.
        validation_images: Images held out of the training set for choosing epochs and hyperparameters.
        test_images: For `digits`, which has no test set of its own: images held out for the end.
        split_seed: Seed of the split, the same whatever the run's seed (paper: 1234).
        label_noise: Share of training labels redrawn uniformly over the classes.
        crop_padding: Zero padding in pixels before the random crop.
        horizontal_flip: Whether training images are mirrored at random.
    """

    name: Literal["digits", "cifar10", "cifar100", "folder"]
    path: str | None = None
    train_images: Annotated[int, Field(ge=2)] | None = None
    validation_images: Count
    test_images: Count | None = None
    split_seed: Seed
    label_noise: Share = 0.0
    crop_padding: Annotated[int, Field(ge=0)]
    horizontal_flip: bool

    @model_validator(mode="after")
    def _fits_its_name(self) -> Self:
        if (self.name == "folder") != (self.path is not None):
            raise ValueError(
                f"`path` must be given for the dataset `folder` and no other, found {self.path} for {self.name}"
            )
        if (self.name == "digits") != (self.test_images is not None):
            raise ValueError(
                "`test_images` must be given for `digits` and no other (others bring a test set), found "
                f"{self.test_images} for {self.name}"
            )
        return self


class Model(Frozen):
    """The shape of every network of a study.

    Attributes:
        width: Channels of the first stage (torchvision: 64); all others follow. At least 8: oneDNN's gradient of a
            strided 1x1 convolution of fewer channels writes past its memory (uxlfoundation/oneDNN issue 6035).
        zero_init_residual: Start the last batch norm of each residual block at zero.
    """

    width: Annotated[int, Field(ge=NARROWEST)]
    zero_init_residual: bool


class Optimisation(Frozen):
    """SGD with a cosine schedule an epoch (paper, section 4), and the arithmetic it runs in.

    Attributes:
        batch_size: Images a step; the last, smaller batch of an epoch is used too.
        lr: Learning rate of the first epoch.
        lr_min: Learning rate that the cosine ends at (eta_min).
        momentum: Momentum.
        nesterov: Nesterov's form of momentum.
        weight_decay: L2 penalty on every parameter.
        clip_norm: Largest gradient norm, over student and projections together.
        precision: `fp32`; `tf32` (convolutions on a GPU; the same as fp32 on a CPU); `bf16` (autocast: convolutions and
            the classifier in bfloat16; weights, norms' statistics, losses and a method's own layers in float32, with
            TF32).
        teacher_logits: `table` (computed once for every view of every training image, and shared by all runs that
            learn from the teacher's logits) or `online` (computed in each step).
        threads: CPU threads of a run. Other counts give other bits.
        device: `cpu`, `cuda`, or `auto` (cuda where there is one).
    """

    batch_size: Annotated[int, Field(ge=2)]
    lr: Positive
    lr_min: Annotated[float, Field(ge=0)]
    momentum: Share
    nesterov: bool
    weight_decay: Annotated[float, Field(ge=0)]
    clip_norm: Positive
    precision: Literal["fp32", "tf32", "bf16"]
    teacher_logits: Literal["table", "online"]
    threads: Count
    device: Literal["cpu", "cuda", "auto"]

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("`nesterov: true` needs a momentum above 0, found 0")
        return self


class RunSpec(Frozen):
    """One training run.

    Attributes:
        role: `teacher` or `student`: they draw from separate random streams.
        architecture: The network trained.
        stem: `cifar` (3x3, stride 1, no pooling) or `imagenet` (torchvision's own).
        method: How the teacher is used; `none` is a baseline.
        hyperparameters: The method's, by name; `alpha`, the weight of the distillation loss, is every method's.
        clip_projections: Feature-KD: whether clipping covers the projections too (False: the bug ablation).
        teacher: The teacher's own run; None for a baseline.
        seed: Seed of the run's random streams.
        epochs: Epochs trained.
        dataset: Images.
        model: Shape of the networks.
        optimisation: Optimiser and arithmetic.
    """

    role: Role
    architecture: Architecture
    stem: Stem
    method: Method
    hyperparameters: Hyperparameters = ()
    clip_projections: bool | None = None
    teacher: RunSpec | None = None
    seed: Seed
    epochs: Count
    dataset: Dataset
    model: Model
    optimisation: Optimisation

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if self.stem == "imagenet" and self.architecture not in get_args(ResNet):
            raise ValueError(f"`stem: imagenet` is a ResNet's, found it for {self.architecture}")
        if len({self.method == BASELINE, self.teacher is None, self.hyperparameters == ()}) > 1:
            raise ValueError(
                "a baseline has neither teacher nor hyperparameters and every other run has both, found method "
                f"{self.method}, teacher {self.teacher and self.teacher.name}, {dict(self.hyperparameters)}"
            )
        return self

    def hyperparameter(self, name: str) -> float | None:
        """A hyperparameter's value; None where the run has none of that name."""
        return dict(self.hyperparameters).get(name)

    @property
    def sha256(self) -> str:
        """Identity of the run, 64 hex digits."""
        return sha256_of_bytes(canonical_json(self.model_dump(mode="json")).encode())

    @property
    def shape(self) -> Hashable:
        """What the time of an epoch and the memory depend on: all but seeds, hyperparameters and number of epochs."""
        teacher = self.teacher and (self.teacher.architecture, self.teacher.stem)
        network = self.architecture, self.stem, self.method, self.clip_projections, teacher
        return network, self.dataset, self.model, self.optimisation

    @property
    def cell(self) -> str:
        """Readable name of the cell: `resnet50-resnet18-logit-a0.5-T4`, `resnet18-none`, ..."""
        parts: list[str] = [self.teacher.architecture] if self.teacher else []
        parts += [self.architecture, self.method]
        parts += [f"{_SHORT.get(name, name)}{value:g}" for name, value in self.hyperparameters]
        if self.clip_projections is False:
            parts.append("unclipped")
        if self.stem != "cifar":
            parts.append(self.stem)
        return "-".join(parts)

    @property
    def name(self) -> str:
        """Readable name of the run, unique within a phase: `resnet50-resnet18-logit-a0.5-T4-t0-s3`."""
        return run_name(self.cell, self.teacher.seed if self.teacher else None, self.seed)
