"""The networks against torchvision's own, and their streams of initial numbers."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import nn

from harness.study.spec import Architecture, Model, Stem
from harness.training.architectures import LAYOUTS
from harness.training.checkpoint import tensors_digest
from harness.training.models import build, projections
from harness.training.vision import torchvision

ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)
PLAIN = Model(width=64, zero_init_residual=False)
TINY = Model(width=4, zero_init_residual=True)
# Trainable parameters with the CIFAR stem and 10 classes, as the literature gives them for torchvision's layouts.
CIFAR_PARAMETERS = {"resnet18": 11_173_962, "resnet34": 21_282_122, "resnet50": 23_520_842, "resnet101": 42_512_970}


def torchvision_with_cifar_stem(architecture: Architecture) -> nn.Module:
    """Torchvision's network, its first convolution and its pooling replaced by hand."""
    network: nn.Module = getattr(torchvision.models, architecture)(weights=None, num_classes=10)
    network.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return network


def shapes(network: nn.Module) -> dict[str, torch.Size]:
    """Names and shapes of everything that a network's state holds."""
    return {name: tensor.shape for name, tensor in network.state_dict().items()}


def count(network: nn.Module) -> int:
    """Trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("architecture", ["resnet18", "resnet50"])
def test_width_64_and_imagenet_stem_are_torchvisions_own(architecture: Architecture) -> None:
    """Same names and shapes, and the same outputs to the bit from the same weights."""
    theirs = getattr(torchvision.models, architecture)(weights=None, num_classes=7).eval()
    ours = build(architecture, "imagenet", PLAIN, 7, "teacher", 0).eval()
    assert shapes(ours) == shapes(theirs)
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = theirs(images)
        assert torch.equal(ours(images), expected)
        assert torch.equal(ours.features_and_logits(images)[1], expected)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_cifar_stem_has_the_known_number_of_parameters(architecture: Architecture) -> None:
    """As counted in torchvision's network with the stem replaced, and as published."""
    with torch.device("meta"):  # shapes without numbers
        theirs = torchvision_with_cifar_stem(architecture)
        ours = build(architecture, "cifar", PLAIN, 10, "teacher", 0)
    assert shapes(ours) == shapes(theirs)
    assert count(ours) == count(theirs) == CIFAR_PARAMETERS[architecture]


def test_cifar_stem_computes_as_torchvision_does() -> None:
    """With weights carried over, our CIFAR network gives torchvision's outputs with the stem replaced by hand."""
    theirs = torchvision_with_cifar_stem("resnet18").eval()
    ours = build("resnet18", "cifar", PLAIN, 10, "student", 0).eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(ours(images), theirs(images))


@pytest.mark.parametrize("stem", get_args(Stem))
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_features_have_the_shapes_that_the_layouts_say(architecture: Architecture, stem: Stem) -> None:
    """Four maps; channels as `Layout.channels`, edges halved from stage to stage (ImageNet's stem: a quarter first)."""
    network = build(architecture, stem, TINY, 10, "student", 0).eval()
    with torch.inference_mode():
        features, logits = network.features_and_logits(torch.zeros(2, 3, 32, 32))
    edges = (32, 16, 8, 4) if stem == "cifar" else (8, 4, 2, 1)
    channels = LAYOUTS[architecture].channels(4)
    assert [tuple(each.shape) for each in features] == [
        (2, number, edge, edge) for number, edge in zip(channels, edges, strict=True)
    ]
    assert tuple(logits.shape) == (2, 10)


@pytest.mark.parametrize("last", [1, 2, 3, 4])
def test_a_feature_map_teaches_every_layer_before_it(last: int) -> None:
    """Feature-KD's gradients reach the stem and all stages up to the map's own, and nothing after it."""
    network = build("resnet18", "cifar", Model(width=4, zero_init_residual=False), 10, "student", 0)
    features, _ = network.features_and_logits(torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    features[last - 1].square().sum().backward()
    taught = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    stages = ("conv1.", "bn1.", *(f"layer{number}." for number in range(1, last + 1)))
    assert taught == {name for name, _ in network.named_parameters() if name.startswith(stages)}


@pytest.mark.parametrize(("architecture", "expansion"), [("resnet34", 1), ("resnet101", 4)])
def test_channels_double_from_stage_to_stage(architecture: Architecture, expansion: int) -> None:
    """Width 12 gives 12, 24, 48, 96 channels; bottleneck blocks put out four times as many."""
    expected = tuple(expansion * channels for channels in (12, 24, 48, 96))
    assert LAYOUTS[architecture].channels(12) == expected


def test_width_scales_every_layer() -> None:
    """A quarter of the width is a quarter of the channels in and out of every layer; images and classes stay."""
    with torch.device("meta"):
        wide = shapes(build("resnet50", "cifar", PLAIN, 10, "student", 0))
        narrow = shapes(build("resnet50", "cifar", Model(width=16, zero_init_residual=False), 10, "student", 0))
    assert wide.keys() == narrow.keys()
    fixed = {"conv1.weight": {1}, "fc.weight": {0}, "fc.bias": {0}}
    for name, shape in wide.items():
        scaled = [size if axis > 1 or axis in fixed.get(name, ()) else size // 4 for axis, size in enumerate(shape)]
        assert list(narrow[name]) == scaled, name


def test_stem_starts_with_kaiming_normal_weights() -> None:
    """He et al. 2015, fan-out: sd sqrt(2 / (64 * 3 * 3)); 1,728 draws estimate it to 1.7% (one sd)."""
    weights = build("resnet18", "cifar", PLAIN, 10, "student", 0).conv1.weight
    assert float(weights.detach().std()) == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.07)
    assert abs(float(weights.detach().mean())) < 4 * math.sqrt(2 / (64 * 9)) / math.sqrt(1728)


@pytest.mark.parametrize(("architecture", "last_norm"), [("resnet18", "bn2"), ("resnet50", "bn3")])
@pytest.mark.parametrize("zero", [True, False])
def test_residual_blocks_start_at_zero_if_asked(architecture: Architecture, last_norm: str, zero: bool) -> None:
    """Only the last batch norm of each block, and only if the model says so."""
    network = build(architecture, "cifar", Model(width=4, zero_init_residual=zero), 10, "student", 0)
    norms = {name: module for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}
    for name, norm in norms.items():
        start = 0.0 if zero and name.startswith("layer") and name.endswith(last_norm) else 1.0
        assert bool((norm.weight == start).all()), name


def digest(*name: str | int) -> str:
    """Digest of a freshly built small network."""
    return tensors_digest(build("resnet18", "cifar", TINY, 10, *name).state_dict())


def test_a_name_is_an_initialisation() -> None:
    """The same role and seed give the same network; another role or seed another one."""
    assert digest("student", 0) == digest("student", 0)
    assert len({digest("student", 0), digest("student", 1), digest("teacher", 0)}) == 3


def test_building_neither_reads_nor_moves_the_global_generator() -> None:
    """Whatever was drawn before gives the same network, and what is drawn after does not depend on it."""
    torch.manual_seed(1)
    first = digest("student", 0)
    after_building = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(3), after_building)
    assert digest("student", 0) == first


def test_projections_map_student_channels_to_teacher_channels() -> None:
    """Four 1x1 convolutions without bias, from the student's real features to the teacher's."""
    layers = projections("resnet18", "resnet50", 4, "student", 0)
    images = torch.zeros(2, 3, 8, 8)
    student = build("resnet18", "cifar", TINY, 10, "student", 0).eval()
    teacher = build("resnet50", "cifar", TINY, 10, "teacher", 0).eval()
    for layer, ours, theirs in zip(
        layers, student.features_and_logits(images)[0], teacher.features_and_logits(images)[0], strict=True
    ):
        assert layer.bias is None
        assert layer.kernel_size == (1, 1)
        assert layer(ours).shape == theirs.shape


def test_projections_start_xavier_uniform() -> None:
    """Glorot and Bengio 2010: uniform on +-sqrt(6 / (fan in + fan out)), so nothing beyond and the edge nearly met."""
    for layer, channels in zip(projections("resnet18", "resnet50", 64, "student", 0), (64, 128, 256, 512), strict=True):
        bound = math.sqrt(6 / (channels + 4 * channels))
        largest = float(layer.weight.detach().abs().max())
        assert 0.999 * bound < largest <= bound
        assert float(layer.weight.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.02)


def test_projections_have_a_stream_of_their_own() -> None:
    """Named like the run, and untouched by the global generator."""
    torch.manual_seed(0)
    one = tensors_digest(projections("resnet18", "resnet34", 4, "student", 0).state_dict())
    torch.manual_seed(1)
    assert tensors_digest(projections("resnet18", "resnet34", 4, "student", 0).state_dict()) == one
    assert tensors_digest(projections("resnet18", "resnet34", 4, "student", 1).state_dict()) != one
