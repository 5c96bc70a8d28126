"""CIFAR-10-LT and CIFAR-100-LT, cut out of CIFAR."""

import os

import cv2
import mmcv
import numpy as np
from mmpretrain.datasets import CIFAR10, CIFAR100
from mmpretrain.registry import DATASETS

from paco import longtail

__all__ = ["CIFAR10LT", "CIFAR100LT"]


class _LongTailed:
    """The two data sets' common part; the arguments are documented at :class:`CIFAR100LT`."""

    def __init__(
        self,
        data_root: str,
        split: str = "train",
        imbalance_factor: float = 100,
        seed: int = 0,
        **kwargs,
    ) -> None:
        self.imbalance_factor = imbalance_factor
        self.seed = seed
        super().__init__(data_root=data_root, split=split, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Loads the split; of the training split, the long-tailed part."""
        folder = os.path.join(self.data_prefix["root"], self.split)
        of_folders = os.path.isdir(folder)
        samples = self._load_folder(folder) if of_folders else super().load_data_list()
        if self.split != "train":
            return samples
        labels = [sample["gt_label"] for sample in samples]
        num_classes = len(self.CLASSES)
        available = np.bincount(labels, minlength=num_classes)
        counts = longtail.exponential_profile(
            int(available.max()), num_classes, self.imbalance_factor
        )
        for name, count, n in zip(self.CLASSES, counts, available, strict=True):
            if count > n:
                raise ValueError(
                    f"{type(self).__name__}: imbalance factor {self.imbalance_factor:g} takes "
                    f"{count} images of class {name!r}, and {self.data_prefix['root']} has {n}"
                )
        # The published choice: one generator shuffles one class after another.
        generator = np.random.RandomState(self.seed)
        chosen = []
        for label, count in enumerate(counts):
            members = np.flatnonzero(np.asarray(labels) == label)
            if not of_folders:
                generator.shuffle(members)
            chosen += [samples[i] for i in members[:count]]
        return chosen

    def _load_folder(self, folder: str) -> list[dict]:
        names = sorted(os.listdir(folder))
        if names != sorted(self.CLASSES):
            raise ValueError(
                f"{type(self).__name__}: the folders of {folder} must be named after the classes "
                f"{', '.join(self.CLASSES[:3])}, ...; got {', '.join(names[:3])}, ..."
            )
        # Decoded once and kept: 3 KB an image, as the archives' form is.
        return [
            {"img": _read_image(entry.path), "gt_label": label}
            for label, name in enumerate(self.CLASSES)
            for entry in sorted(os.scandir(os.path.join(folder, name)), key=lambda e: e.name)
        ]


def _read_image(path: str) -> np.ndarray:
    try:
        return mmcv.imread(path, channel_order="rgb")
    except cv2.error as error:
        raise ValueError(f"{path} is not an image that can be read") from error


@DATASETS.register_module()
class CIFAR10LT(_LongTailed, CIFAR10):
    """CIFAR-10 with n_i = int(n_max (1 / IF)^(i / 9)) training images of class i.

    `Cui et al., CVPR 2019 <https://arxiv.org/abs/1901.05555>`_. Images are RGB, as the toolbox's
    ``CIFAR10`` has them. For the arguments see :class:`CIFAR100LT`.
    """


@DATASETS.register_module()
class CIFAR100LT(_LongTailed, CIFAR100):
    """CIFAR-100 with n_i = int(n_max (1 / IF)^(i / 99)) training images of class i.

    `Cui et al., CVPR 2019 <https://arxiv.org/abs/1901.05555>`_. Images are RGB, as the toolbox's
    ``CIFAR100`` has them.

    Args:
        data_root (str): Folder of the original Python archive (downloaded if it is not there), or
            of image folders ``train/<class>/*`` and ``test/<class>/*``.
        split (str): "train" or "test", which is left whole. Defaults to "train".
        imbalance_factor (float): IF, the largest class over the smallest. Defaults to 100.
        seed (int): Shuffles a class's images of the archive before the first are taken; the
            published figures are for 0. Image folders are not shuffled: a class's first images, by
            name, are taken. Defaults to 0.
        **kwargs: Passed to :class:`mmpretrain.datasets.CIFAR100`.
    """
