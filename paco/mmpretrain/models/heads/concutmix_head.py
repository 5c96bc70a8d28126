"""The head of ConCutMix: BCL whose mixed targets are rectified by similarity."""

import math

import torch
from mmengine.logging import MessageHub
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

from .bcl_head import BCLHead
from .contrast_head import EncodedViews

__all__ = ["ConCutMixHead"]


@MODELS.register_module()
class ConCutMixHead(BCLHead):
    """BCL on images mixed by CutMix, whose targets learn from the prototypes near them.

    ConCutMix (Pan et al., TIP 2024): the target t of a mixed image becomes
    (1 - omega) t + omega s. The similarity s is ``1 / |f - c_k|`` for the K nearest prototypes c_k
    to its projection f, neither of unit length, and 0 for the others, of sum 1 and without a
    gradient;

        omega = rectification log(sum_c t_c N_c) / sum_c log N_c

    with N_c training images of class c. The images are mixed by a :class:`ViewsDataPreprocessor`,
    with the partners of a :class:`WithBalancedPartner`; those that are not keep their label.

    Args:
        rectification (float): In [0, 1].
        rectify_after (int): Mixed targets stay as they are in so many epochs and one more, as in
            published code.
        num_neighbors (int): K, at least 1. Defaults to 30.
        **kwargs: Those of a :class:`BCLHead`.

    Raises:
        ValueError: For an argument outside its range.
    """

    log_counts: Tensor | None

    def __init__(
        self, rectification: float, rectify_after: int, num_neighbors: int = 30, **kwargs
    ) -> None:
        super().__init__(**kwargs)
        if not 0 <= rectification <= 1:
            raise ValueError(
                f"ConCutMixHead: rectification must lie in [0, 1], got {rectification}"
            )
        if num_neighbors < 1:
            raise ValueError(
                f"ConCutMixHead: num_neighbors must be at least 1, got {num_neighbors}"
            )
        self.rectification = float(rectification)
        self.rectify_after = rectify_after
        self.num_neighbors = num_neighbors
        self.register_buffer("log_counts", None, persistent=False)

    def set_class_counts(self, class_counts: Tensor) -> None:
        super().set_class_counts(class_counts)
        if not bool((class_counts >= 1).all()) or not bool((class_counts > 1).any()):
            raise ValueError(
                "ConCutMixHead: class_counts must be at least 1, and of some class more, got "
                f"{int(class_counts.min())} to {int(class_counts.max())}"
            )
        self.log_counts = class_counts.to(self.centers.weight).log()

    def target_of(
        self, data_samples: list[DataSample] | Tensor, views: EncodedViews, prototypes: Tensor
    ) -> Tensor:
        target = super().target_of(data_samples, views, prototypes)
        if not target.is_floating_point() or not self._rectifies():
            return target
        if self.log_counts is None:
            raise RuntimeError(
                "ConCutMixHead has no class counts: add dict(type='ClassCountsHook') to "
                "custom_hooks, or call set_class_counts"
            )
        similarity = similarity_of(views.classification_projections, prototypes, self.num_neighbors)
        images = (target * self.log_counts.exp()).sum(dim=1, keepdim=True)
        weight = self.rectification * images.log() / self.log_counts.sum()
        return weight * similarity + (1 - weight) * target

    def _rectifies(self) -> bool:
        return MessageHub.get_current_instance().get_info("epoch", 0) > self.rectify_after


def similarity_of(features: Tensor, prototypes: Tensor, num_neighbors: int) -> Tensor:
    """1 / |f_i - c_k| of the nearest prototypes, 0 of the others, rows of sum 1, no gradient.

    Args:
        features: f, [B, D].
        prototypes: c, [C, D].
        num_neighbors: K, how many are the nearest; all of them if there are not more.

    Returns:
        float32 [B, C].
    """
    features, prototypes = features.detach().float(), prototypes.detach().float()
    distance = torch.cdist(features, prototypes, compute_mode="donot_use_mm_for_euclid_dist")
    nearest = distance.topk(min(num_neighbors, len(prototypes)), largest=False)
    # A feature that is a prototype is this one's alone, or nearly so.
    inverse = 1 / nearest.values.clamp_min(math.sqrt(torch.finfo(torch.float32).tiny))
    inverse = inverse / inverse.sum(dim=1, keepdim=True)
    return torch.zeros_like(distance).scatter_(1, nearest.indices, inverse)
