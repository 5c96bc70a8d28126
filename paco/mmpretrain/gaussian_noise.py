"""Noise, the one part of the digits' views that no toolbox transform makes."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS

__all__ = ["GaussianNoise"]


@TRANSFORMS.register_module()
class GaussianNoise(BaseTransform):
    """Adds independent normal noise to each value of the image, which becomes float32.

    Values may leave the range of pixels: clipping would bend the noise on black and white.

    Args:
        std (float): Standard deviation, in units of the image's values.
    """

    def __init__(self, std: float) -> None:
        self.std = std

    def transform(self, results: dict) -> dict:
        noise = np.random.normal(0, self.std, results["img"].shape)
        results["img"] = (results["img"] + noise).astype(np.float32)
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(std={self.std})"
