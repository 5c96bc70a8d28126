"""Normalises the views of a batch."""

from collections.abc import Mapping

import torch
from mmpretrain.models.utils import ClsDataPreprocessor
from mmpretrain.registry import MODELS
from torch import Tensor

__all__ = ["ViewsDataPreprocessor"]


@MODELS.register_module()
class ViewsDataPreprocessor(ClsDataPreprocessor):
    """``ClsDataPreprocessor`` that also takes the views which :class:`ContrastViews` makes.

    In training V views of each of B images become one batch [V·B, C, H, W]: first the first view of
    each image, then the second view of each. With a classification view the inputs are
    ``dict(contrast=..., classification=...)``, that batch and the classifier's [B, C, H, W]. One
    view, as at test time, passes as ever. (Given a list of views, the toolbox's own preprocessor
    leaves the colours in BGR and stacks them.)

    The arguments are those of :class:`mmpretrain.models.ClsDataPreprocessor`.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        inputs = data["inputs"]
        if isinstance(inputs, Mapping):
            _require_stacked([*inputs["contrast"], inputs["classification"]])
            contrast = super().forward(dict(inputs=torch.cat(inputs["contrast"])), training)
            data = super().forward({**data, "inputs": inputs["classification"]}, training)
            inputs = dict(contrast=contrast["inputs"], classification=data["inputs"])
            return {**data, "inputs": inputs}
        if not isinstance(inputs, Tensor) and not all(_has_dim(view, 3) for view in inputs):
            _require_stacked(inputs)
            data = {**data, "inputs": torch.cat(inputs)}
        return super().forward(data, training)


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
