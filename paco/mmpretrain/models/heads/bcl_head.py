"""The head of balanced contrastive learning: class centers, two projectors and two losses."""

import math

import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.nn import functional as F

from paco.distributed.rows import batch_sizes
from paco.nn import BCLLoss

from .class_centers_head import labels_of, targets_of
from .contrast_head import ContrastHead, EncodedViews

__all__ = ["BCLHead"]

MODELS.register_module(module=BCLLoss)


@MODELS.register_module()
class BCLHead(ContrastHead):
    """Balanced contrastive learning beside a classifier that knows the class prior.

    `BCL <https://arxiv.org/abs/2207.09052>`_ contrasts two or more views with each other and with
    one prototype a class, which a projector of its own makes of the classifier's weights w_c:

        total = a CE(center logits of the classification view) + b BCL(contrast views, prototypes)

    The classification view may be mixed (Mixup, CutMix): the classifier then learns the mixed
    targets, and the pairs keep the label of the first image. One encoder serves all views
    (``momentum=None`` in the :class:`PaCoClassifier`). At inference only the class centers are
    used. With a ``scale`` these start from random directions of unit length, as the published ones
    do.

    Args:
        num_classes (int): C, the number of classes.
        in_channels (int): Width of the pooled features.
        feat_channels (int): Width of a contrastive feature, D.
        projector (dict): The module from ``in_channels`` to ``feat_channels``, which it is given
            as ``in_channels`` and ``out_channels``.
        prototype_projector (dict): The same for the classifier's weights.
        contrast_loss (dict): ``dict(type='BCLLoss', temperature=...)``.
        classification_weight (float): a, >= 0.
        contrast_weight (float): b, >= 0.
        contrast (str): Where several processes train, 'local' contrasts the images of each with
            one another; 'global' those of all, and both losses are means over all, as those of one
            process (:func:`paco.distributed.bcl_loss`). Defaults to 'local'.
        **kwargs: Passed to :class:`ClassCentersHead`; ``loss`` is the classifier's.

    Raises:
        ValueError: For a weight that is negative or not finite, and for another contrast.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        feat_channels: int,
        projector: dict,
        prototype_projector: dict,
        contrast_loss: dict,
        classification_weight: float,
        contrast_weight: float,
        contrast: str = "local",
        **kwargs,
    ) -> None:
        super().__init__(num_classes, in_channels, feat_channels, projector, **kwargs)
        for name, weight in {
            "classification_weight": classification_weight,
            "contrast_weight": contrast_weight,
        }.items():
            if not 0 <= weight < math.inf:
                raise ValueError(f"BCLHead: {name} must be finite and >= 0, got {weight}")
        if contrast not in ("local", "global"):
            raise ValueError(f"BCLHead: contrast must be 'local' or 'global', got {contrast!r}")
        self.contrast = contrast
        self.prototype_projector = MODELS.build(
            dict(in_channels=in_channels, out_channels=feat_channels, **prototype_projector)
        )
        self.contrast_loss = MODELS.build(contrast_loss)
        if self.centers.scale is not None:  # as published: the prototypes see the weights' length
            weight = torch.empty_like(self.centers.weight).uniform_(-1, 1)
            self.centers.weight.data.copy_(F.normalize(weight, dim=1))
        self.classification_weight = float(classification_weight)
        self.contrast_weight = float(contrast_weight)

    def loss(self, views: EncodedViews, data_samples: list[DataSample] | Tensor) -> dict:
        """The loss of one step.

        Args:
            views: The encoded views of B images, with a classification view.
            data_samples: The images' samples, or their labels [B].

        Returns:
            ``loss``, the sum of ``cross_entropy`` and ``contrast``, each with its weight, and, for
            the log, the training accuracy in percent and the mean cosine of an image's first
            contrast view and its others.

        Raises:
            ValueError: Without a classification view, and with a key encoder.
        """
        self.require_class_counts()
        self.require_one_encoder(views)
        labels = labels_of(data_samples)
        logits = self.centers(views.classification)
        prototypes = self.prototype_projector(self.centers.weight)
        contrast_loss, images = self.contrast_loss, float(len(labels))
        if self.contrast == "global":
            sizes = batch_sizes(labels)
            contrast_loss, images = contrast_loss.across_processes, sum(sizes) / len(sizes)
        cross_entropy = self.classification_weight * self.loss_module(
            logits, self.target_of(data_samples, views, prototypes), avg_factor=images
        )
        features = _unit_rows(views.projections)
        contrast = self.contrast_weight * contrast_loss(
            features.flatten(0, 1), labels.repeat(len(features)), _unit_rows(prototypes)
        )
        loss = cross_entropy + contrast
        with torch.no_grad():
            correct = logits.argmax(dim=1) == labels
            return {
                "loss": loss,
                "cross_entropy": cross_entropy.detach(),
                "contrast": contrast.detach(),
                "accuracy_top-1": 100 * correct.float().mean(),
                "view_similarity": (features[0] * features[1:]).sum(dim=2).mean(),
            }

    def target_of(
        self, data_samples: list[DataSample] | Tensor, views: EncodedViews, prototypes: Tensor
    ) -> Tensor:
        """What the classifier is to learn of the images.

        Args:
            data_samples: The B images' samples, or their labels [B].
            views: Their encoded views.
            prototypes: [C, D], those of the classes, of any length.

        Returns:
            The labels [B], or the targets [B, C] of images whose classification view is mixed.
        """
        return targets_of(data_samples)


def _unit_rows(x: Tensor) -> Tensor:
    # Autocast on a CPU would normalise in bfloat16, and leave lengths off by up to .4 %.
    return F.normalize(x.to(torch.promote_types(x.dtype, torch.float32)), dim=-1)
