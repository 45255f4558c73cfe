"""The frozen teacher against the network that it was made from, and the untrained one against what its words say."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from harness.study.spec import Architecture, Model, RunSpec, Stem
from harness.training import data
from harness.training.augment import normalise
from harness.training.checkpoint import tensors_digest
from harness.training.models import Network, build
from harness.training.network import Outputs
from harness.training.teacher import FrozenTeacher, fold_batch_norms, teacher_of, untrained_network

CPU = torch.device("cpu")
# Both kinds of block, both stems, and a WideResNet whose first shortcut is bare and one whose is not.
NETWORKS: tuple[tuple[Architecture, Stem], ...] = (
    ("resnet18", "cifar"),
    ("resnet34", "imagenet"),
    ("resnet50", "cifar"),
    ("resnet101", "cifar"),
    ("wrn16_1", "cifar"),
    ("wrn16_2", "cifar"),
    ("wrn28_4", "cifar"),
)
every_network = pytest.mark.parametrize(("architecture", "stem"), NETWORKS)


def noise(count: int, seed: int = 0) -> Tensor:
    """Images as normalised ones are."""
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def trained(architecture: Architecture, stem: Stem = "cifar", classes: int = 10) -> Network:
    """A network with batch norms as training leaves them: other weights, biases and statistics in each."""
    network = build(architecture, stem, Model(width=8, zero_init_residual=False), classes, "teacher", 0)
    generator = torch.Generator().manual_seed(1)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(layer.bias, 0.0, 0.3, generator=generator)
    with torch.no_grad():
        for seed in range(5):
            network.train()(noise(16, seed) + 0.2)
    return network.eval()


def norms(network: nn.Module) -> int:
    """How many batch norms a network has."""
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())


def difference(found: Outputs, expected: Outputs) -> float:
    """Largest difference of features and logits, each relative to the largest number of its own."""
    pairs = zip((*found.features, found.logits), (*expected.features, expected.logits), strict=True)
    return max(float((ours - theirs).abs().max() / theirs.abs().max()) for ours, theirs in pairs)


@every_network
def test_folding_changes_nothing_in_float64(architecture: Architecture, stem: Stem) -> None:
    """Features and logits of the folded network are the network's own to 1e-12; not if one norm acts twice."""
    network = trained(architecture, stem).double()
    folded = fold_batch_norms(network)
    images = noise(4).double()
    with torch.no_grad():
        expected = network.outputs(images)
        assert difference(folded.outputs(images), expected) < 1e-12
        twice = next(
            name
            for name, layer in network.named_modules()
            if isinstance(layer, nn.BatchNorm2d) and isinstance(folded.get_submodule(name), nn.Identity)
        )
        folded.set_submodule(twice, network.get_submodule(twice))
        assert difference(folded.outputs(images), expected) > 1e-3


@every_network
def test_frozen_is_the_network_to_rounding(architecture: Architecture, stem: Stem) -> None:
    """In float32 to 1e-5 of the largest number of a stage (deep networks add up more), in float64 to 1e-12."""
    network = trained(architecture, stem)
    teacher, images = FrozenTeacher(network, precision="fp32", device=CPU), noise(20)
    with torch.no_grad():
        expected = network.outputs(images)
    assert difference(teacher.outputs(images), expected) < (1e-4 if architecture == "resnet101" else 1e-5)
    assert torch.equal(teacher.logits(images), teacher.outputs(images).logits)
    assert torch.equal(teacher(images), teacher.logits(images))


@pytest.mark.parametrize(
    ("architecture", "left"),
    [("resnet18", 0), ("resnet101", 0), ("wrn16_1", 7), ("wrn16_2", 6), ("wrn28_4", 12)],
)
def test_every_foldable_norm_is_folded(architecture: Architecture, left: int) -> None:
    """None is left in a ResNet.

    In a WideResNet those stay that follow a sum: the last one, and the first of each of the 3 (depth - 4) / 6 blocks,
    but for the very first block where its shortcut has weights, since the stem's convolution then feeds it alone.
    """
    assert norms(fold_batch_norms(trained(architecture))) == left


class FeatureBeforeNorm(Network):
    """A network with a convolution whose output is a feature as well as a batch norm's input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5)

    def outputs(self, images: Tensor) -> Outputs:
        """The feature is the convolution's."""
        x = self.conv(images)
        return Outputs((x,), self.bn(x).mean(dim=(2, 3)))


def test_a_convolution_that_is_a_feature_keeps_its_norm() -> None:
    """Folded, the feature would be another one."""
    network = FeatureBeforeNorm()
    network(noise(8))
    folded, images = fold_batch_norms(network), noise(3)
    assert norms(folded) == 1
    with torch.no_grad():
        assert difference(folded.outputs(images), network.eval().outputs(images)) == 0


def test_the_network_stays_as_it_is() -> None:
    """Freezing works on a copy: same state, still training, still with gradients."""
    network = trained("wrn16_2").train()
    before = tensors_digest(network.state_dict())
    FrozenTeacher(network, precision="bf16", device=CPU).logits(noise(2))
    assert tensors_digest(network.state_dict()) == before
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_a_frozen_teacher_is_frozen() -> None:
    """No parameter takes gradients, evaluation mode, nothing changes by use, outputs are constants of a graph."""
    teacher = FrozenTeacher(trained("wrn16_2"), precision="fp32", device=CPU)
    before = tensors_digest(teacher.state_dict())
    outputs = teacher.outputs(noise(4).requires_grad_())
    assert tensors_digest(teacher.state_dict()) == before
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert not any(module.training for module in teacher.network.modules())
    assert not any(each.requires_grad or each.is_inference() for each in (*outputs.features, outputs.logits))


def test_its_outputs_serve_autograd() -> None:
    """A loss that keeps them for the backward pass gives the student's gradient."""
    teacher = FrozenTeacher(trained("resnet18"), precision="fp32", device=CPU)
    student = torch.randn(4, 10, generator=torch.Generator().manual_seed(0)).requires_grad_()
    taught = teacher.logits(noise(4))
    (student * taught).sum().backward()
    assert student.grad is not None
    assert torch.equal(student.grad, taught)


def test_convolutions_run_channels_last() -> None:
    """Weights and features lie so, whatever way the images come."""
    teacher = FrozenTeacher(trained("resnet18"), precision="fp32", device=CPU)
    convolution = teacher.network.get_submodule("layer1.0.conv1")
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last)
    images = noise(4)
    one, other = (teacher.outputs(images.contiguous(memory_format=form)) for form in _FORMATS)
    assert one.features[0].is_contiguous(memory_format=torch.channels_last)
    assert difference(one, other) == 0


_FORMATS = (torch.contiguous_format, torch.channels_last)


@every_network
def test_bf16_is_bfloat16_inside_and_float32_outside(architecture: Architecture, stem: Stem) -> None:
    """Weights were converted, outputs come back as float32 with bfloat16's rounding: 8 bits, so some percent."""
    network = trained(architecture, stem)
    teacher, images = FrozenTeacher(network, precision="bf16", device=CPU), noise(20)
    layers = [layer for layer in teacher.network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert all(layer.weight.dtype == torch.bfloat16 for layer in layers)
    kept = [layer for layer in teacher.network.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert all(layer.running_var.dtype == torch.float32 for layer in kept)
    found = teacher.outputs(images)
    assert {each.dtype for each in (*found.features, found.logits)} == {torch.float32}
    with torch.no_grad():
        expected = network.outputs(images)
    assert 1e-4 < difference(found, expected) < 0.1


@pytest.mark.parametrize(
    ("architecture", "threads", "precision"),
    [
        *itertools.product(("resnet18", "resnet50", "wrn16_2"), (1,), ("fp32", "bf16")),
        ("resnet50", 2, "fp32"),
    ],
)
def test_rows_depend_on_their_own_image_alone(architecture: Architecture, threads: int, precision: str) -> None:
    """To the bit: any batch size, any place in the batch, any neighbours; 100 classes are the harder case."""
    teacher = FrozenTeacher(trained(architecture, classes=100), precision=precision, device=CPU)
    pool = noise(40)
    torch.set_num_threads(threads)
    try:
        expected = teacher.outputs(pool)
        for batch in (1, 2, 3, 15, 16, 17, 64):
            index = torch.randint(0, 40, (batch,), generator=torch.Generator().manual_seed(batch))
            found = teacher.outputs(pool[index])
            assert torch.equal(found.logits, expected.logits[index])
            assert all(
                torch.equal(ours, theirs[index]) for ours, theirs in zip(found.features, expected.features, strict=True)
            )
    finally:
        torch.set_num_threads(1)


def test_small_batches_alone_would_differ() -> None:
    """The case that filling up is for: on one thread, a folded bottleneck network on 8 images and on 64."""
    network = FrozenTeacher(trained("resnet50"), precision="fp32", device=CPU).network
    images = noise(64).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        assert not torch.equal(network(images[:8]), network(images)[:8])


@pytest.fixture
def distilled(make_spec: Callable[..., RunSpec]) -> RunSpec:
    """A student's run that learns from resnet34, seed 5."""
    teacher = make_spec(role="teacher", architecture="resnet34", seed=5, model={"zero_init_residual": False})
    return make_spec(method="logit", hyperparameters={"alpha": 0.5, "temperature": 4.0}, teacher=teacher)


@pytest.fixture
def digits(distilled: RunSpec) -> data.Data:
    """Its images."""
    return data.load(distilled.dataset, Path("/nonexistent"))


def test_a_trained_teacher_has_the_weights_given(distilled: RunSpec, digits: data.Data) -> None:
    """It says what the network with these weights says."""
    network = trained("resnet34", classes=digits.classes)
    teacher = teacher_of(distilled, digits, network.state_dict(), CPU, untrained=False)
    with torch.no_grad():
        assert difference(teacher.outputs(noise(5)), network.outputs(noise(5))) < 1e-5


def test_the_precision_is_the_runs_own(distilled: RunSpec, digits: data.Data) -> None:
    """A student in bf16 learns from a teacher in bf16."""
    optimisation = distilled.optimisation.model_copy(update={"precision": "bf16"})
    spec = distilled.model_copy(update={"optimisation": optimisation})
    teacher = teacher_of(spec, digits, trained("resnet34").state_dict(), CPU, untrained=False)
    assert next(teacher.network.parameters()).dtype == torch.bfloat16


def test_what_cannot_be_is_refused(make_spec: Callable[..., RunSpec], distilled: RunSpec, digits: data.Data) -> None:
    """A baseline has no teacher, and a trained teacher has weights."""
    with pytest.raises(ValueError, match="baseline"):
        teacher_of(make_spec(), digits, None, CPU, untrained=True)
    with pytest.raises(ValueError, match="weights of resnet34"):
        teacher_of(distilled, digits, None, CPU, untrained=False)


def test_an_untrained_teacher_starts_as_the_trained_one_did(distilled: RunSpec, digits: data.Data) -> None:
    """Its weights are those of the teacher's own initialisation stream; only batch norm statistics are new."""
    assert distilled.teacher is not None
    start = dict(build("resnet34", "cifar", distilled.teacher.model, digits.classes, "teacher", 5).named_parameters())
    network = untrained_network(distilled.teacher, digits, CPU)
    assert tensors_digest(dict(network.named_parameters())) == tensors_digest(start)
    assert not network.training


def test_an_untrained_teacher_is_the_same_every_time(distilled: RunSpec, digits: data.Data) -> None:
    """Nothing is drawn from the global generator, and nothing left in it."""
    assert distilled.teacher is not None
    digests = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        digests.append(tensors_digest(untrained_network(distilled.teacher, digits, CPU).state_dict()))
        assert torch.equal(torch.get_rng_state(), before)
    assert digests[0] == digests[1]


def test_statistics_are_the_mean_over_batches_of_plain_images(distilled: RunSpec, digits: data.Data) -> None:
    """The first norm's, by hand: 300 images make 3 batches of 100, and each counts alike."""
    assert distilled.teacher is not None
    pixels = torch.randint(0, 256, (300, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    many = dataclasses.replace(digits, train_images=pixels)
    network = untrained_network(distilled.teacher, many, CPU)
    images = (pixels / 255 - digits.mean.view(1, 3, 1, 1)) / digits.std.view(1, 3, 1, 1)
    with torch.no_grad():
        batches = [network.get_submodule("conv1")(batch) for batch in images.split(100)]
    norm = network.get_submodule("bn1")
    for found, expected in (
        (norm.running_mean, [batch.mean(dim=(0, 2, 3)) for batch in batches]),
        (norm.running_var, [batch.var(dim=(0, 2, 3)) for batch in batches]),
    ):
        torch.testing.assert_close(found, torch.stack(expected).mean(dim=0), rtol=1e-4, atol=1e-5)
    assert int(norm.num_batches_tracked) == 3


@pytest.mark.parametrize(("images", "batches"), [(2, 1), (128, 1), (129, 2), (1024, 8), (1100, 8)])
def test_the_first_1024_images_are_enough(
    distilled: RunSpec, digits: data.Data, images: int, batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never more, and never a batch of one, which has no variance."""
    assert distilled.teacher is not None
    sizes: list[int] = []
    monkeypatch.setattr(
        "harness.training.resnet.ScaledResNet.forward", lambda _, batch: sizes.append(len(batch)), raising=False
    )
    many = dataclasses.replace(digits, train_images=torch.zeros(images, 3, 8, 8, dtype=torch.uint8))
    untrained_network(distilled.teacher, many, CPU)
    assert len(sizes) == batches
    assert sum(sizes) == min(images, 1024)
    assert min(sizes) > 1


def largest_logits(spec: RunSpec, images: data.Data) -> tuple[float, float]:
    """Largest logit of an untrained teacher: with statistics that fit the images, and with mean 0 and variance 1."""
    network = untrained_network(spec, images, CPU)
    raw = copy.deepcopy(network)
    for layer in raw.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
    shown = normalise(images.train_images, images.mean, images.std)
    with torch.no_grad():
        return float(network(shown).abs().max()), float(raw(shown).abs().max())


def test_an_untrained_teacher_is_calm_whatever_its_depth(make_spec: Callable[..., RunSpec], digits: data.Data) -> None:
    """Without statistics that fit, each block adds to the variance: resnet101 ends a thousand times above resnet18."""
    fitting, raw = {}, {}
    for architecture in ("resnet18", "resnet101"):
        spec = make_spec(role="teacher", architecture=architecture, seed=1, model={"zero_init_residual": False})
        fitting[architecture], raw[architecture] = largest_logits(spec, digits)
    assert all(1 < largest < 10 for largest in fitting.values())
    assert raw["resnet101"] > 300 * raw["resnet18"]
