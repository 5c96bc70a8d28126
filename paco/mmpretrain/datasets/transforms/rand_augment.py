"""RandAugment with the operations and levels of EfficientNet's TPU code."""

import math
import random

import numpy as np
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS
from PIL import Image, ImageOps

from .cifar10_policy import ENHANCERS, WITHOUT_LEVEL

__all__ = ["EfficientNetRandAugment"]

MAX_LEVEL = 10
MEAN = (124, 116, 104)  # of ImageNet, RGB: what comes in from beyond a border
INTERPOLATIONS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)
OPERATIONS = (
    *WITHOUT_LEVEL,
    *ENHANCERS,
    "Posterize",
    "Solarize",
    "SolarizeAdd",
    "Rotate",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
)


@TRANSFORMS.register_module()
class EfficientNetRandAugment(BaseTransform):
    """Some of 15 operations, drawn with replacement; each is done with probability .5.

    `Cubuk et al., 2019 <https://arxiv.org/abs/1909.13719>`_, as the ImageNet recipes of PaCo apply
    it: with Pillow's operations, bilinear or bicubic at random, and levels drawn from a normal
    distribution. Some operations grow milder with the level: level 10 keeps 4 bits and solarizes
    nothing, so level 10 is no black image, which the toolbox's ``timm_increasing`` makes of it.

    Args:
        num_policies (int): How many operations are drawn for an image, n, at least 1.
        magnitude_level (float): Mean of the level, m, of 10.
        magnitude_std (float): Its standard deviation. Levels are cut to 0 and 10. Defaults to 0.5.

    Images are BGR, as the toolbox's are.

    Raises:
        ValueError: For a number, a level or a standard deviation that is none.
    """

    def __init__(
        self, num_policies: int, magnitude_level: float, magnitude_std: float = 0.5
    ) -> None:
        for name, value, least in (
            ("num_policies", num_policies, 1),
            ("magnitude_level", magnitude_level, 0),
            ("magnitude_std", magnitude_std, 0),
        ):
            if not least <= value < math.inf:
                raise ValueError(
                    f"EfficientNetRandAugment: {name} must be finite and at least {least}, got "
                    f"{value}"
                )
        self.num_policies = num_policies
        self.magnitude_level = magnitude_level
        self.magnitude_std = magnitude_std

    def transform(self, results: dict) -> dict:
        image = Image.fromarray(results["img"][..., ::-1])
        for operation in random.choices(OPERATIONS, k=self.num_policies):
            if random.random() < 0.5:
                level = random.gauss(self.magnitude_level, self.magnitude_std)
                share = min(max(level / MAX_LEVEL, 0.0), 1.0)
                image = apply_operation(
                    image, operation, share, random.choice((-1, 1)), random.choice(INTERPOLATIONS)
                )
        results["img"] = np.ascontiguousarray(np.asarray(image)[..., ::-1])
        return results

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(num_policies={self.num_policies}, "
            f"magnitude_level={self.magnitude_level}, magnitude_std={self.magnitude_std})"
        )


def apply_operation(
    image: Image.Image, operation: str, share: float, sign: int, interpolation: Image.Resampling
) -> Image.Image:
    """The image after one operation at a level of ``share`` of the highest.

    Where a strength can have either sign, it has ``sign``.
    """
    if operation in WITHOUT_LEVEL:
        return WITHOUT_LEVEL[operation](image)
    if operation in ENHANCERS:
        return ENHANCERS[operation](image).enhance(0.1 + 1.8 * share)
    if operation == "Posterize":  # down to no bit, which Pillow's own refuses
        kept = 256 - (256 >> int(4 * share))
        return image.point(3 * [value & kept for value in range(256)])
    if operation == "Solarize":
        return ImageOps.solarize(image, int(256 * share))
    if operation == "SolarizeAdd":
        add = int(110 * share)
        table = [min(255, value + add) if value < 128 else value for value in range(256)]
        return image.point(3 * table)
    if operation == "Rotate":
        return image.rotate(sign * 30 * share, interpolation, fillcolor=MEAN)
    slope, shift = sign * 0.3 * share, sign * 0.45 * share
    matrix = {
        "ShearX": (1, slope, 0, 0, 1, 0),
        "ShearY": (1, 0, 0, slope, 1, 0),
        "TranslateX": (1, 0, shift * image.width, 0, 1, 0),
        "TranslateY": (1, 0, 0, 0, 1, shift * image.height),
    }[operation]
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, interpolation, fillcolor=MEAN
    )
