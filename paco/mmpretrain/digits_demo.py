"""Furniture of the demonstration: long-tailed digits, a network and a view for them, and a bar."""

import functools
import sys
import time

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.utils import ProgressBar
from mmpretrain.datasets import BaseDataset
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from mmpretrain.registry import DATASETS, HOOKS, MODELS, TRANSFORMS
from torch import Tensor, nn

from paco import longtail

__all__ = ["DigitsLT", "GaussianNoise", "ProgressBarHook", "SmallConvNet"]

TEST_IMAGES = 60  # a class
MOST_TRAINING_IMAGES = 110  # of digit 0; the smallest class has 114 beside its test images
BAR_INTERVAL = 1.0  # seconds between two drawings of the bar


@functools.cache
def load_digits() -> tuple[np.ndarray, Tensor]:
    """The images, uint8 [N, 8, 8], and labels, kept because scikit-learn reads them from a text."""
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError(
            "DigitsLT: the images come with scikit-learn: pip install scikit-learn"
        ) from error
    digits = datasets.load_digits()
    # 17 grey levels, 0 to 16.
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    return images, torch.from_numpy(digits.target)


@DATASETS.register_module()
class DigitsLT(BaseDataset):
    """scikit-learn's 1,797 handwritten digits, 8 x 8 grey, with a long-tailed training split.

    60 images of each digit are for testing. Of the rest, digit i has int(110 (1 / IF)^(i / 9)) in
    the training split: 110 to 2 for IF 50.

    Args:
        split (str): "train" or "test". Defaults to "train".
        imbalance_factor (float): IF, the largest class over the smallest. Defaults to 50.
        seed (int): Chooses the images, test and training. Defaults to 0.
        **kwargs: ``pipeline`` and the like, of :class:`mmpretrain.datasets.BaseDataset`.
    """

    METAINFO = dict(classes=tuple("0123456789"))  # noqa: RUF012

    def __init__(
        self, split: str = "train", imbalance_factor: float = 50, seed: int = 0, **kwargs
    ) -> None:
        if split not in ("train", "test"):
            raise ValueError(f"DigitsLT: split must be 'train' or 'test', got {split!r}")
        self.split = split
        self.imbalance_factor = imbalance_factor
        self.seed = seed
        super().__init__(ann_file="", **kwargs)

    def load_data_list(self) -> list[dict]:
        images, labels = load_digits()
        chosen = longtail.long_tailed_subset(labels, [TEST_IMAGES] * 10, self.seed)
        if self.split == "train":
            rest = torch.ones(len(labels), dtype=torch.bool)
            rest[chosen] = False
            rest = torch.nonzero(rest).flatten()
            counts = longtail.exponential_profile(MOST_TRAINING_IMAGES, 10, self.imbalance_factor)
            chosen = rest[longtail.long_tailed_subset(labels[rest], counts, self.seed)]
        return [{"img": images[i], "gt_label": int(labels[i])} for i in chosen]

    def extra_repr(self) -> list[str]:
        return [f"Imbalance factor: \t{self.imbalance_factor}"]


@MODELS.register_module()
class SmallConvNet(BaseBackbone):
    """3x3 convolutions of 32, 64 and 128 channels with BatchNorm and ReLU; the last two halve.

    Args:
        in_channels (int): Channels of the image.

    The output is a tuple of one feature map, [N, 128, H/4, W/4].
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for out_channels, stride in ((32, 1), (64, 2), (128, 2)):
            layers += [
                nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False),
                nn.BatchNorm2d(out_channels),
                nn.ReLU(inplace=True),
            ]
            in_channels = out_channels
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.layers(x),)


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


@HOOKS.register_module()
class ProgressBarHook(Hook):
    """Draws the toolbox's progress bar, a task an iteration, on the main process."""

    def before_train(self, runner: Runner) -> None:
        self._bar = None
        if is_main_process():
            self._bar = ProgressBar(runner.max_iters - runner.iter, file=sys.stdout)
        self._new = 0
        self._drawn = time.monotonic()

    def after_train_iter(self, runner: Runner, batch_idx, data_batch=None, outputs=None) -> None:
        self._new += 1
        if time.monotonic() - self._drawn >= BAR_INTERVAL:
            self._draw()

    def after_train(self, runner: Runner) -> None:
        self._draw()
        if self._bar is not None:
            self._bar.file.write("\n")

    def _draw(self) -> None:
        if self._bar is not None and self._new:
            self._bar.update(self._new)
        self._new = 0
        self._drawn = time.monotonic()
