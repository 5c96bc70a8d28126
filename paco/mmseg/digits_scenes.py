"""Furniture of the demonstration: scenes of long-tailed digits, and a network for them."""

import functools

import numpy as np
import torch
from mmcv.cnn import ConvModule
from mmcv.transforms import BaseTransform
from mmengine.model import BaseModule
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS, MODELS, TRANSFORMS
from torch import Tensor, nn

__all__ = ["DigitsScenes", "LoadScene", "SmallSegBackbone"]

SIZE = 48  # of a scene, in pixels
SCALE = 2  # of a digit: 8 x 8 becomes 16 x 16
DIGITS = 5  # in a scene
TEST_IMAGES = 60  # of each digit
INK, PAPER = 0.5, 0.15  # a pixel in between is neither, and ignored


@functools.cache
def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """Images [N, 8, 8] in [0, 1] and labels, kept because scikit-learn reads them from a text."""
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError(
            "DigitsScenes: the images come with scikit-learn: pip install scikit-learn"
        ) from error
    digits = datasets.load_digits()
    return digits.images / 16, digits.target


@DATASETS.register_module()
class DigitsScenes(BaseSegDataset):
    """scikit-learn's handwritten digits scattered over noisy scenes, with a label a pixel.

    A scene is 48 x 48, grey, with 5 digits of 16 x 16 that touch each other here and there. Classes
    are the paper and the ten digits; pixels on the edge of the ink are ignored. In the training
    split digit i is drawn in proportion to (1 / IF)^(i / 9), in the test split all are drawn alike,
    from other writing.

    Args:
        split (str): "train" or "test". Defaults to "train".
        num_scenes (int): How many scenes there are. Defaults to 200.
        imbalance_factor (float): IF, the most frequent digit over the rarest. Defaults to 20.
        seed (int): Draws the scenes. Defaults to 0.
        **kwargs: ``pipeline`` and the like, of :class:`mmseg.datasets.BaseSegDataset`.
    """

    METAINFO = dict(  # noqa: RUF012
        classes=("paper", *"0123456789"),
        palette=[
            [40, 40, 40],
            [31, 119, 180],
            [255, 127, 14],
            [44, 160, 44],
            [214, 39, 40],
            [148, 103, 189],
            [140, 86, 75],
            [227, 119, 194],
            [188, 189, 34],
            [23, 190, 207],
            [255, 255, 255],
        ],
    )

    def __init__(
        self,
        split: str = "train",
        num_scenes: int = 200,
        imbalance_factor: float = 20,
        seed: int = 0,
        **kwargs,
    ) -> None:
        if split not in ("train", "test"):
            raise ValueError(f"DigitsScenes: split must be 'train' or 'test', got {split!r}")
        if num_scenes < 1:
            raise ValueError(f"DigitsScenes: num_scenes must be at least 1, got {num_scenes}")
        if not imbalance_factor >= 1:
            raise ValueError(
                f"DigitsScenes: imbalance_factor must be at least 1, got {imbalance_factor}"
            )
        self.split = split
        self.num_scenes = num_scenes
        self.imbalance_factor = imbalance_factor
        self.seed = seed
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        images, labels = load_digits()
        # The first images of each digit are for testing.
        rank = np.zeros(len(labels), int)
        for digit in range(10):
            rank[labels == digit] = np.arange((labels == digit).sum())
        mine = (rank < TEST_IMAGES) == (self.split == "test")
        by_digit = [images[mine & (labels == digit)] for digit in range(10)]
        share = np.ones(10)
        if self.split == "train":
            share = (1 / self.imbalance_factor) ** (np.arange(10) / 9)
        rng = np.random.default_rng([self.seed, self.split == "test"])
        scenes = [draw_scene(rng, by_digit, share / share.sum()) for _ in range(self.num_scenes)]
        return [
            {
                "img": img,
                "gt_seg_map": gt_seg_map,
                "img_path": f"{self.split}_{i:04}.png",
                "seg_fields": ["gt_seg_map"],
                "reduce_zero_label": False,
            }
            for i, (img, gt_seg_map) in enumerate(scenes)
        ]


def draw_scene(
    rng: np.random.Generator, by_digit: list[np.ndarray], share: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """An image uint8 [48, 48, 3] and its labels uint8 [48, 48]."""
    ink = np.zeros((SIZE, SIZE))
    labels = np.zeros((SIZE, SIZE), np.uint8)
    for digit in rng.choice(10, size=DIGITS, p=share):
        image = by_digit[digit][rng.integers(len(by_digit[digit]))]
        image = np.kron(image, np.ones((SCALE, SCALE)))
        window = place(rng, ink, len(image))
        above = image > ink[window]
        labels[window][above & (image >= INK)] = digit + 1
        labels[window][above & (image < INK) & (image > PAPER)] = 255
        ink[window] = np.maximum(ink[window], image)
    light = rng.uniform(0.1, 0.3) + rng.uniform(-0.1, 0.1) * np.linspace(-1, 1, SIZE)
    scene = light + rng.uniform(0.5, 0.7) * ink + rng.normal(0, 0.03, ink.shape)
    grey = (255 * scene.clip(0, 1)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2), labels


def place(rng: np.random.Generator, ink: np.ndarray, size: int) -> tuple[slice, slice]:
    """The window of eight that has the least ink in it yet."""
    windows = [
        np.s_[y : y + size, x : x + size] for y, x in rng.integers(SIZE - size + 1, size=(8, 2))
    ]
    return min(windows, key=lambda window: ink[window].sum())


@TRANSFORMS.register_module()
class LoadScene(BaseTransform):
    """Starts a pipeline on a scene of :class:`DigitsScenes`, which is in memory already."""

    def transform(self, results: dict) -> dict:
        results["img_shape"] = results["ori_shape"] = results["img"].shape[:2]
        return results


@MODELS.register_module()
class SmallSegBackbone(BaseModule):
    """Seven 3x3 convolutions with BatchNorm and ReLU, at half, a quarter and half the resolution.

    Args:
        channels (int): Width of the first layers; the middle is twice as wide. Defaults to 32.

    The output is a tuple of one feature map, [N, channels, H/2, W/2].
    """

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.down = nn.Sequential(
            conv(3, channels, stride=2), conv(channels, channels), conv(channels, channels)
        )
        self.middle = nn.Sequential(
            conv(channels, 2 * channels, stride=2),
            conv(2 * channels, 2 * channels),
            conv(2 * channels, 2 * channels),
        )
        self.up = conv(3 * channels, channels)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        fine = self.down(x)
        coarse = nn.functional.interpolate(self.middle(fine), size=fine.shape[2:], mode="bilinear")
        return (self.up(torch.cat([fine, coarse], 1)),)


def conv(in_channels: int, out_channels: int, stride: int = 1) -> ConvModule:
    return ConvModule(in_channels, out_channels, 3, stride, 1, norm_cfg=dict(type="BN"))
