"""Views look like the published ones, not only by their settings."""

import math
from typing import NamedTuple

import numpy as np
import pytest
from helpers.digits_runs import CONFIGS
from mmcv.transforms import Compose
from mmengine.config import Config


class View(NamedTuple):
    """What the published code's own transforms made of picture(), over so many draws."""

    recipe: str
    transforms: str  # their name in the recipe
    draws: int
    means: list[float]  # of statistics()
    deviations: list[float]


PUBLISHED = [
    View(
        "cifar100_lt/paco_if100",
        "autoaug_cutout",
        8000,
        [94.51, 101.31, 91.07, 73.38, 16.33, 53.93, 29.47],
        [23.8, 26.83, 23.08, 18.41, 5.26, 22.67, 7.81],
    ),
    View(
        "cifar100_lt/paco_if100",
        "sim32",
        8000,
        [126.66, 134.12, 125.11, 35.81, 8.39, 53.36, 0.0],
        [26.43, 29.98, 29.28, 13.4, 4.13, 33.65, 0.0],
    ),
    View(
        "imagenet_lt/paco_r50",
        "randcls",
        1500,
        [131.65, 138.77, 127.3, 45.03, 1.78, 74.11, 0.01],
        [33.7, 37.5, 37.16, 18.31, 0.92, 34.61, 0.1],
    ),
    View(
        "imagenet_lt/paco_r50",
        "sim",
        1500,
        [126.78, 136.46, 123.37, 37.04, 1.4, 56.49, 0.0],
        [29.97, 34.26, 32.76, 15.54, 0.65, 37.39, 0.0],
    ),
    View(
        "imagenet_lt/paco_r50",
        "randclsstack",
        1500,
        [132.95, 140.03, 128.77, 42.7, 1.68, 61.52, 0.04],
        [32.9, 35.43, 36.17, 19.09, 0.91, 43.08, 0.69],
    ),
]


def picture(size: int) -> np.ndarray:
    """Smooth and checked colours, [size, size, 3] RGB."""
    y, x = np.mgrid[:size, :size] * (256 / size)
    red = 128 + 90 * np.sin(x / 20) * np.cos(y / 33)
    green = 60 + 0.5 * y + 30 * ((x // 24 + y // 24) % 2)
    blue = 200 - 0.6 * x + 40 * np.sin((x + y) / 9)
    return np.stack([red, green, blue], -1).clip(0, 255).astype(np.uint8)


def statistics(image: np.ndarray) -> list[float]:
    """Colour, contrast, sharpness, saturation, and the percentage of black pixels."""
    image = image.astype(float)
    return [
        *image.mean((0, 1)),
        image.std(),
        np.abs(np.diff(image, axis=1)).mean(),
        (image.max(2) - image.min(2)).mean(),
        100 * (image.max(2) == 0).mean(),
    ]


@pytest.mark.parametrize("view", PUBLISHED, ids=lambda view: view.transforms)
def test_a_view_looks_as_published(view):
    config = Config.fromfile(CONFIGS / f"{view.recipe}.py")
    transform = Compose(config.to_dict()[view.transforms])
    small = view.recipe.startswith("cifar")
    # Files are read as BGR; CIFAR's arrays are RGB.
    channels = slice(None) if small else slice(None, None, -1)
    image, number = (picture(32), 2000) if small else (picture(256), 300)
    drawn = [
        statistics(transform(dict(img=image[..., channels].copy()))["img"][..., channels])
        for _ in range(number)
    ]
    errors = np.array(view.deviations) * math.sqrt(1 / number + 1 / view.draws)
    tolerance = 5 * errors + 0.01
    tolerance[-1] += 1  # one image in hundreds is black all over
    assert (np.abs(np.mean(drawn, axis=0) - view.means) <= tolerance).all()
