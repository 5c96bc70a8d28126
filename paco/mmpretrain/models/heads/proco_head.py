"""The head of ProCo: class centers on a view of their own, and contrast with the classes."""

import math

from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.nn import functional as F

from paco.nn import ProCoLoss

from .class_centers_head import labels_of, targets_of
from .contrast_head import ContrastHead, EncodedViews

__all__ = ["ProCoHead"]

MODELS.register_module(module=ProCoLoss)


@MODELS.register_module()
class ProCoHead(ContrastHead):
    """Contrast with the distributions of the classes' features, beside a balanced softmax.

    `ProCo <https://arxiv.org/abs/2403.06726>`_: cross entropy of the classification view's center
    logits with the prior, plus ``contrast_weight`` times the :class:`paco.nn.ProCoLoss` of the
    contrast views, of which there may be any number. Its estimates of the classes are swapped by
    :class:`ProCoEpochHook`, which a config has to name. The classification view may be mixed
    (Mixup, CutMix): the classifier then learns the mixed targets, and the contrast keeps the label
    of the first image. At inference only the class centers are used.

    Args:
        num_classes (int): C, the number of classes.
        in_channels (int): Width of the pooled features.
        feat_channels (int): Width of a contrastive feature, D.
        projector (dict): The module from ``in_channels`` to ``feat_channels``, which it is given
            as ``in_channels`` and ``out_channels``.
        contrast_loss (dict): ``dict(type='ProCoLoss', temperature=...)``, which is given
            ``num_classes`` and ``dim``.
        contrast_weight (float): Weight of the contrast, a >= 0. Defaults to 1.
        **kwargs: Passed to :class:`ClassCentersHead`.

    Attributes:
        contrast_loss (paco.nn.ProCoLoss): The estimates of the classes, and their loss.

    Raises:
        TypeError: For another loss.
        ValueError: For a weight that is none.
    """

    contrast_loss: ProCoLoss

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        feat_channels: int,
        projector: dict,
        contrast_loss: dict,
        contrast_weight: float = 1.0,
        **kwargs,
    ) -> None:
        super().__init__(num_classes, in_channels, feat_channels, projector, **kwargs)
        if MODELS.get(contrast_loss["type"]) is not ProCoLoss:
            raise TypeError(
                f"ProCoHead: contrast_loss must be a ProCoLoss, got a {contrast_loss['type']}"
            )
        if not 0 <= contrast_weight < math.inf:
            raise ValueError(
                f"ProCoHead: contrast_weight must be finite and >= 0, got {contrast_weight}"
            )
        self.contrast_loss = MODELS.build(
            dict(num_classes=num_classes, dim=feat_channels, **contrast_loss)
        )
        self.contrast_weight = contrast_weight

    def set_class_counts(self, class_counts: Tensor) -> None:
        super().set_class_counts(class_counts)
        if self.prior:
            self.contrast_loss.set_class_counts(class_counts)

    def loss(self, views: EncodedViews, data_samples: list[DataSample] | Tensor) -> dict:
        """The loss of one step, whose features are in the estimates from then on.

        Args:
            views: The encoded views of B images, a classification view among them.
            data_samples: The images' samples, or their labels [B].

        Returns:
            ``loss``, the sum of ``cross_entropy`` and ``contrast``, which has its weight, and, for
            the log, the training accuracy in percent.

        Raises:
            ValueError: Without a classification view, and with a key encoder.
        """
        self.require_class_counts()
        self.require_one_encoder(views)
        labels = labels_of(data_samples)
        logits = self.centers(views.classification)
        cross_entropy = self.loss_module(logits, targets_of(data_samples), avg_factor=len(logits))
        # Autocast on a CPU would normalise in bfloat16.
        features = views.projections.to(self.contrast_loss.older_mean.dtype)
        contrast = self.contrast_weight * self.contrast_loss(
            F.normalize(features, dim=2).flatten(0, 1), labels
        )
        correct = logits.detach().argmax(dim=1) == labels
        return {
            "loss": cross_entropy + contrast,
            "cross_entropy": cross_entropy.detach(),
            "contrast": contrast.detach(),
            "accuracy_top-1": 100 * correct.float().mean(),
        }
