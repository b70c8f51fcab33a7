"""The anchors of the published implementation."""

from collections.abc import Sequence

import torch
from detectron2.modeling.anchor_generator import ANCHOR_GENERATOR_REGISTRY, DefaultAnchorGenerator


@ANCHOR_GENERATOR_REGISTRY.register()
class RoundedAnchorGenerator(DefaultAnchorGenerator):
    """Cell anchors in torchvision's convention, which the published weights were trained with.

    Two things differ from Detectron2's default. Half-widths and half-heights are rounded to whole
    pixels, half to even, so a 2 px anchor of ratio 0.1 has height 0. The order is ratio-major,
    ``index = ratio_index * len(sizes) + size_index``; the channels of the RPN head follow it.
    """

    def generate_cell_anchors(
        self,
        sizes: Sequence[float] = (2, 4, 8, 16, 32),
        aspect_ratios: Sequence[float] = (0.1, 0.25, 0.5, 1.0, 1.5, 2.0),
    ) -> torch.Tensor:
        """Anchors around (0, 0).

        Args:
            sizes: square roots of the anchors' areas before rounding, in pixels.
            aspect_ratios: height / width.

        Returns:
            ``(len(aspect_ratios) * len(sizes), 4)``: x0, y0, x1, y1 in whole pixels.
        """
        size = torch.tensor(sizes, dtype=torch.float32)
        root_ratio = torch.tensor(aspect_ratios, dtype=torch.float32).sqrt()
        heights = torch.outer(root_ratio, size).flatten()
        widths = torch.outer(1.0 / root_ratio, size).flatten()
        return (torch.stack([-widths, -heights, widths, heights], dim=1) / 2).round()
