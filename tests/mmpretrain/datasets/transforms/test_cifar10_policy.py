import numpy as np
import pytest
from mmpretrain.registry import TRANSFORMS
from PIL import Image
from torchvision.transforms import AutoAugment, AutoAugmentPolicy

from paco.mmpretrain.datasets.transforms.cifar10_policy import (
    STRONGEST,
    WITHOUT_LEVEL,
    apply_operation,
)


def noise() -> Image.Image:
    return Image.fromarray(np.random.randint(0, 256, (32, 32, 3), dtype=np.uint8))


@pytest.mark.parametrize("level", range(10))
def test_strengths_are_torchvision_s(level):
    space = AutoAugment(AutoAugmentPolicy.CIFAR10)._augmentation_space(10, (32, 32))
    for operation, strongest in STRONGEST.items():
        expected = space[operation][0][level].item()
        if operation == "Posterize":
            assert 8 - round(strongest * level / 9) == expected
        elif operation == "Solarize":  # from 255 down there, from 256 in the authors' code
            assert 256 - strongest * level / 9 == pytest.approx(expected, abs=1)
        else:
            size = 32 if operation.startswith("Translate") else 1
            assert strongest * level / 9 * size == pytest.approx(expected, rel=1e-6)


def test_every_operation_of_the_policy_is_known():
    policies = TRANSFORMS.build(dict(type="CIFAR10Policy")).policies
    assert len(policies) == 25
    operations = {operation for policy in policies for operation, _, _ in policy}
    assert operations <= set(STRONGEST) | set(WITHOUT_LEVEL)


def test_borders_are_grey():
    black = Image.new("RGB", (32, 32))
    for operation in ("ShearY", "TranslateX", "TranslateY", "Rotate"):
        for sign in (1, -1):
            values = set(np.unique(apply_operation(black, operation, 9, sign)))
            assert {0, 128} <= values, operation


def test_a_rotation_is_counterclockwise_and_the_rest_takes_either_sign():
    image = noise()
    for operation in STRONGEST:
        results = [apply_operation(image, operation, 5, sign).tobytes() for sign in (1, -1)]
        one_sided = operation in ("Rotate", "Posterize", "Solarize")
        assert (results[0] == results[1]) == one_sided, operation
    turned = apply_operation(image, "Rotate", 9, 1)
    assert turned == image.rotate(30, fillcolor=(128, 128, 128))


def test_grey_is_that_of_rgb():
    """The toolbox's Color and Contrast take RGB for BGR."""
    blue = Image.new("RGB", (4, 4), (0, 0, 200))
    grey = 0.114 * 200
    for operation in ("Color", "Contrast"):  # a tenth of the image, the rest of its grey
        red, green, blue_ = apply_operation(blue, operation, 9, -1).getpixel((0, 0))
        assert red == green == pytest.approx(0.9 * grey, abs=1.5)
        assert blue_ == pytest.approx(0.9 * grey + 20, abs=1.5)


def test_it_makes_images():
    transform = TRANSFORMS.build(dict(type="CIFAR10Policy"))
    image = noise()
    results = [transform(dict(img=image.copy()))["img"] for _ in range(200)]
    assert all(result.size == (32, 32) and result.mode == "RGB" for result in results)
    assert len({result.tobytes() for result in results}) > 20
