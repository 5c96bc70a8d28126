"""Gives every image a partner of a class-balanced choice, to be mixed with."""

import copy
from typing import Any

import torch
from mmengine.dataset import BaseDataset
from mmpretrain.datasets.transforms import PackInputs
from mmpretrain.registry import DATASETS
from torch.utils.data import Dataset

from .class_balanced_sampler import ClassBalancedSampler
from .transforms.contrast_views import ContrastViews

__all__ = ["WithBalancedPartner"]


@DATASETS.register_module()
class WithBalancedPartner(Dataset):
    """A data set, each of whose images brings another one along for CutMix.

    The partner's class is drawn first, each as likely as the others, and then one of its images
    (ConCutMix, Pan et al., TIP 2024). It has the classification view alone, as the input
    ``partner``, and its label is the field ``partner_label`` of the image's sample.
    :class:`ViewsDataPreprocessor` mixes the two.

    Args:
        dataset (dict | mmpretrain.datasets.BaseDataset): One of the toolbox's, whose pipeline is
            one :class:`ContrastViews` with a classification view.
        lazy_init (bool): Leave the data set's annotations for :meth:`full_init`. Defaults to False.

    Raises:
        ValueError: For another pipeline.
    """

    def __init__(self, dataset: dict | BaseDataset, lazy_init: bool = False) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        steps = self.dataset.pipeline.transforms
        if [type(step) for step in steps] != [ContrastViews] or not steps[0].has_classification:
            raise ValueError(
                "WithBalancedPartner: the pipeline must be one ContrastViews with a classification "
                f"view, got {steps}"
            )
        self.views: ContrastViews = steps[0]
        self.pack = PackInputs()
        self.sampler: ClassBalancedSampler | None = None
        if not lazy_init:
            self.full_init()

    @property
    def metainfo(self) -> dict:
        return copy.deepcopy(self.dataset.metainfo)

    def full_init(self) -> None:
        """Reads the annotations, and with them the images of each class."""
        self.dataset.full_init()
        # Of its seed and its epoch nothing is used.
        self.sampler = ClassBalancedSampler(self.dataset, seed=0)

    def get_data_info(self, idx: int) -> dict:
        return self.dataset.get_data_info(idx)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, idx: int) -> dict[str, Any]:
        packed = self.dataset[idx]
        # The generator of the worker, which the epoch has seeded.
        (partner,) = self.sampler.draw(1, torch.default_generator).tolist()
        view = self.pack(self.views.classification_view(self.dataset.get_data_info(partner)))
        packed["inputs"]["partner"] = view["inputs"]
        packed["data_samples"].set_field(view["data_samples"].gt_label, "partner_label")
        return packed
