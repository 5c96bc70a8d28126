"""What the heads that contrast views have in common, and what they are handed."""

from abc import abstractmethod
from typing import NamedTuple

from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

from .class_centers_head import ClassCentersHead

__all__ = ["ContrastHead", "EncodedViews"]


class EncodedViews(NamedTuple):
    """The views of B images as :class:`PaCoClassifier` encodes them.

    F is the width of the pooled features (the head's ``in_channels``), D that of the projections
    (``feat_channels``). Gradients flow to all of them, except to ``keys``.
    """

    pooled: Tensor
    """[V, B, F], pooled features of the V contrast views that pass through the encoder; with a key
    encoder that is the first alone, V = 1."""
    projections: Tensor
    """[V, B, D], what the head's projector makes of them, of any length."""
    keys: Tensor | None = None
    """[W, B, D], projections of the other W contrast views by the key encoder, of any length; None
    without one."""
    classification: Tensor | None = None
    """[B, F], pooled features of the classification view; None where the pipeline makes none."""
    classification_projections: Tensor | None = None
    """[B, D], what the projector makes of them."""


class ContrastHead(ClassCentersHead):
    """Class centers and a projector: the base of the heads of a :class:`PaCoClassifier`.

    A head of this kind defines ``loss(views, data_samples)``, which first calls
    :meth:`require_class_counts`; prediction, class counts and checkpoints of the centers are those
    of a :class:`ClassCentersHead`.

    Args:
        num_classes (int): C, the number of classes.
        in_channels (int): Width of the pooled features, F.
        feat_channels (int): Width of a contrastive feature, D.
        projector (dict): The module from ``in_channels`` to ``feat_channels``, which it is given
            as ``in_channels`` and ``out_channels``.
        **kwargs: Passed to :class:`ClassCentersHead`.
    """

    def __init__(
        self, num_classes: int, in_channels: int, feat_channels: int, projector: dict, **kwargs
    ) -> None:
        super().__init__(num_classes, in_channels, **kwargs)
        self.projector = MODELS.build(
            dict(in_channels=in_channels, out_channels=feat_channels, **projector)
        )

    def require_class_counts(self) -> None:
        """Fails where no :class:`ClassCountsHook` has counted the images and checked the run."""
        super().require_class_counts()
        if not self._knows_class_counts:
            raise RuntimeError(
                f"{type(self).__name__} has no class counts, and nothing has checked the run: add "
                "dict(type='ClassCountsHook') to custom_hooks, or call set_class_counts"
            )

    def require_one_encoder(self, views: EncodedViews) -> None:
        """Fails where the classifier has no view of its own, or views passed a key encoder."""
        name = type(self).__name__
        if views.classification is None:
            raise ValueError(
                f"{name}: there is no classification view for the class centers: set "
                "ContrastViews(views=[...], classification=[...])"
            )
        if views.keys is not None:
            raise ValueError(
                f"{name}: all views go through one encoder: set momentum=None in the PaCoClassifier"
            )

    @abstractmethod
    def loss(self, views: EncodedViews, data_samples: list[DataSample] | Tensor) -> dict:
        """The loss of one step, and what the log shows beside it.

        Args:
            views: The encoded views of B images.
            data_samples: The images' samples, or their labels [B].
        """
