"""AutoAugment's CIFAR-10 policy; the toolbox's ``AutoAugment`` brings ImageNet's alone."""

import random

from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS
from PIL import Image, ImageEnhance, ImageOps
from torchvision.transforms import AutoAugment, AutoAugmentPolicy

__all__ = ["CIFAR10Policy"]

GREY = (128, 128, 128)
# Each operation's strength at level 9; it grows linearly from level 0.
STRONGEST = {
    "ShearY": 0.3,
    "TranslateX": 150 / 331,  # of the image's width
    "TranslateY": 150 / 331,
    "Rotate": 30.0,  # degrees
    "Brightness": 0.9,
    "Color": 0.9,
    "Contrast": 0.9,
    "Sharpness": 0.9,
    "Posterize": 4.0,  # bits fewer than 8
    "Solarize": 256.0,  # grey levels below 256
}
ENHANCERS = {
    "Brightness": ImageEnhance.Brightness,
    "Color": ImageEnhance.Color,
    "Contrast": ImageEnhance.Contrast,
    "Sharpness": ImageEnhance.Sharpness,
}
WITHOUT_LEVEL = {
    "AutoContrast": ImageOps.autocontrast,
    "Equalize": ImageOps.equalize,
    "Invert": ImageOps.invert,
}


@TRANSFORMS.register_module()
class CIFAR10Policy(BaseTransform):
    """One of AutoAugment's 25 sub-policies for CIFAR-10, drawn at random for each image.

    `Cubuk et al., CVPR 2019 <https://arxiv.org/abs/1805.09501>`_, table 7, as PaCo's code applies
    it: with Pillow's operations, borders filled with grey (128), shears interpolated bicubically,
    and rotations always counterclockwise. Shears, translations and enhancements take either sign.

    ``results["img"]`` is a PIL image (``NumpyToPIL`` makes one) and stays one.
    """

    def __init__(self) -> None:
        # Pairs of (operation, probability, level of 0 to 9 or None).
        self.policies = AutoAugment(AutoAugmentPolicy.CIFAR10).policies

    def transform(self, results: dict) -> dict:
        image = results["img"]
        for operation, probability, level in random.choice(self.policies):
            if random.random() < probability:
                image = apply_operation(image, operation, level, random.choice((-1, 1)))
        results["img"] = image
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def apply_operation(
    image: Image.Image, operation: str, level: int | None, sign: int
) -> Image.Image:
    """The image after one operation, whose strength has this sign where it can have one."""
    if operation in WITHOUT_LEVEL:
        return WITHOUT_LEVEL[operation](image)
    strength = STRONGEST[operation] * level / 9
    if operation in ENHANCERS:
        return ENHANCERS[operation](image).enhance(1 + sign * strength)
    if operation == "Posterize":
        return ImageOps.posterize(image, 8 - round(strength))
    if operation == "Solarize":
        return ImageOps.solarize(image, 256 - strength)
    if operation == "Rotate":
        return image.rotate(strength, fillcolor=GREY)
    if operation == "ShearY":
        matrix, interpolation = (1, 0, 0, sign * strength, 1, 0), Image.Resampling.BICUBIC
    else:
        x, y = (image.width, 0) if operation == "TranslateX" else (0, image.height)
        matrix = (1, 0, sign * strength * x, 0, 1, sign * strength * y)
        interpolation = Image.Resampling.NEAREST
    affine = Image.Transform.AFFINE
    return image.transform(image.size, affine, matrix, interpolation, fillcolor=GREY)
