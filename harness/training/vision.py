"""torchvision, imported also where its compiled operators cannot load.

Use it as `from harness.training.vision import torchvision`.

PyPI's torchvision beside a CPU build of torch dies on `operator torchvision::nms does not exist`: its Python part
registers fake implementations of operators that only its compiled part defines. Models, datasets and transforms
need neither, so the two schemas are declared first.
"""

from __future__ import annotations

import torch

__all__ = ["torchvision"]

try:
    import torchvision
except RuntimeError as error:
    if "torchvision::nms does not exist" not in str(error):
        raise
    _schemas = torch.library.Library("torchvision", "FRAGMENT")  # the declaration lives as long as this object
    _schemas.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _schemas.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision
