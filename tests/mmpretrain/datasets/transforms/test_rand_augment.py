import math
from collections import Counter

import numpy as np
import pytest
from mmpretrain.registry import TRANSFORMS
from PIL import Image

from paco.mmpretrain.datasets.transforms import rand_augment
from paco.mmpretrain.datasets.transforms.rand_augment import (
    INTERPOLATIONS,
    OPERATIONS,
    apply_operation,
)

NEAREST, BICUBIC = Image.Resampling.NEAREST, Image.Resampling.BICUBIC


def noise(size: int = 16) -> Image.Image:
    return Image.fromarray(np.random.randint(0, 256, (size, size, 3), dtype=np.uint8))


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def test_its_fifteen_operations_are_the_published_ones():
    assert len(OPERATIONS) == len(set(OPERATIONS)) == 15
    assert set(OPERATIONS) >= {"Invert", "SolarizeAdd", "Posterize", "TranslateY", "Sharpness"}


@pytest.mark.parametrize("level", [0.0, 2.4, 7.6, 9.9, 10.0])
def test_levels_mean_what_the_published_code_makes_of_them(level):
    image, share = noise(), level / 10
    before = pixels(image)

    def after(operation: str) -> np.ndarray:
        return pixels(apply_operation(image, operation, share, 1, NEAREST))

    # Numbers are cut off, not rounded: level 9.9 keeps three bits.
    kept = int(level / 10 * 4)
    assert np.array_equal(after("Posterize"), before >> (8 - kept) << (8 - kept))
    threshold = int(level / 10 * 256)
    assert np.array_equal(after("Solarize"), np.where(before < threshold, before, 255 - before))
    brighter = np.minimum(before + int(level / 10 * 110), 255)
    assert np.array_equal(after("SolarizeAdd"), np.where(before < 128, brighter, before))
    factor = level / 10 * 1.8 + 0.1
    assert np.abs(after("Brightness") - np.clip(before * factor, 0, 255)).max() <= 1


def test_moves_have_either_sign_and_bring_in_the_mean():
    image = noise(40)
    for operation in OPERATIONS:
        left, right = (
            pixels(apply_operation(image, operation, 0.8, sign, NEAREST)) for sign in (-1, 1)
        )
        moves = operation.startswith(("Rotate", "Shear", "Translate"))
        assert np.array_equal(left, right) != moves, operation
        assert (right == rand_augment.MEAN).all(axis=-1).any() == moves, operation
    moved = pixels(apply_operation(image, "TranslateX", 1.0, 1, NEAREST))
    assert np.array_equal(moved[:, :22], pixels(image)[:, 18:])  # .45 of the width
    turned = apply_operation(image, "Rotate", 0.5, -1, BICUBIC)
    assert turned == image.rotate(-15, BICUBIC, fillcolor=rand_augment.MEAN)


def test_what_is_drawn(monkeypatch):
    calls = []

    def record(image, operation, share, sign, interpolation):
        calls.append((operation, share, sign, interpolation))
        return image

    monkeypatch.setattr(rand_augment, "apply_operation", record)
    transform = TRANSFORMS.build(
        dict(type="EfficientNetRandAugment", num_policies=3, magnitude_level=6)
    )
    image = np.random.randint(0, 256, (4, 4, 3), dtype=np.uint8)
    for _ in range(4000):
        assert np.array_equal(transform(dict(img=image))["img"], image)
    # Each of 12,000 draws is done with probability .5; limits are six standard deviations.
    assert abs(len(calls) - 6000) < 6 * math.sqrt(12000 / 4)
    operations, shares, signs, interpolations = zip(*calls, strict=True)
    counts = Counter(operations)
    assert set(counts) == set(OPERATIONS)
    assert max(counts.values()) - min(counts.values()) < 12 * math.sqrt(len(calls) / 15)
    assert abs(np.mean(shares) - 0.6) < 6 * 0.05 / math.sqrt(len(calls))
    assert abs(np.std(shares) - 0.05) < 6 * 0.05 / math.sqrt(2 * len(calls))
    for either, values in ((signs, (-1, 1)), (interpolations, INTERPOLATIONS)):
        assert set(either) == set(values)
        assert abs(either.count(values[0]) - len(calls) / 2) < 3 * math.sqrt(len(calls))


def test_levels_end_at_ten(monkeypatch):
    shares = []
    monkeypatch.setattr(
        rand_augment, "apply_operation", lambda image, op, share, *_: shares.append(share) or image
    )
    transform = TRANSFORMS.build(
        dict(type="EfficientNetRandAugment", num_policies=2, magnitude_level=12)
    )
    for _ in range(200):
        transform(dict(img=np.zeros((4, 4, 3), dtype=np.uint8)))
    assert set(shares) == {1.0}


def test_images_are_bgr():
    transform = TRANSFORMS.build(
        dict(
            type="EfficientNetRandAugment",
            num_policies=1,
            magnitude_level=0,
            magnitude_std=0.0,
        )
    )
    blue = np.zeros((8, 8, 3), dtype=np.uint8)
    blue[..., 0] = 200
    results = {tuple(transform(dict(img=blue))["img"][0, 0].tolist()) for _ in range(300)}
    # Color at level 0 leaves a tenth of the colour beside nine tenths of the grey of blue, .114.
    assert any(abs(b - 40) <= 2 and abs(r - 20) <= 2 and g == r for b, g, r in results)


@pytest.mark.parametrize(
    ("name", "value"),
    [("num_policies", 0), ("magnitude_level", -1.0), ("magnitude_std", math.nan)],
)
def test_impossible_settings_are_refused(name, value):
    settings = dict(num_policies=2, magnitude_level=10, magnitude_std=0.5) | {name: value}
    with pytest.raises(ValueError, match=f"{name} must be finite and at least .*, got {value}"):
        TRANSFORMS.build(dict(type="EfficientNetRandAugment", **settings))
