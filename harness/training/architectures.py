"""The architectures' layouts, as numbers: no torch needed to read them."""

from __future__ import annotations

from dataclasses import dataclass

from harness.study.spec import Architecture


@dataclass(frozen=True)
class Layout:
    """A ResNet's layout (He et al. 2016, table 1).

    Attributes:
        block: torchvision's block class.
        expansion: Output channels of a block over its inner channels.
        blocks: Blocks in each of the four stages.
    """

    block: str
    expansion: int
    blocks: tuple[int, int, int, int]

    def channels(self, width: int) -> tuple[int, ...]:
        """Output channels of layer1..layer4, for a first stage of `width` channels."""
        return tuple(width * 2**stage * self.expansion for stage in range(4))


LAYOUTS: dict[Architecture, Layout] = {
    "resnet18": Layout("BasicBlock", 1, (2, 2, 2, 2)),
    "resnet34": Layout("BasicBlock", 1, (3, 4, 6, 3)),
    "resnet50": Layout("Bottleneck", 4, (3, 4, 6, 3)),
    "resnet101": Layout("Bottleneck", 4, (3, 4, 23, 3)),
}
