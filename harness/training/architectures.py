"""The architectures' layouts, as numbers: no torch needed to read them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from harness.errors import StudyError
from harness.study.spec import Architecture, Stem

FULL_WIDTH = 64  # `model.width` of the networks as published


@dataclass(frozen=True)
class Layout:
    """What a network of residual blocks is built from.

    Attributes:
        family: `resnet`: batch norms after convolutions (He et al. 2016, CVPR, table 1). `wide_resnet`: batch norms
            before them, "pre-activation" (Zagoruyko & Komodakis 2016, arXiv 1605.07146, table 1).
        stem: Channels that the first convolution puts out.
        stages: Channels of the 3x3 convolutions, a stage each. Every stage but the first halves the edges.
        blocks: Blocks, a stage each.
        expansion: Channels that a block puts out, over those of its 3x3 convolutions: 1 in basic blocks, 4 in
            bottlenecks.
    """

    family: Literal["resnet", "wide_resnet"]
    stem: int
    stages: tuple[int, ...]
    blocks: tuple[int, ...]
    expansion: int

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels that the stages put out."""
        return tuple(self.expansion * stage for stage in self.stages)


class Convolution(NamedTuple):
    """A convolution without bias.

    Attributes:
        inputs: Channels in.
        outputs: Channels out.
        kernel: Edge of the kernel, in pixels.
        reduction: Edge of the image over that of the output; the division is rounded up.
    """

    inputs: int
    outputs: int
    kernel: int
    reduction: int


def _resnet(expansion: int, *blocks: int) -> Layout:
    return Layout("resnet", 64, (64, 128, 256, 512), blocks, expansion)


def _wide(depth: int, widening: int) -> Layout:
    return Layout("wide_resnet", 16, (16 * widening, 32 * widening, 64 * widening), ((depth - 4) // 6,) * 3, 1)


LAYOUTS: dict[Architecture, Layout] = {
    "resnet18": _resnet(1, 2, 2, 2, 2),
    "resnet34": _resnet(1, 3, 4, 6, 3),
    "resnet50": _resnet(4, 3, 4, 6, 3),
    "resnet101": _resnet(4, 3, 4, 23, 3),
    "wrn16_1": _wide(16, 1),
    "wrn16_2": _wide(16, 2),
    "wrn16_4": _wide(16, 4),
    "wrn28_1": _wide(28, 1),
    "wrn28_2": _wide(28, 2),
    "wrn28_4": _wide(28, 4),
    "wrn40_1": _wide(40, 1),
    "wrn40_2": _wide(40, 2),
    "wrn40_4": _wide(40, 4),
}


def layout(architecture: Architecture, width: int) -> Layout:
    """An architecture's layout, every channel times width / 64.

    Raises:
        StudyError: The first convolution would have a broken number of channels.
    """
    full = LAYOUTS[architecture]
    if full.stem * width % FULL_WIDTH:
        raise StudyError(
            f"model.width: expected a multiple of {FULL_WIDTH // full.stem} for {architecture}, since its first layer "
            f"has {full.stem} channels at width {FULL_WIDTH}, found {width}; correct it in the profile."
        )
    stem, *stages = (channels * width // FULL_WIDTH for channels in (full.stem, *full.stages))
    return replace(full, stem=stem, stages=tuple(stages))


def channels(architecture: Architecture, width: int) -> tuple[int, ...]:
    """Channels of a network's features, a stage each: four for ResNets, three for WideResNets."""
    return layout(architecture, width).channels


def check_stem(architecture: Architecture, stem: Stem) -> None:
    """See that an architecture exists with a stem.

    Raises:
        StudyError: A WideResNet with the ImageNet stem, which nobody has defined.
    """
    if stem == "imagenet" and LAYOUTS[architecture].family == "wide_resnet":
        raise StudyError(
            f"stem: expected cifar for {architecture}, found {stem}, which only ResNets have; "
            "take it out of `stem_ablation` in the profile."
        )


def convolutions(architecture: Architecture, stem: Stem, width: int) -> tuple[Convolution, ...]:
    """Every convolution of a network, the first one first, then block by block.

    Raises:
        StudyError: There is no such network.
    """
    check_stem(architecture, stem)
    plan = layout(architecture, width)
    first = Convolution(3, plan.stem, 3, 1) if stem == "cifar" else Convolution(3, plan.stem, 7, 2)
    found = [first]
    inputs, reduction = plan.stem, first.reduction if stem == "cifar" else 2 * first.reduction  # the pooling's stride
    for stage, (inner, outputs, blocks) in enumerate(zip(plan.stages, plan.channels, plan.blocks, strict=True)):
        for block in range(blocks):
            before = reduction
            if block == 0 and stage > 0:
                reduction *= 2
            if plan.expansion == 1:
                found += [Convolution(inputs, inner, 3, reduction), Convolution(inner, inner, 3, reduction)]
            else:  # the 3x3 convolution strides
                found.append(Convolution(inputs, inner, 1, before))
                found += [Convolution(inner, inner, 3, reduction), Convolution(inner, outputs, 1, reduction)]
            if inputs != outputs:  # the shortcut's
                found.append(Convolution(inputs, outputs, 1, reduction))
            inputs = outputs
    return tuple(found)


def norms(architecture: Architecture, width: int) -> tuple[int, ...]:
    """Channels of every batch norm, in no order.

    A ResNet has one after each convolution; a WideResNet one before each 3x3 convolution of a block and one at the end.

    Raises:
        StudyError: There is no such network.
    """
    first, *others = convolutions(architecture, "cifar", width)
    if LAYOUTS[architecture].family == "resnet":
        return tuple(layer.outputs for layer in (first, *others))
    return (*(layer.inputs for layer in others if layer.kernel > 1), channels(architecture, width)[-1])
