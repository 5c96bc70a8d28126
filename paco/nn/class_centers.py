"""Learnable class centers, which are the classifier too."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .. import ops
from ..longtail import log_prior, log_target_prior


class ClassCenters(nn.Module):
    """Learnable class centers, one more positive for each anchor and the classifier (PaCo, sec. 3).

    Training logits are (w_c . x_i + b_c) / T_c + tau log pi_c, or with a scale
    scale cos(w_c, x_i) + tau log pi_c; the prior is left out at inference, and that of the test set
    may take its place.

    Args:
        in_features: F, the width of the pooled features.
        num_classes: C, the number of classes.
        bias: learn an additive bias; by default there is one unless there is a ``scale``, which
            takes none.
        center_temperature: T_c, > 0; 1 beside a ``scale``.
        tau: weight of the log prior, >= 0.
        scale: compare directions only, and multiply their cosine by this, > 0.

    Attributes:
        num_classes: C.
        weight: parameter [C, F].
        bias: parameter [C] or None.
        log_prior: buffer float32 [C], zeros for no prior. It stays float32 when the module is
            converted, because half precision would round the prior of a rare class.

    Raises:
        ValueError: for a bad argument.
    """

    log_prior: Tensor
    scale: float | None

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        bias: bool | None = None,
        center_temperature: float = 1.0,
        tau: float = 1.0,
        scale: float | None = None,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.center_temperature = float(center_temperature)
        self.tau = float(tau)
        self.scale = None if scale is None else float(scale)
        self.weight = nn.Parameter(torch.empty(num_classes, in_features))
        has_bias = scale is None if bias is None else bias
        self.bias = nn.Parameter(torch.empty(num_classes)) if has_bias else None
        self.register_buffer("log_prior", torch.empty(num_classes, dtype=torch.float32))
        self.reset_parameters()
        # The operator checks the settings, on the meta device, where nothing is computed.
        weight = self.weight.to("meta")
        any_bias = weight[:, 0] if has_bias else None
        ops.center_logits(weight, weight, any_bias, None, center_temperature, tau, scale)

    def reset_parameters(self) -> None:
        """Draws weight and bias as ``nn.Linear`` does, and forgets the prior.

        After ``to_empty`` the prior's memory holds anything: set the class counts again.
        """
        self.log_prior.zero_()
        bound = 1 / math.sqrt(self.weight.size(1))
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    @torch.jit.export
    def set_class_counts(self, class_counts: Tensor) -> None:
        """Sets the prior from the number of training samples of each class, [C].

        Equal counts leave no prior: it would only weigh the centers down against the pairs.

        Raises:
            ValueError: for counts that :func:`paco.log_prior` refuses, or not one a class.
        """
        prior = log_prior(class_counts)
        if prior.shape != self.log_prior.shape:
            raise ValueError(
                f"set_class_counts: class_counts must have {self.log_prior.numel()} entries, one a "
                f"class, got {prior.numel()}"
            )
        balanced = bool((prior == prior[0]).all())
        self.log_prior.copy_(torch.zeros_like(prior) if balanced else prior)

    def forward(self, x: Tensor) -> Tensor:
        """Training logits [A, C] of pooled features [A, F], the prior included."""
        return ops.center_logits(
            x,
            self.weight,
            self.bias,
            self.log_prior,
            self.center_temperature,
            self.tau,
            self.scale,
        )

    @torch.jit.export
    def predict(self, x: Tensor, target_prior: Tensor | None = None) -> Tensor:
        """Inference logits [A, C], the prior left out; no operator of libpaco is needed.

        Args:
            x: pooled features [A, F].
            target_prior: q, [C], how often each class occurs where the predictions are used:
                probabilities, or numbers in their proportion, each >= 0. It adds log q, whatever
                tau was in training (Bayes' rule); a class of probability 0 gets -inf.

        Raises:
            ValueError: for a prior that :func:`paco.longtail.log_target_prior` refuses.
        """
        scale = self.scale
        if scale is not None:
            logits = scale * F.linear(F.normalize(x, dim=1), F.normalize(self.weight, dim=1))
        else:
            logits = F.linear(x, self.weight, self.bias) / self.center_temperature
        if target_prior is not None:
            logits = logits + log_target_prior(target_prior, self.weight.size(0)).to(logits)
        return logits

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "ClassCenters":
        log_prior = self.log_prior
        super()._apply(fn, recurse)
        if self.log_prior.dtype != torch.float32:
            self.log_prior = log_prior.to(self.log_prior.device)
        return self

    def extra_repr(self) -> str:
        return (
            f"in_features={self.weight.size(1)}, num_classes={self.weight.size(0)}, "
            f"bias={self.bias is not None}, center_temperature={self.center_temperature}, "
            f"tau={self.tau}, scale={self.scale}"
        )
