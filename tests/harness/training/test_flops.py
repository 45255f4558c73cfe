"""What a run costs, counted again by torch on the networks that are really built."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import distribution
from typing import get_args

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from harness.errors import StudyError
from harness.study.cost import checkpoint_bytes, forward_flops, parameters, run_bytes, table_bytes
from harness.study.methods import GROUP, LOGITS_METHODS
from harness.study.spec import Architecture, Model, RunSpec, Stem
from harness.training.augment import view_count
from harness.training.methods.method import make, method_class
from harness.training.models import build

NETWORKS: list[tuple[Architecture, Stem]] = [
    (architecture, stem)
    for architecture in get_args(Architecture)
    for stem in get_args(Stem)
    if stem == "cifar" or architecture.startswith("resnet")
]
PLAIN = Model(width=8, zero_init_residual=False)


def counted(network: nn.Module, edge: int) -> int:
    """Operations of one image's forward pass as torch counts them; no numbers are computed."""
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, edge, edge, device="meta"))
    return counter.get_total_flops()


def size(tensors: dict[str, torch.Tensor]) -> int:
    """Bytes of tensors."""
    return sum(tensor.nbytes for tensor in tensors.values())


@pytest.mark.parametrize(("architecture", "stem"), NETWORKS)
def test_operations_and_parameters_are_those_that_torch_counts(
    architecture: Architecture, stem: Stem, make_spec: Callable[..., RunSpec]
) -> None:
    """To the last one, also where edges are odd (33 goes 17, 9, 5), and so are the bytes of the network's state."""
    with torch.device("meta"):
        network = build(architecture, stem, PLAIN, 10, "student", 0).eval()
    for edge in (8, 33):
        assert forward_flops(architecture, stem, 8, edge, 10) == counted(network, edge), edge
    assert parameters(architecture, stem, 8, 10) == sum(each.numel() for each in network.parameters())
    spec = make_spec(architecture=architecture, stem=stem, model={"width": 8})
    assert run_bytes(spec) == size(network.state_dict()) + 2 * 13  # 100 test images take 13 bytes


def test_the_counter_tells_networks_apart() -> None:
    """The comparison above would notice a row of pixels, another stem or a class more."""
    found = set()
    for stem, classes, edge in (("cifar", 10, 33), ("cifar", 10, 34), ("imagenet", 10, 33), ("cifar", 11, 33)):
        with torch.device("meta"):
            found.add(counted(build("resnet18", stem, PLAIN, classes, "student", 0), edge))
    assert len(found) == 4


@pytest.mark.parametrize("count", [forward_flops, parameters])
def test_a_network_that_does_not_exist_has_no_cost(count: Callable[..., int]) -> None:
    """The ImageNet stem of a WideResNet, and a width that breaks its first layer: one sentence each."""
    edge = (32,) if count is forward_flops else ()
    with pytest.raises(StudyError, match=r"stem: expected cifar for wrn28_2, found imagenet.*stem_ablation"):
        count("wrn28_2", "imagenet", 8, *edge, 10)
    with pytest.raises(StudyError, match=r"model\.width: expected a multiple of 4 for wrn28_2.*found 6"):
        count("wrn28_2", "cifar", 6, *edge, 10)


@pytest.mark.parametrize(
    ("method", "student", "teacher"),
    [("none", "wrn16_2", None), ("logit", "wrn16_1", "wrn40_2"), ("feature", "resnet18", "resnet50")],
)
def test_checkpoints_take_the_bytes_of_what_a_run_holds(
    method: str, student: Architecture, teacher: Architecture | None, make_spec: Callable[..., RunSpec]
) -> None:
    """Network, best network, the method's own parameters and the optimiser's momentum after a step; two of each."""
    own = None if teacher is None else make_spec(role="teacher", architecture=teacher)
    values = {"none": (), "logit": (("alpha", 0.5), ("temperature", 2.0)), "feature": (("alpha", 0.5),)}[method]
    fields = {"architecture": student, "method": method, "teacher": own, "hyperparameters": values}
    spec = make_spec(**fields)
    network = build(student, "cifar", spec.model, 10, "student", 0)
    projections = nn.Module() if own is None else make(spec)
    trained = [*network.parameters(), *projections.parameters()]
    optimiser = torch.optim.SGD(trained, lr=0.1, momentum=0.9)
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    momentum = sum(state["momentum_buffer"].nbytes for state in optimiser.state_dict()["state"].values())
    a_checkpoint = 2 * size(network.state_dict()) + size(projections.state_dict()) + momentum
    assert checkpoint_bytes(spec) == 2 * a_checkpoint
    without = make_spec(**fields, optimisation={"momentum": 0.0, "nesterov": False})
    assert checkpoint_bytes(without) == 2 * (a_checkpoint - momentum)


def test_methods_that_need_logits_alone_are_the_ones_that_say_so() -> None:
    """Of kdcap's own methods: the list that is read without torch agrees with the classes."""
    ours = [point.name for point in distribution("kdcap").entry_points if point.group == GROUP]
    assert len(ours) == 4
    assert sorted(LOGITS_METHODS) == sorted(name for name in ours if method_class(name).needs == "logits")


@pytest.mark.parametrize("horizontal_flip", [False, True])
@pytest.mark.parametrize("padding", [0, 1, 4])
def test_a_table_has_a_row_for_every_view(
    padding: int, horizontal_flip: bool, make_spec: Callable[..., RunSpec]
) -> None:
    """As many as the augmentation draws from."""
    spec = make_spec(
        method="logit",
        hyperparameters=(("alpha", 0.5), ("temperature", 2.0)),
        teacher=make_spec(role="teacher"),
        dataset={"crop_padding": padding, "horizontal_flip": horizontal_flip},
        optimisation={"teacher_logits": "table"},
    )
    assert table_bytes(spec) == view_count(padding, horizontal_flip) * 64 * 10 * 4
