"""Normalises the views of a batch."""

from collections.abc import Mapping

import numpy as np
import torch
from mmpretrain.models.utils import ClsDataPreprocessor
from mmpretrain.models.utils.batch_augments import CutMix
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.nn import functional as F

__all__ = ["ViewsDataPreprocessor"]

_CUTMIX = CutMix(alpha=1.0)


@MODELS.register_module()
class ViewsDataPreprocessor(ClsDataPreprocessor):
    """``ClsDataPreprocessor`` that also takes the views which :class:`ContrastViews` makes.

    In training V views of each of B images become one batch [V·B, C, H, W]: first the first view of
    each image, then the second view of each. With a classification view the inputs are
    ``dict(contrast=..., classification=...)``, that batch and the classifier's [B, C, H, W]. One
    view, as at test time, passes as ever. (Given a list of views, the toolbox's own preprocessor
    leaves the colours in BGR and stacks them.)

    Mixup and CutMix (``batch_augments``, or ``train_cfg`` of the model) mix the classification view
    alone: a mixed image has no one class to find positives for.

    Where each image brings a ``partner`` (:class:`WithBalancedPartner`), the classification views
    of a batch are mixed with their partners' by CutMix, all with one rectangle, with the
    probability ``partner_cutmix_prob``; the samples then have the mixed targets as ``gt_score``.

    Args:
        partner_cutmix_prob (float): In [0, 1]. Defaults to 0.5.
        **kwargs: Those of :class:`mmpretrain.models.ClsDataPreprocessor`.
    """

    def __init__(self, partner_cutmix_prob: float = 0.5, **kwargs) -> None:
        super().__init__(**kwargs)
        if not 0 <= partner_cutmix_prob <= 1:
            raise ValueError(
                "ViewsDataPreprocessor: partner_cutmix_prob must lie in [0, 1], got "
                f"{partner_cutmix_prob}"
            )
        self.partner_cutmix_prob = partner_cutmix_prob

    def forward(self, data: dict, training: bool = False) -> dict:
        inputs = data["inputs"]
        if isinstance(inputs, Mapping):
            partners = inputs.get("partner")
            others = [] if partners is None else [partners]
            _require_stacked([*inputs["contrast"], inputs["classification"], *others])
            # Without samples nothing is mixed.
            contrast = super().forward(dict(inputs=torch.cat(inputs["contrast"])), training)
            data = super().forward({**data, "inputs": inputs["classification"]}, training)
            classification = data["inputs"]
            if partners is not None and training and np.random.rand() < self.partner_cutmix_prob:
                partners = super().forward(dict(inputs=partners), training)["inputs"]
                classification = self._mix(classification, partners, data["data_samples"])
            inputs = dict(contrast=contrast["inputs"], classification=classification)
            return {**data, "inputs": inputs}
        if training and self.batch_augments is not None:
            raise ValueError(
                "ViewsDataPreprocessor: images cannot be mixed (Mixup, CutMix): a mixed one has no "
                "class to find positives for: give the ContrastViews a classification view, or set "
                "train_cfg=None, and no batch_augments in the data preprocessor"
            )
        if not isinstance(inputs, Tensor) and not all(_has_dim(view, 3) for view in inputs):
            _require_stacked(inputs)
            data = {**data, "inputs": torch.cat(inputs)}
        return super().forward(data, training)

    def _mix(self, views: Tensor, partners: Tensor, samples: list[DataSample]) -> Tensor:
        """CutMix of each view with its partner, which leaves the mixed targets in the samples."""
        box, share = _CUTMIX.cutmix_bbox_and_lam(views.shape[-2:], np.random.beta(1, 1))
        top, bottom, left, right = box
        views[:, :, top:bottom, left:right] = partners[:, :, top:bottom, left:right]
        labels = torch.cat([sample.gt_label for sample in samples])
        others = torch.cat([sample.partner_label for sample in samples]).to(labels)
        targets = share * F.one_hot(labels, self.num_classes).float()
        targets += (1 - share) * F.one_hot(others, self.num_classes)
        for sample, target in zip(samples, targets, strict=True):
            sample.set_gt_score(target)
        return views


def _require_stacked(views: list) -> None:
    if not all(_has_dim(view, 4) for view in views):
        raise TypeError(
            "ViewsDataPreprocessor: each view must be one tensor [B, C, H, W]; set "
            "collate_fn=dict(type='default_collate') in the dataloader"
        )
    shapes = [list(view.shape) for view in views]
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError(f"ViewsDataPreprocessor: all views must be of one shape, got {shapes}")


def _has_dim(value: object, dim: int) -> bool:
    return isinstance(value, Tensor) and value.dim() == dim
