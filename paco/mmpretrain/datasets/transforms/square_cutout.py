"""Cutout as its authors cut; the toolbox's holes are larger at the top and the left border."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS

__all__ = ["SquareCutout"]


@TRANSFORMS.register_module()
class SquareCutout(BaseTransform):
    """A black square around a random pixel; what lies beyond the image's borders is cut off.

    `DeVries and Taylor, 2017 <https://arxiv.org/abs/1708.04552>`_.

    Args:
        size (int): Side of the square in pixels, even.
    """

    def __init__(self, size: int) -> None:
        if size < 2 or size % 2:
            raise ValueError(f"SquareCutout: size must be even and at least 2, got {size}")
        self.size = size

    def transform(self, results: dict) -> dict:
        image = results["img"].copy()
        y, x = (np.random.randint(extent) for extent in image.shape[:2])
        half = self.size // 2
        image[max(y - half, 0) : y + half, max(x - half, 0) : x + half] = 0
        results["img"] = image
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(size={self.size})"
