"""Cross entropy whose classes are weighted by their effective numbers of samples."""

import torch
from mmpretrain.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from paco.longtail import effective_number_weights

__all__ = ["ClassBalancedLoss"]


@MODELS.register_module()
class ClassBalancedLoss(nn.Module):
    """Cross entropy with class weights, for a :class:`ClassCentersHead` with ``prior=False``.

    The class-balanced loss of `Cui et al. <https://arxiv.org/abs/1901.05555>`_: the loss of an
    image of class c has the weight (1 - beta) / (1 - beta^n_c), scaled so that the weights of all
    classes sum to their number. The head hands over the class counts.

    Args:
        beta (float): In [0, 1). Defaults to 0.9999, the paper's for long-tailed CIFAR.
    """

    class_weight: Tensor | None

    def __init__(self, beta: float = 0.9999) -> None:
        super().__init__()
        effective_number_weights(torch.ones(1), beta)  # checks it
        self.beta = float(beta)
        self.register_buffer("class_weight", None, persistent=False)

    def set_class_counts(self, class_counts: Tensor) -> None:
        """Takes the number of training images of each class, int64 [C], at least one."""
        weight = effective_number_weights(class_counts, self.beta)
        self.class_weight = weight if self.class_weight is None else weight.to(self.class_weight)

    def forward(self, logits: Tensor, target: Tensor, avg_factor: int | None = None) -> Tensor:
        """The sum over the images divided by ``avg_factor``, their number by default.

        Args:
            logits: [N, C].
            target: Labels [N], or the targets of mixed images [N, C].
            avg_factor: What the sum is divided by.
        """
        if self.class_weight is None:
            raise RuntimeError(
                "ClassBalancedLoss has no class counts to take its weights from: add "
                "dict(type='ClassCountsHook') to custom_hooks, or call set_class_counts"
            )
        weight = self.class_weight.to(logits)
        loss = F.cross_entropy(logits, target, weight, reduction="sum")
        return loss / (len(logits) if avg_factor is None else avg_factor)
