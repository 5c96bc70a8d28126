"""AutoAugment's CIFAR-10 policy; the toolbox's ``AutoAugment`` brings ImageNet's alone.

`Cubuk et al., CVPR 2019 <https://arxiv.org/abs/1805.09501>`_, table 7. Importing this module makes
it available as ``dict(type='AutoAugment', policies='cifar10')``.
"""

from mmpretrain.datasets.transforms.auto_augment import AUTOAUG_POLICIES

__all__ = ["CIFAR10_POLICY"]

# The 25 sub-policies: two operations each, with their probability and magnitude of 0 to 9.
CIFAR10_POLICY = (
    (("Invert", 0.1, 7), ("Contrast", 0.2, 6)),
    (("Rotate", 0.7, 2), ("TranslateX", 0.3, 9)),
    (("Sharpness", 0.8, 1), ("Sharpness", 0.9, 3)),
    (("ShearY", 0.5, 8), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.5, 8), ("Equalize", 0.9, 2)),
    (("ShearY", 0.2, 7), ("Posterize", 0.3, 7)),
    (("Color", 0.4, 3), ("Brightness", 0.6, 7)),
    (("Sharpness", 0.3, 9), ("Brightness", 0.7, 9)),
    (("Equalize", 0.6, 5), ("Equalize", 0.5, 1)),
    (("Contrast", 0.6, 7), ("Sharpness", 0.6, 5)),
    (("Color", 0.7, 7), ("TranslateX", 0.5, 8)),
    (("Equalize", 0.3, 7), ("AutoContrast", 0.4, 8)),
    (("TranslateY", 0.4, 3), ("Sharpness", 0.2, 6)),
    (("Brightness", 0.9, 6), ("Color", 0.2, 8)),
    (("Solarize", 0.5, 2), ("Invert", 0.0, 3)),
    (("Equalize", 0.2, 0), ("AutoContrast", 0.6, 0)),
    (("Equalize", 0.2, 8), ("Equalize", 0.6, 4)),
    (("Color", 0.9, 9), ("Equalize", 0.6, 6)),
    (("AutoContrast", 0.8, 4), ("Solarize", 0.2, 8)),
    (("Brightness", 0.1, 3), ("Color", 0.7, 0)),
    (("Solarize", 0.4, 5), ("AutoContrast", 0.9, 3)),
    (("TranslateY", 0.9, 9), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.9, 2), ("Solarize", 0.8, 3)),
    (("Equalize", 0.8, 8), ("Invert", 0.1, 3)),
    (("TranslateY", 0.7, 9), ("AutoContrast", 0.9, 1)),
)


def _transform(operation: str, prob: float, magnitude: int) -> dict:
    share = magnitude / 9
    kinds = {
        "ShearY": dict(type="Shear", direction="vertical", magnitude=0.3 * share),
        "TranslateX": dict(type="Translate", direction="horizontal", magnitude=150 / 331 * share),
        "TranslateY": dict(type="Translate", direction="vertical", magnitude=150 / 331 * share),
        "Rotate": dict(type="Rotate", angle=30 * share),
        "Brightness": dict(type="Brightness", magnitude=0.9 * share),
        "Color": dict(type="ColorTransform", magnitude=0.9 * share),
        "Contrast": dict(type="Contrast", magnitude=0.9 * share),
        "Sharpness": dict(type="Sharpness", magnitude=0.9 * share),
        "Posterize": dict(type="Posterize", bits=round(8 - 4 * share)),
        "Solarize": dict(type="Solarize", thr=256 * (1 - share)),
    }
    return dict(kinds.get(operation, dict(type=operation)), prob=prob)


AUTOAUG_POLICIES["cifar10"] = [[_transform(*step) for step in steps] for steps in CIFAR10_POLICY]
