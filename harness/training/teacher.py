"""The frozen teacher: a network that will not change again, made as fast as it goes without changing what it says."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import torch
import torch.fx
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from harness.study.spec import RunSpec
from harness.training.augment import normalise
from harness.training.data import Data
from harness.training.models import build
from harness.training.network import Network, Outputs

# With fewer than 16 images PyTorch on one thread computes 1x1 convolutions in another library, to other bits
# (use_mkldnn in aten/src/ATen/native/Convolution.cpp), and matrix products differ with fewer than 4 rows. With 16 or
# more, an image's outputs were found to depend on nothing else in its batch.
_SMALLEST_BATCH = 16
_CALIBRATION_IMAGES, _CALIBRATION_BATCH = 1024, 128


class FrozenTeacher(Network):
    """A network for evaluation only: batch norms folded into convolutions, channels_last, without gradients.

    Its outputs are constants to autograd. They are float32 whatever the precision, and agree with the network's own to
    rounding.

    Args:
        network: The network; it stays as it is.
        precision: `fp32` and `tf32`: computed in the network's own type, convolutions as `determinism.configure` set
            them. `bf16`: convolutions and the classifier in bfloat16, remaining batch norms in float32.
        device: Where to compute.
    """

    def __init__(self, network: Network, *, precision: str, device: torch.device) -> None:
        super().__init__()
        self.network = fold_batch_norms(network)
        if precision == "bf16":
            for layer in self.network.modules():
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    layer.to(torch.bfloat16)
        self.network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload] # stubs lack it
        self.eval().requires_grad_(requires_grad=False)
        self._dtype = next(self.network.parameters()).dtype

    # Not inference_mode: autograd cannot keep inference tensors, and the student's losses need these.
    @torch.no_grad()
    def outputs(self, images: Tensor) -> Outputs:
        """Features and logits.

        Args:
            images: Normalised images on the teacher's device, float32, shape (batch, 3, height, width).

        Returns:
            Outputs in the images' type. Each row depends on its own image alone, not on the batch around it.
        """
        found = self.network.outputs(self._filled(images))
        features = tuple(each[: len(images)].to(images.dtype) for each in found.features)
        return Outputs(features, found.logits[: len(images)].to(images.dtype))

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) alone; see `outputs`."""
        found: Tensor = self.network(self._filled(images))
        return found[: len(images)].to(images.dtype)

    def _filled(self, images: Tensor) -> Tensor:
        missing = max(0, _SMALLEST_BATCH - len(images))
        filled = F.pad(images, (0, 0, 0, 0, 0, 0, 0, missing)) if missing else images
        return filled.to(self._dtype, memory_format=torch.channels_last)


class _OutputsTracer(torch.fx.Tracer):
    """Follows a network's data through `outputs`, so that features count as uses."""

    traced_func_name = "outputs"


def fold_batch_norms(network: Network) -> Network:
    """A copy in evaluation mode in which batch norms are part of the convolutions before them.

    Folded is every batch norm that follows a convolution whose output nothing else uses, as the traced data flow shows:
    all of a ResNet's; in a WideResNet the second of each block, and the first where the block has a shortcut with
    weights and follows a convolution.
    """
    network = copy.deepcopy(network).eval()
    layers = dict(network.named_modules())
    for node in _OutputsTracer().trace(network).nodes:
        if node.op == "call_module" and isinstance(norm := layers[str(node.target)], nn.BatchNorm2d):
            source = node.all_input_nodes[0]
            before = layers.get(str(source.target))
            if source.op == "call_module" and isinstance(before, nn.Conv2d) and len(source.users) == 1:
                network.set_submodule(str(source.target), fuse_conv_bn_eval(before, norm))
                network.set_submodule(str(node.target), nn.Identity())
    return network


def untrained_network(teacher: RunSpec, data: Data, device: torch.device) -> Network:
    """A teacher's network as it was initialised, with batch norm statistics that fit the images.

    The statistics that a network starts with, mean 0 and variance 1, are true of no layer: in evaluation mode each
    residual block would add to the variance of the last, and the largest logit of full-size networks would be anything
    from 0.7 (resnet18) to 15,000 (resnet101). So they are taken from one pass in training mode over the first 1,024
    training images, not augmented, in batches of 128: the mean of the batches' own statistics. The largest logit is
    then between 1 and 2 in all of them.

    Args:
        teacher: The teacher's run.
        data: Its images.
        device: Where to compute the statistics, and where the network will be.
    """
    network = _initialised(teacher, data).to(device).train()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # torch's word for the plain mean over batches
    images = data.train_images[:_CALIBRATION_IMAGES].to(device)
    mean, std = data.mean.to(device), data.std.to(device)
    with torch.no_grad():
        # Batches of nearly one size: none is left with a single image, which has no variance.
        for batch in images.tensor_split(math.ceil(len(images) / _CALIBRATION_BATCH)):
            network(normalise(batch, mean, std))
    return network.eval()


def teacher_of(
    spec: RunSpec, data: Data, weights: Mapping[str, Tensor] | None, device: torch.device, untrained: bool
) -> FrozenTeacher:
    """The teacher that a run learns from.

    Args:
        spec: The student's run.
        data: Its images.
        weights: State of the teacher's trained network; not needed for an untrained one.
        device: Where to compute.
        untrained: Take the network as it was initialised instead: the teacher of control arms.

    Raises:
        ValueError: The run is a baseline, or a trained teacher comes without weights.
    """
    if spec.teacher is None:
        raise ValueError(f"{spec.name} is a baseline and has no teacher")
    if untrained:
        network = untrained_network(spec.teacher, data, device)
    elif weights is None:
        raise ValueError(f"{spec.name} needs the weights of {spec.teacher.name}")
    else:
        network = _initialised(spec.teacher, data)
        network.load_state_dict(dict(weights))
    return FrozenTeacher(network, precision=spec.optimisation.precision, device=device)


def _initialised(teacher: RunSpec, data: Data) -> Network:
    return build(teacher.architecture, teacher.stem, teacher.model, data.classes, teacher.role, teacher.seed)
