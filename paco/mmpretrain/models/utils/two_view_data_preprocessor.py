"""Normalises the two views of a batch."""

import torch
from mmpretrain.models.utils import ClsDataPreprocessor
from mmpretrain.registry import MODELS

__all__ = ["TwoViewDataPreprocessor"]


@MODELS.register_module()
class TwoViewDataPreprocessor(ClsDataPreprocessor):
    """``ClsDataPreprocessor`` that also takes the two views which :class:`TwoViews` makes.

    In training the views of a batch of B images become one batch of 2B: first the anchor view of
    each image, then the key view of each. One view, as at test time, passes as ever. (Given a list
    of views, the toolbox's own preprocessor leaves the colours in BGR and stacks them.)

    The arguments are those of :class:`mmpretrain.models.ClsDataPreprocessor`.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        views = data["inputs"]
        if isinstance(views, (list, tuple)) and all(_has_dim(view, 4) for view in views):
            data = {**data, "inputs": torch.cat(views)}
        elif not isinstance(views, torch.Tensor) and not all(_has_dim(view, 3) for view in views):
            raise TypeError(
                "TwoViewDataPreprocessor: each view must be one tensor [B, C, H, W]; set "
                "collate_fn=dict(type='default_collate') in the dataloader"
            )
        return super().forward(data, training)


def _has_dim(value: object, dim: int) -> bool:
    return isinstance(value, torch.Tensor) and value.dim() == dim
