"""Ground-truth masks that the sampled regions of a slice share instead of copying them.

Shapes: L lesions of a slice, R regions that refer to them, H x W pixels, S x S mask pixels.
"""

import torch
from detectron2.layers import ROIAlign
from detectron2.structures import BitMasks


class SharedBitMasks:
    """Replaces Detectron2's ``BitMasks`` of R regions in training.

    With ``BitMasks``, each of the 256 sampled regions of a slice copies its lesion's H x W mask,
    but only the masks of foreground regions are read.
    """

    def __init__(self, masks: BitMasks, lesion: torch.Tensor | None = None) -> None:
        """
        Args:
            masks: the masks of L lesions.
            lesion: ``(R,)``, the lesion of each region; by default each lesion once.
        """
        self.masks = masks
        self.lesion = torch.arange(len(masks), device=masks.device) if lesion is None else lesion

    def __len__(self) -> int:
        return len(self.lesion)

    def __getitem__(self, item: torch.Tensor | slice) -> "SharedBitMasks":
        return SharedBitMasks(self.masks, self.lesion[item])

    def crop_and_resize(self, boxes: torch.Tensor, mask_size: int) -> torch.Tensor:
        """Crop the masks to boxes ``(R, 4)``, as ``BitMasks`` does: ``(R, S, S)`` bool."""
        rois = torch.cat([self.lesion.to(boxes)[:, None], boxes], dim=1)
        pool = ROIAlign((mask_size, mask_size), 1.0, 0, aligned=True)
        return pool(self.masks.tensor[:, None].float(), rois).squeeze(1) >= 0.5
