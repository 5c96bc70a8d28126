"""Cross entropy and supervised contrast side by side: what PaCo puts into one sum."""

import math

from mmpretrain.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from paco.distributed import paco_loss
from paco.nn import PaCoLoss

__all__ = ["MultiTaskLoss"]


@MODELS.register_module()
class MultiTaskLoss(nn.Module):
    """Cross entropy of the class centers + alpha x SupCon of the pairs, for a :class:`PaCoHead`.

    The multi-task baseline of `PaCo <https://arxiv.org/abs/2107.12028>`_, with
    `SupCon <https://arxiv.org/abs/2004.11362>`_ over the batch and the queue. The head decides
    whether its logits know the prior; with it, cross entropy becomes balanced softmax.

    Args:
        alpha (float): Weight of SupCon, >= 0.
        temperature (float): Divides the cosines of the pairs, > 0.
        label_smoothing (float): Of the cross entropy, in [0, 1]. Defaults to 0.
    """

    def __init__(self, alpha: float, temperature: float, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if not 0 <= alpha < math.inf:
            raise ValueError(f"MultiTaskLoss: alpha must be finite and >= 0, got {alpha}")
        if not 0 <= label_smoothing <= 1:
            raise ValueError(
                f"MultiTaskLoss: label_smoothing must lie in [0, 1], got {label_smoothing}"
            )
        self.alpha = float(alpha)
        self.label_smoothing = float(label_smoothing)
        self.contrast = PaCoLoss(alpha=1.0, temperature=temperature)

    def forward(
        self,
        features: Tensor,
        labels: Tensor,
        center_logits: Tensor,
        queue: Tensor | None = None,
        queue_labels: Tensor | None = None,
        num_valid: Tensor | None = None,
        anchor_weight: Tensor | None = None,
        num_anchors: int | None = None,
        soft_targets: Tensor | None = None,
        detach_keys: bool = False,
    ) -> Tensor:
        """The mean over the anchors, as many as ``center_logits`` has rows.

        The arguments are those of :meth:`paco.nn.PaCoLoss.forward`; anchors have no weights here.

        Raises:
            ValueError: For an ``anchor_weight``.
        """
        if anchor_weight is not None:
            raise ValueError("MultiTaskLoss: anchor_weight must be None")
        anchors = center_logits.size(0)
        contrast = self.contrast(
            features,
            labels,
            None,
            queue,
            queue_labels,
            num_valid,
            None,
            anchors,
            detach_keys=detach_keys,
        )
        cross_entropy = F.cross_entropy(
            center_logits,
            labels[:anchors] if soft_targets is None else soft_targets,
            label_smoothing=self.label_smoothing,
        )
        return cross_entropy + self.alpha * contrast

    def across_processes(
        self,
        features: Tensor,
        labels: Tensor,
        center_logits: Tensor,
        queue: Tensor | None = None,
        queue_labels: Tensor | None = None,
        num_valid: Tensor | None = None,
        anchor_weight: Tensor | None = None,
        num_anchors: int | None = None,
        soft_targets: Tensor | None = None,
        detach_keys: bool = False,
        num_classes: int | None = None,
        anchors_per_process: list[int] | None = None,
    ) -> Tensor:
        """The same over the images of all processes, as :func:`paco.distributed.paco_loss`.

        Raises:
            ValueError: For an ``anchor_weight``.
        """
        if anchor_weight is not None:
            raise ValueError("MultiTaskLoss: anchor_weight must be None")
        contrast = self.contrast.across_processes(
            features,
            labels,
            None,
            queue,
            queue_labels,
            num_valid,
            None,
            num_anchors,
            detach_keys=detach_keys,
            anchors_per_process=anchors_per_process,
        )
        # Cross entropy gives a share of the smoothing to the label's own class, paco_loss does not.
        classes = center_logits.size(1) if num_classes is None else num_classes
        smoothing = self.label_smoothing
        if soft_targets is not None:
            soft_targets = (1 - smoothing) * soft_targets + smoothing / classes
        cross_entropy = paco_loss(
            features[:, :1].detach(),  # pairs take no part
            labels,
            center_logits,
            num_anchors=num_anchors,
            gamma=0.0,
            label_smoothing=0.0 if soft_targets is not None else smoothing * (1 - 1 / classes),
            soft_targets=soft_targets,
            num_classes=num_classes,
            anchors_per_process=anchors_per_process,
            alpha=0.0,
            temperature=1.0,
        )
        return cross_entropy + self.alpha * contrast
