"""Ground-truth masks of many regions that lie on few lesions, without a copy a region.

Shapes: L lesions of a slice, R regions that refer to them, H x W pixels, S x S mask pixels.
"""

import torch
from detectron2.layers import ROIAlign
from detectron2.structures import BitMasks


class SharedBitMasks:
    """Stands for Detectron2's ``BitMasks`` of R regions where training reads them.

    Each of 256 sampled regions of a slice would take a copy of its lesion's H x W mask along, of
    which a few are read.
    """

    def __init__(self, masks: BitMasks, lesion: torch.Tensor | None = None) -> None:
        """
        Args:
            masks: of L lesions.
            lesion: ``(R,)``, the lesion of each region; each lesion once if not given.
        """
        self.masks = masks
        self.lesion = torch.arange(len(masks), device=masks.device) if lesion is None else lesion

    def __len__(self) -> int:
        return len(self.lesion)

    def __getitem__(self, item: torch.Tensor | slice) -> "SharedBitMasks":
        return SharedBitMasks(self.masks, self.lesion[item])

    def crop_and_resize(self, boxes: torch.Tensor, mask_size: int) -> torch.Tensor:
        """``(R, S, S)`` bool: the masks in their boxes ``(R, 4)``, as ``BitMasks`` gives them."""
        rois = torch.cat([self.lesion.to(boxes)[:, None], boxes], dim=1)
        pool = ROIAlign((mask_size, mask_size), 1.0, 0, aligned=True)
        return pool(self.masks.tensor[:, None].float(), rois).squeeze(1) >= 0.5
