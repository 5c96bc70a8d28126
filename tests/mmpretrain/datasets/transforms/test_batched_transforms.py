"""The batched transforms against the toolbox's own: each operation pixel by pixel where nothing is
drawn, and what is drawn by its statistics.
"""

import math

import numpy as np
import pytest
import torch
from helpers.digits_runs import CONFIGS
from mmcv.transforms import Compose
from mmengine.config import Config
from mmpretrain.registry import TRANSFORMS
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from paco.mmpretrain import CIFAR10Policy
from paco.mmpretrain.datasets.transforms.batched_transforms import _operate, transform_batch
from paco.mmpretrain.datasets.transforms.cifar10_policy import (
    STRONGEST,
    WITHOUT_LEVEL,
    apply_operation,
)


def smooth_images(count: int, size: int = 32) -> Tensor:
    """uint8 [N, 3, H, W] with the contrasts and the edges of photographs, roughly."""
    coarse = 60 * torch.randn(count, 3, 6, 6) + 128
    fine = 12 * torch.randn(count, 3, size, size)
    images = F.interpolate(coarse, size=(size, size), mode="bicubic") + fine
    return images.round().clamp(0, 255).to(torch.uint8)


def one_by_one(transform: object, images: Tensor) -> Tensor:
    """The toolbox's own transform of each image."""
    results = []
    for image in images.permute(0, 2, 3, 1).numpy():
        result = transform({"img": np.ascontiguousarray(image)})["img"]
        results.append(torch.from_numpy(np.asarray(result).copy()))
    return torch.stack(results).permute(0, 3, 1, 2)


def views_of(recipe: str) -> list:
    """The transforms of each view of a CIFAR-100-LT recipe."""
    config = Config.fromfile(CONFIGS / "cifar100_lt" / f"{recipe}_if100.py")
    return TRANSFORMS.build(config.train_dataloader.dataset.pipeline[0]).transforms


def mean_difference(a: Tensor, b: Tensor) -> float:
    return (a.float() - b.float()).abs().mean().item()


# ---- Transforms without a draw -------------------------------------------------------------------

# The mean difference allowed, in grey levels: Pillow rounds down, and its bicubic weights differ.
TOLERANCE = {"ShearY": 2.0, "Rotate": 0.1, "TranslateX": 0.1, "TranslateY": 0.1}


@pytest.mark.parametrize("operation", [*STRONGEST, *WITHOUT_LEVEL])
@pytest.mark.parametrize("sign", [1, -1])
def test_operation_of_auto_augment(operation, sign):
    class Operation(CIFAR10Policy):
        """The policy's operation at one level, of one sign."""

        def transform(self, results: dict) -> dict:
            results["img"] = apply_operation(results["img"], operation, 9, sign)
            return results

    images = smooth_images(12)
    if operation == "AutoContrast":  # give it something to do
        images = images // 2 + 60
    pipeline = Compose([dict(type="NumpyToPIL"), Operation(), dict(type="PILToNumpy")])
    before = images.clone()
    actual = _operate(images, operation, 9, sign)
    expected = one_by_one(pipeline, images)
    assert torch.equal(images, before)
    assert actual.dtype == torch.uint8
    tolerance = TOLERANCE.get(operation, 0.6)
    assert mean_difference(actual, expected) <= tolerance
    assert mean_difference(images, expected) > 3 * tolerance  # it did something


def test_blur_of_one_radius():
    transform = TRANSFORMS.build(dict(type="GaussianBlur", radius=1.3, prob=1.0))
    images = smooth_images(12)
    assert mean_difference(transform_batch(transform, images), one_by_one(transform, images)) <= 1


@pytest.mark.parametrize("order", range(4))
@pytest.mark.parametrize("negative", [False, True])
def test_color_jitter_of_one_kind_is_torchvision_s(order, negative):
    # A range of one value: nothing but the order of one is drawn.
    kind = ["brightness", "contrast", "saturation", "hue"][order]
    value = (-0.08 if negative else 0.08) if kind == "hue" else (0.7 if negative else 1.3)
    transform = TRANSFORMS.build({"type": "torchvision/ColorJitter", kind: (value, value)})
    pipeline = Compose([dict(type="NumpyToPIL"), transform, dict(type="PILToNumpy")])
    images = smooth_images(12)
    actual = transform_batch(pipeline, images)
    expected = one_by_one(pipeline, images)
    # PIL's hue is a byte, of which a whole turn has 255.
    assert mean_difference(actual, expected) < (2.5 if kind == "hue" else 1)
    assert mean_difference(images, expected) > 4


# ---- Transforms with draws -----------------------------------------------------------------------


def test_crop_takes_every_place_of_the_padded_image():
    transform = TRANSFORMS.build(dict(type="torchvision/RandomCrop", size=8, padding=2))
    image = 1 + torch.arange(3 * 64, dtype=torch.uint8).view(1, 3, 8, 8)
    padded = F.pad(image, [2] * 4)
    crops = {
        padded[..., y : y + 8, x : x + 8].numpy().tobytes() for y in range(5) for x in range(5)
    }
    drawn = transform_batch(transform, image.expand(1000, -1, -1, -1))
    assert {crop[None].numpy().tobytes() for crop in drawn} == crops


@pytest.mark.parametrize(
    "config",
    [
        dict(type="torchvision/RandomHorizontalFlip", p=0.3),
        dict(type="torchvision/RandomGrayscale", p=0.3),
        dict(type="GaussianBlur", radius=2.0, prob=0.3),
        dict(
            type="RandomApply",
            prob=0.3,
            transforms=[dict(type="torchvision/RandomHorizontalFlip", p=1.0)],
        ),
    ],
    ids=lambda config: config["type"],
)
def test_probability(config):
    transform = TRANSFORMS.build(config)
    images = smooth_images(1).expand(2000, -1, -1, -1)
    changed = (transform_batch(transform, images) != images).flatten(1).any(1).float().mean().item()
    assert abs(changed - 0.3) < 6 * math.sqrt(0.3 * 0.7 / 2000)


def test_cutout_cuts_as_one_by_one():
    transform = TRANSFORMS.build(dict(type="SquareCutout", size=16))
    images = torch.full((6000, 3, 32, 32), 200, dtype=torch.uint8)
    actual = (transform_batch(transform, images) == 0).float().mean((0, 1))
    expected = (one_by_one(transform, images) == 0).float().mean((0, 1))
    assert (actual - expected).abs().max() < 0.06  # over six standard deviations
    assert abs(actual.mean() - expected.mean()) < 0.01


def test_resized_crop_draws_as_torchvision_does():
    # The image's colours are its coordinates, so a crop shows where it is and how large.
    y, x = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    image = torch.stack([8 * x, 8 * y, 0 * x]).to(torch.uint8)
    images = image.expand(5000, -1, -1, -1)
    transform = TRANSFORMS.build(
        dict(type="torchvision/RandomResizedCrop", size=32, scale=(0.2, 1.0))
    )
    pipeline = Compose([dict(type="NumpyToPIL"), transform, dict(type="PILToNumpy")])

    def statistics(crops: Tensor) -> Tensor:
        x, y = crops[:, 0].float() / 8, crops[:, 1].float() / 8
        width = x[:, 0, -1] - x[:, 0, 0] + 1
        height = y[:, -1, 0] - y[:, 0, 0] + 1
        values = torch.stack(
            [x[:, 0, 0], y[:, 0, 0], width, height, width * height, (width / height).log()]
        )
        return torch.cat([values.mean(1), values.std(1)])

    actual = statistics(transform_batch(pipeline, images))
    expected = statistics(one_by_one(pipeline, images))
    #        left top   w    h  area   ratio, then their deviations
    scale = [6.5, 6.5, 6.5, 6.5, 240, 0.17] * 2
    limit = 0.15 * torch.tensor(scale)  # at least seven standard deviations
    assert ((actual - expected).abs() < limit).all(), (actual, expected)


def test_resized_crop_of_a_whole_image_is_the_image():
    transform = TRANSFORMS.build(
        dict(type="torchvision/RandomResizedCrop", size=32, scale=(1.0, 1.0), ratio=(1.0, 1.0))
    )
    images = smooth_images(5)
    assert torch.equal(transform_batch(transform, images), images)


def test_resized_crop_sends_the_device_rows_and_columns_and_not_each_pixel():
    class LargestOnTheCpu(TorchDispatchMode):
        numel = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **kwargs or {})
            if isinstance(result, Tensor) and result.device.type == "cpu":
                self.numel = max(self.numel, result.numel())
            return result

    transform = TRANSFORMS.build(dict(type="torchvision/RandomResizedCrop", size=32))
    images = torch.empty(10, 3, 32, 32, dtype=torch.uint8, device="meta")
    with LargestOnTheCpu() as largest:
        transform_batch(transform, images)
    assert largest.numel <= 10 * 32


def test_blur_draws_from_its_range():
    transform = TRANSFORMS.build(
        dict(type="GaussianBlur", magnitude_range=(0.1, 2.0), magnitude_std="inf", prob=1.0)
    )
    images = smooth_images(1).expand(4000, -1, -1, -1)

    def sharpness(x: Tensor) -> Tensor:
        steps = (x[..., 1:].float() - x[..., :-1].float()).abs().mean((1, 2, 3))
        return steps.quantile(torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95]))

    actual, expected = (
        sharpness(transform_batch(transform, images)),
        sharpness(one_by_one(transform, images)),
    )
    # At least seven standard deviations, and what the two blurs differ by.
    torch.testing.assert_close(actual, expected, rtol=0.15, atol=0.5)


@pytest.mark.parametrize("view", [0, 1])
@pytest.mark.parametrize("recipe", ["paco", "gpaco"])
def test_a_recipe_s_views_have_the_toolbox_s_statistics(recipe, view):
    pipeline = views_of(recipe)[view]
    images = smooth_images(3000)

    def statistics(views: Tensor) -> Tensor:
        """Statistics of each image, [N, S]: brightness, contrast, sharpness, color, three greys."""
        values = views.double().flatten(2)
        levels = values.mean(1)
        steps = (views[..., 1:].double() - views[..., :-1].double()).abs()
        return torch.stack(
            [
                levels.mean(1),
                levels.std(1),
                steps.mean((1, 2, 3)),
                (values.amax(1) - values.amin(1)).mean(1),
                *((values == value).double().mean((1, 2)) for value in (0, 128, 255)),
            ],
            dim=1,
        )

    actual = statistics(transform_batch(pipeline, images))
    expected = statistics(one_by_one(pipeline, images))
    standard_error = ((actual.var(0) + expected.var(0)) / len(images)).sqrt()
    difference = (actual.mean(0) - expected.mean(0)).abs()
    # Six standard errors of the draws, and what interpolations differ by.
    assert (difference <= 6 * standard_error + 0.02 * expected.mean(0) + 1e-3).all(), difference


def test_a_seed_repeats_the_draws():
    images = smooth_images(40)
    for pipeline in views_of("paco"):
        torch.manual_seed(3)
        first = transform_batch(pipeline, images)
        other = transform_batch(pipeline, images)
        torch.manual_seed(3)
        assert torch.equal(transform_batch(pipeline, images), first)
        assert not torch.equal(other, first)


def test_a_transform_without_a_batched_form_is_named():
    images = smooth_images(2)
    with pytest.raises(TypeError, match=r"no batched form of.*Lighting"):
        transform_batch(TRANSFORMS.build(dict(type="Lighting", eigval=[1], eigvec=[[1]])), images)
