"""The networks by name: ResNets against torchvision's own, features of all, and streams of initial numbers."""

from __future__ import annotations

import copy
import math
from typing import get_args

import pytest
import torch
from torch import nn

from harness.errors import StudyError
from harness.study.spec import NARROWEST, Architecture, Model, Stem
from harness.training.architectures import LAYOUTS, channels
from harness.training.checkpoint import tensors_digest
from harness.training.models import Network, build
from harness.training.vision import torchvision

ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)
RESNETS: tuple[Architecture, ...] = ("resnet18", "resnet34", "resnet50", "resnet101")
PLAIN = Model(width=64, zero_init_residual=False)
TINY = Model(width=NARROWEST, zero_init_residual=True)
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
        assert torch.equal(ours.outputs(images).logits, expected)


@pytest.mark.parametrize("architecture", RESNETS)
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


@pytest.mark.parametrize(
    ("architecture", "stem"),
    [*((architecture, "cifar") for architecture in ARCHITECTURES), *((name, "imagenet") for name in RESNETS)],
)
def test_features_have_the_shapes_that_the_layouts_say(architecture: Architecture, stem: Stem) -> None:
    """A map a stage; channels as `channels`, edges halved from stage to stage (ImageNet's stem: a quarter first)."""
    network = build(architecture, stem, TINY, 10, "student", 0).eval()
    with torch.inference_mode():
        features, logits = network.outputs(torch.zeros(2, 3, 32, 32))
    first = 32 if stem == "cifar" else 8
    assert [tuple(each.shape) for each in features] == [
        (2, number, first // 2**stage, first // 2**stage)
        for stage, number in enumerate(channels(architecture, TINY.width))
    ]
    assert len(features) == (4 if architecture in RESNETS else 3)
    assert tuple(logits.shape) == (2, 10)


@pytest.mark.parametrize(
    ("architecture", "last"), [*(("resnet18", n) for n in range(1, 5)), *(("wrn16_1", n) for n in range(1, 4))]
)
def test_a_feature_map_teaches_every_layer_before_it(architecture: Architecture, last: int) -> None:
    """Feature-KD's gradients reach the stem and all stages up to the map's own, and nothing after it."""
    network = build(architecture, "cifar", Model(width=32, zero_init_residual=False), 10, "student", 0)
    features, _ = network.outputs(torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    features[last - 1].square().sum().backward()
    taught = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    stages = ("conv1.", "bn1.", *(f"layer{number}." for number in range(1, last + 1)))
    assert taught == {name for name, _ in network.named_parameters() if name.startswith(stages)}


@pytest.mark.parametrize("architecture", ["resnet18", "resnet50", "wrn16_2"])
def test_networks_stay_channels_last(architecture: Architecture) -> None:
    """No layer is given the other memory format, which would cost a copy each time."""
    network = build(architecture, "cifar", TINY, 10, "student", 0).to(memory_format=torch.channels_last)
    formats: list[bool] = []

    def note(_: nn.Module, given: tuple[torch.Tensor]) -> None:
        formats.append(given[0].is_contiguous(memory_format=torch.channels_last))

    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.BatchNorm2d)]
    for layer in layers:
        layer.register_forward_pre_hook(note)
    images = torch.zeros(2, 3, 8, 8)
    network(images.to(memory_format=torch.channels_last))
    assert formats == [True] * len(layers)
    network(images)
    assert not formats[len(layers)]


def strided_shortcuts(network: nn.Module) -> list[nn.Conv2d]:
    """Its 1x1 convolutions that skip pixels."""
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    return [layer for layer in layers if layer.kernel_size == (1, 1) and layer.stride == (2, 2)]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_strided_shortcut_is_narrower_than_the_first_stage(architecture: Architecture) -> None:
    """So a study whose first stages are wide enough for oneDNN's gradients has no shortcut that is not."""
    with torch.device("meta"):
        network = build(architecture, "cifar", Model(width=32, zero_init_residual=True), 10, "student", 0)
    inputs = [layer.in_channels for layer in strided_shortcuts(network)]
    assert len(inputs) == len(channels(architecture, 32)) - 1
    assert min(inputs) == channels(architecture, 32)[0]


def gradients(layer: nn.Conv2d, images: torch.Tensor, arriving: torch.Tensor, dtype: torch.dtype) -> list[torch.Tensor]:
    """Of weights and images, in this arithmetic and in channels_last, as in training; given as float64."""
    form = torch.channels_last
    layer = copy.deepcopy(layer).to(dtype=dtype, memory_format=form)
    images = images.to(dtype=dtype, memory_format=form).requires_grad_()
    found = torch.autograd.grad(layer(images), [layer.weight, images], arriving.to(dtype=dtype, memory_format=form))
    return [each.double() for each in found]


def difference(found: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    """Largest difference, each relative to the largest number of its own."""
    pairs = zip(found, expected, strict=True)
    return max(float((ours - theirs).abs().max() / theirs.abs().max()) for ours, theirs in pairs)


@pytest.mark.parametrize(("batch", "edge"), [(16, 8), (32, 8), (128, 32)])
def test_the_narrowest_shortcut_has_the_gradients_of_float64(batch: int, edge: int) -> None:
    """To 1e-5: with fewer channels oneDNN, which float64 does without, writes past its memory. A lost image shows."""
    layer = strided_shortcuts(build("resnet18", "cifar", TINY, 10, "student", 0))[0]
    assert (layer.in_channels, layer.out_channels) == (NARROWEST, 2 * NARROWEST)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, NARROWEST, edge, edge, generator=generator)
    arriving = torch.randn(batch, 2 * NARROWEST, edge // 2, edge // 2, generator=generator)
    expected = gradients(layer, images, arriving, torch.float64)
    for _ in range(10):  # damage need not show at once
        assert difference(gradients(layer, images, arriving, torch.float32), expected) < 1e-5
    arriving[-1] = 0
    assert difference(gradients(layer, images, arriving, torch.float32), expected) > 1e-3


@pytest.mark.parametrize("architecture", ["resnet18", "wrn16_1"])
def test_a_forward_pass_gives_the_logits_of_outputs(architecture: Architecture) -> None:
    """To the bit: one network, whether its features are asked for or not."""
    network = build(architecture, "cifar", PLAIN.model_copy(update={"width": 8}), 10, "student", 0).eval()
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(network(images), network.outputs(images).logits)


def test_a_network_must_say_what_it_puts_out() -> None:
    """The base class is no network."""
    with pytest.raises(NotImplementedError):
        Network()(torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        ("resnet34", (12, 24, 48, 96)),
        ("resnet101", (48, 96, 192, 384)),  # bottleneck blocks put out four times as many
        ("wrn28_1", (3, 6, 12)),
        ("wrn28_4", (12, 24, 48)),
    ],
)
def test_channels_double_from_stage_to_stage(architecture: Architecture, expected: tuple[int, ...]) -> None:
    """At width 12: ResNets begin with 12 channels, WideResNets with 3 (16 at width 64) times their widening factor."""
    assert channels(architecture, 12) == expected


def test_every_architecture_has_a_layout() -> None:
    """None is forgotten when one is added."""
    assert set(LAYOUTS) == set(ARCHITECTURES)


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name not in RESNETS])
def test_wide_resnets_have_no_imagenet_stem(architecture: Architecture) -> None:
    """The sentence says what to change."""
    with pytest.raises(StudyError, match=f"stem: expected cifar for {architecture}, found imagenet.*`stem_ablation`"):
        build(architecture, "imagenet", TINY, 10, "student", 0)


def test_a_width_that_breaks_a_channel_is_refused() -> None:
    """16 * 10 / 64 channels are two and a half; ResNets take any width from 8."""
    odd = Model(width=10, zero_init_residual=False)
    with pytest.raises(StudyError, match=r"model\.width: expected a multiple of 4 for wrn16_1.*found 10"):
        build("wrn16_1", "cifar", odd, 10, "student", 0)
    network = build("resnet18", "cifar", odd, 10, "student", 0)
    assert network.outputs(torch.zeros(2, 3, 8, 8)).features[0].shape[1] == 10


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
    network = build(architecture, "cifar", Model(width=8, zero_init_residual=zero), 10, "student", 0)
    norms = {name: module for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}
    for name, norm in norms.items():
        start = 0.0 if zero and name.startswith("layer") and name.endswith(last_norm) else 1.0
        assert bool((norm.weight == start).all()), name


def digest(architecture: Architecture, *name: str | int) -> str:
    """Digest of a freshly built small network."""
    return tensors_digest(build(architecture, "cifar", TINY, 10, *name).state_dict())


@pytest.mark.parametrize("architecture", ["resnet18", "wrn16_1"])
def test_a_name_is_an_initialisation(architecture: Architecture) -> None:
    """The same role and seed give the same network; another role or seed another one."""
    assert digest(architecture, "student", 0) == digest(architecture, "student", 0)
    assert len({digest(architecture, *name) for name in (("student", 0), ("student", 1), ("teacher", 0))}) == 3


@pytest.mark.parametrize("architecture", ["resnet18", "wrn16_1"])
def test_building_neither_reads_nor_moves_the_global_generator(architecture: Architecture) -> None:
    """Whatever was drawn before gives the same network, and what is drawn after does not depend on it."""
    torch.manual_seed(1)
    first = digest(architecture, "student", 0)
    after_building = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(3), after_building)
    assert digest(architecture, "student", 0) == first


def test_building_seeds_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """`torch.manual_seed` would seed every GPU's generator too, and leave it so."""
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    torch.manual_seed(0)
    assert seeded == [0]
    build("resnet18", "cifar", TINY, 10, "student", 0)
    assert seeded == [0]
