"""A trained classifier reduced to what predicts."""

from mmpretrain.models import ImageClassifier
from torch import Tensor, nn

from ... import compat
from ..heads.class_centers_head import ClassCentersHead

__all__ = ["InferenceClassifier"]

compat.make_windows_exportable()


class InferenceClassifier(nn.Module):
    """Backbone, neck and class centers of a classifier, for export.

    Its logits are those of the classifier in tensor mode, with the head's target prior if it has
    one. The prior of the training set, and PaCo's key encoder, projector and queue, serve training
    alone and stay behind.

    Args:
        model (mmpretrain.models.ImageClassifier): A classifier with a :class:`ClassCentersHead`.

    Raises:
        TypeError: For a classifier with another head.
    """

    def __init__(self, model: ImageClassifier) -> None:
        super().__init__()
        if not isinstance(model.head, ClassCentersHead):
            raise TypeError(
                "InferenceClassifier: model must have a ClassCentersHead or a PaCoHead, got a "
                f"{type(model.head).__name__}"
            )
        self.backbone = model.backbone
        self.neck = model.neck
        self.centers = model.head.centers
        self.register_buffer("log_target_prior", model.head.log_target_prior)
        # A new module is in training mode, and so would be its parts once that mode is restored.
        self.train(model.training)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, C] of normalised images [N, C_in, H, W]."""
        return self.logits_and_features(images)[0]

    def logits_and_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [N, C], and the pooled features [N, F] that they are made of."""
        feats = self.backbone(images)
        if self.neck is not None:
            feats = self.neck(feats)
        logits = self.centers.predict(feats[-1])
        if self.log_target_prior is not None:
            logits = logits + self.log_target_prior.to(logits.dtype)
        return logits, feats[-1]
