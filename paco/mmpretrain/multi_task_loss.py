"""Cross entropy and supervised contrast side by side: what PaCo puts into one sum."""

import math

from mmpretrain.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

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
        temperature (float): Of the pairs, > 0.
    """

    def __init__(self, alpha: float, temperature: float) -> None:
        super().__init__()
        if not 0 <= alpha < math.inf:
            raise ValueError(f"MultiTaskLoss: alpha must be finite and >= 0, got {alpha}")
        self.alpha = float(alpha)
        self.contrast = PaCoLoss(alpha=1.0, temperature=temperature)

    # Called like PaCoLoss, whose num_anchors has a default for TorchScript's sake.
    def forward(
        self,
        features: Tensor,
        labels: Tensor,
        center_logits: Tensor,
        queue: Tensor | None = None,
        queue_labels: Tensor | None = None,
        num_anchors: int = 0,
        queue_size: Tensor | None = None,
    ) -> Tensor:
        """The mean over the anchors; shapes as in :meth:`paco.nn.PaCoLoss.forward`."""
        contrast = self.contrast(
            features,
            labels,
            None,
            queue,
            queue_labels,
            num_anchors=num_anchors,
            queue_size=queue_size,
        )
        return F.cross_entropy(center_logits, labels[:num_anchors]) + self.alpha * contrast
