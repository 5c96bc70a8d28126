"""Handwritten digits with a long tail: real data that comes inside a Python package."""

import numpy as np
import torch
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS

from paco import longtail

__all__ = ["DigitsLT"]

TEST_IMAGES = 60  # a class
MOST_TRAINING_IMAGES = 110  # of digit 0; the smallest class has 114 beside its test images


@DATASETS.register_module()
class DigitsLT(BaseDataset):
    """scikit-learn's 1,797 handwritten digits, 8 x 8 grey, with a long-tailed training split.

    60 images of each digit are for testing. Of the rest, digit i has int(110 (1 / IF)^(i / 9)) in
    the training split: 110 to 2 for IF 50.

    Args:
        split (str): "train" or "test". Defaults to "train".
        imbalance_factor (float): IF, the largest class over the smallest. Defaults to 50.
        seed (int): Of the choice of images, test and training. Defaults to 0.
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
        try:
            from sklearn.datasets import load_digits
        except ImportError as error:
            raise ImportError("DigitsLT: the images come with scikit-learn; install it") from error
        digits = load_digits()
        labels = torch.from_numpy(digits.target)
        chosen = longtail.long_tailed_subset(labels, [TEST_IMAGES] * 10, self.seed)
        if self.split == "train":
            rest = torch.ones(len(labels), dtype=torch.bool)
            rest[chosen] = False
            rest = torch.nonzero(rest).flatten()
            counts = longtail.exponential_profile(MOST_TRAINING_IMAGES, 10, self.imbalance_factor)
            chosen = rest[longtail.long_tailed_subset(labels[rest], counts, self.seed)]
        # 17 grey levels, 0 to 16.
        images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
        return [{"img": images[i], "gt_label": int(labels[i])} for i in chosen]

    def extra_repr(self) -> list[str]:
        return [f"Imbalance factor: \t{self.imbalance_factor}"]
