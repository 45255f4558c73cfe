"""WideResNets against the published description, written down a second time, and against published sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from harness.study.spec import Architecture, Model
from harness.training.models import Network, Outputs, WideResNet, build
from harness.training.wide_resnet import Block

PLAIN = Model(width=8, zero_init_residual=False)


def images(count: int = 4, edge: int = 8) -> Tensor:
    """Images of noise."""
    return torch.randn(count, 3, edge, edge, generator=torch.Generator().manual_seed(0))


def by_the_paper(state: Mapping[str, Tensor], batch: Tensor, depth: int, *, training: bool) -> Outputs:
    """Table 1 of arXiv 1605.07146 and figure 1a, pre-activation, written with functions and without a class.

    The features are the groups' outputs g0, g1, g2 as the authors' code for attention transfer returns them.
    """

    def norm_relu(x: Tensor, name: str) -> Tensor:
        weight, bias, mean, var = (state[f"{name}.{k}"] for k in ("weight", "bias", "running_mean", "running_var"))
        mean, var = (None, None) if training else (mean, var)
        return F.relu(F.batch_norm(x, mean, var, weight, bias, training=training, eps=1e-5))

    x = F.conv2d(batch, state["conv1.weight"], padding=1)
    groups = []
    for group in (1, 2, 3):
        for block in range((depth - 4) // 6):
            name, stride = f"layer{group}.{block}", 2 if group > 1 and block == 0 else 1
            activated = norm_relu(x, f"{name}.bn1")
            inner = F.conv2d(activated, state[f"{name}.conv1.weight"], stride=stride, padding=1)
            residual = F.conv2d(norm_relu(inner, f"{name}.bn2"), state[f"{name}.conv2.weight"], padding=1)
            change = state.get(f"{name}.shortcut.weight")
            x = residual + (x if change is None else F.conv2d(activated, change, stride=stride))
        groups.append(x)
    pooled = norm_relu(x, "bn").mean(dim=(2, 3))
    return Outputs(tuple(groups), F.linear(pooled, state["fc.weight"], state["fc.bias"]))


def unlike_fresh(network: Network) -> Network:
    """The network with norms that are no identities, as after training."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                assert tensor is not None
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return network


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("architecture", "depth"), [("wrn16_1", 16), ("wrn16_4", 16), ("wrn28_2", 28)])
def test_outputs_are_those_of_the_papers_description(architecture: Architecture, depth: int, training: bool) -> None:
    """To the bit, since both call the same kernels; gradients, which are added up in another order, to rounding."""
    network = unlike_fresh(build(architecture, "cifar", PLAIN, 10, "student", 0)).train(training)
    state = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    for name, _ in network.named_parameters():
        state[name].requires_grad_()
    found, expected = network.outputs(images()), by_the_paper(state, images(), depth, training=training)
    for ours, theirs in zip((*found.features, found.logits), (*expected.features, expected.logits), strict=True):
        assert torch.equal(ours, theirs)
    for outputs in (found, expected):
        (outputs.logits.square().sum() + sum(each.square().mean() for each in outputs.features)).backward()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, state[name].grad, rtol=1e-5, atol=1e-6)


def test_the_comparison_notices_another_shortcut(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes its input before the activation, as some reimplementations do, is not the authors'."""

    def forward(self: Block, x: Tensor) -> Tensor:
        residual: Tensor = self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))
        return residual + (x if self.shortcut is None else self.shortcut(x))

    network = unlike_fresh(build("wrn16_1", "cifar", PLAIN, 10, "student", 0)).eval()
    expected = by_the_paper(network.state_dict(), images(), 16, training=False)
    assert torch.equal(network(images()), expected.logits)
    monkeypatch.setattr(Block, "forward", forward)
    assert not torch.allclose(network(images()), expected.logits)


@pytest.mark.parametrize(
    ("architecture", "millions"),
    [("wrn16_1", 0.2), ("wrn16_2", 0.7), ("wrn40_1", 0.6), ("wrn40_2", 2.2), ("wrn40_4", 8.9)],
)
def test_full_size_is_as_published(architecture: Architecture, millions: float) -> None:
    """Parameters in millions: table 1 of arXiv 1612.03928 (16-1 to 40-2), table 4 of arXiv 1605.07146 (40-4)."""
    with torch.device("meta"):
        network = build(architecture, "cifar", Model(width=64, zero_init_residual=False), 10, "teacher", 0)
    assert round(sum(parameter.numel() for parameter in network.parameters()) / 1e6, 1) == millions


@pytest.mark.parametrize(("depth", "architecture"), [(16, "wrn16_2"), (28, "wrn28_4"), (40, "wrn40_2")])
def test_depth_counts_the_convolutions(depth: int, architecture: Architecture) -> None:
    """6n + 4: two a block, the first one, and three shortcuts'."""
    with torch.device("meta"):
        network = build(architecture, "cifar", PLAIN, 10, "student", 0)
    convolutions = [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == depth
    assert sum(name.endswith("shortcut") for name in convolutions) == 3


@pytest.mark.parametrize("width", [8, 32, 64])
def test_width_scales_every_channel(width: int) -> None:
    """16 channels at width 64, 2 at width 8: every layer in and out, the images and classes alone stay."""
    with torch.device("meta"):
        network = build("wrn16_2", "cifar", Model(width=width, zero_init_residual=False), 7, "student", 0)
    base = width // 4
    shapes = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    assert shapes["conv1.weight"] == (base, 3, 3, 3)
    assert shapes["layer1.0.conv1.weight"] == (2 * base, base, 3, 3)
    assert shapes["layer1.0.shortcut.weight"] == (2 * base, base, 1, 1)
    assert shapes["layer2.0.conv2.weight"] == (4 * base, 4 * base, 3, 3)
    assert shapes["layer3.1.conv1.weight"] == (8 * base, 8 * base, 3, 3)
    assert shapes["bn.weight"] == (8 * base,)
    assert shapes["fc.weight"] == (7, 8 * base)


def test_convolutions_start_kaiming_normal_by_fan_out() -> None:
    """As the authors' MSRinit: sd sqrt(2 / (k * k * outputs)); norms at one, no bias in the classifier."""
    network = build("wrn16_4", "cifar", Model(width=64, zero_init_residual=False), 10, "student", 0)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            weights = module.weight.detach()
            sd = math.sqrt(2 / (module.kernel_size[0] ** 2 * module.out_channels))
            draws = weights.numel()
            assert float(weights.std()) == pytest.approx(sd, rel=4 / math.sqrt(2 * draws)), name
            assert abs(float(weights.mean())) < 4 * sd / math.sqrt(draws), name
        if isinstance(module, nn.BatchNorm2d):
            assert bool((module.weight == 1).all())
            assert bool((module.bias == 0).all())
    assert isinstance(network, WideResNet)
    assert bool((network.fc.bias == 0).all())


def test_residuals_start_at_zero_if_asked() -> None:
    """Every block gives its shortcut at first; all other numbers are as without, and every residual can learn."""
    zeroed = build("wrn16_1", "cifar", Model(width=8, zero_init_residual=True), 10, "student", 0)
    plain = build("wrn16_1", "cifar", PLAIN, 10, "student", 0)
    for (name, ours), theirs in zip(zeroed.state_dict().items(), plain.state_dict().values(), strict=True):
        if name.endswith("conv2.weight"):
            assert not ours.any()
            assert theirs.any()
        else:
            assert torch.equal(ours, theirs), name
    before = zeroed.outputs(images()).features[0]
    assert torch.equal(before, F.conv2d(images(), zeroed.state_dict()["conv1.weight"], padding=1))
    zeroed(images()).square().sum().backward()
    for name, parameter in zeroed.named_parameters():
        if name.endswith("conv2.weight"):
            assert parameter.grad is not None
            assert parameter.grad.any(), name


def test_a_last_norm_at_zero_would_teach_its_residual_nothing() -> None:
    """Why the convolution starts at zero and not the norm, as in ResNets: the ReLU after it passes no gradient."""
    network = build("wrn16_1", "cifar", PLAIN, 10, "student", 0)
    parameters = dict(network.named_parameters())
    parameters["layer1.0.bn2.weight"].data.zero_()
    network(images()).square().sum().backward()
    for name in ("bn2.weight", "conv1.weight", "conv2.weight"):
        gradient = parameters[f"layer1.0.{name}"].grad
        assert gradient is not None
        assert not gradient.any()
