"""Modules of parametric contrastive learning: loss, queue, class centers, momentum update.

Every module scripts, compiles without a graph break, deep-copies and keeps its whole state in
``state_dict``. None of them needs a process group or a GPU.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import longtail

__all__ = ["ClassCenters", "FeatureQueue", "PaCoLoss", "momentum_update_"]


class PaCoLoss(nn.Module):
    """:func:`paco.paco_loss` with its hyper-parameters, which are documented there.

    A hyper-parameter outside its range is a ValueError at once.

    Example::

        loss = PaCoLoss(alpha=0.05, temperature=0.2)
        loss(features, labels, centers(pooled), queue.features, queue.labels,
             num_anchors=batch, queue_size=queue.num_valid)
    """

    base_temperature: float | None

    def __init__(
        self,
        *,
        alpha: float,
        temperature: float,
        beta: float = 1.0,
        gamma: float = 1.0,
        base_temperature: float | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        # float() because TorchScript tells alpha=1 from alpha=1.0.
        self.alpha = float(alpha)
        self.temperature = float(temperature)
        self.beta = float(beta)
        self.gamma = float(gamma)
        self.base_temperature = None if base_temperature is None else float(base_temperature)
        self.label_smoothing = float(label_smoothing)
        for name in ("alpha", "beta", "gamma"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(
                    f"PaCoLoss: {name} must be finite and >= 0, got {getattr(self, name)}"
                )
        for name in ("temperature", "base_temperature"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"PaCoLoss: {name} must be finite and > 0, got {value}")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(
                f"PaCoLoss: label_smoothing must lie in [0, 1), got {self.label_smoothing}"
            )

    # num_anchors has a default, which the operator refuses, for TorchScript's sake alone: it has
    # no keyword-only arguments with defaults, and the arguments before it are optional.
    def forward(
        self,
        features: Tensor,
        labels: Tensor,
        center_logits: Tensor | None = None,
        queue: Tensor | None = None,
        queue_labels: Tensor | None = None,
        num_anchors: int = 0,
        queue_size: Tensor | None = None,
        anchor_weight: Tensor | None = None,
    ) -> Tensor:
        """The scalar loss; ``num_anchors`` is required. See :func:`paco.paco_loss`."""
        return torch.ops.paco.paco_loss(
            features,
            labels,
            center_logits,
            queue,
            queue_labels,
            num_anchors=num_anchors,
            queue_size=queue_size,
            alpha=self.alpha,
            beta=self.beta,
            gamma=self.gamma,
            temperature=self.temperature,
            base_temperature=self.base_temperature,
            label_smoothing=self.label_smoothing,
            anchor_weight=anchor_weight,
        )

    def extra_repr(self) -> str:
        return (
            f"alpha={self.alpha}, temperature={self.temperature}, beta={self.beta}, "
            f"gamma={self.gamma}, base_temperature={self.base_temperature}, "
            f"label_smoothing={self.label_smoothing}"
        )


class FeatureQueue(nn.Module):
    """Ring buffer of the last ``size`` keys and their labels (MoCo, CVPR 2020).

    It starts empty, and rows that were never written do not enter the loss.

    Args:
        size: K, at least 1.
        dim: D, the length of a key.
        dtype: of the keys; torch's default dtype if None.

    Attributes:
        features: buffer [K, D].
        labels: buffer int64 [K], -1 for a row that was never written.
        state: buffer int64 [2], the row to write next and the number of valid rows.
    """

    features: Tensor
    labels: Tensor
    state: Tensor

    def __init__(self, size: int, dim: int, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"FeatureQueue: size must be at least 1, got {size}")
        if dim < 1:
            raise ValueError(f"FeatureQueue: dim must be at least 1, got {dim}")
        self.register_buffer("features", torch.zeros(size, dim, dtype=dtype))
        self.register_buffer("labels", torch.full((size,), -1, dtype=torch.int64))
        self.register_buffer("state", torch.zeros(2, dtype=torch.int64))

    @property
    def num_valid(self) -> Tensor:
        """The number of valid rows, a 0-dim int64 tensor on the queue's device."""
        return self.state[1]

    def enqueue(self, keys: Tensor, labels: Tensor) -> None:
        """Writes keys [B, D] and labels [B] over the oldest rows. See `paco.queue_enqueue_`.

        In distributed training pass the gathered keys and labels of all ranks, in rank order, so
        that every rank holds the same queue.
        """
        torch.ops.paco.queue_enqueue_(self.features, self.labels, self.state, keys, labels)

    def forward(self, keys: Tensor, labels: Tensor) -> None:
        """:meth:`enqueue`, under the name that a scripted queue is called by."""
        self.enqueue(keys, labels)

    def extra_repr(self) -> str:
        return f"size={self.features.size(0)}, dim={self.features.size(1)}"


class ClassCenters(nn.Module):
    """Learnable class centers, one more positive for each anchor and the classifier (PaCo, sec. 3).

    Training logits are (w_c . x_i + b_c + log pi_c) / supt; the prior is left out at inference.

    Args:
        in_features: F, the width of the pooled features.
        num_classes: C, the number of classes.
        bias: learn an additive bias.
        supt: temperature of the centers, > 0.
        cosine: compare directions only: the rows of features and centers are scaled to unit length.

    Attributes:
        weight: parameter [C, F].
        bias: parameter [C] or None.
        log_prior: buffer float32 [C], zeros for no prior. It stays float32 when the module is
            converted, because half precision would round the prior of a rare class.
    """

    log_prior: Tensor

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        bias: bool = True,
        supt: float = 1.0,
        cosine: bool = False,
    ) -> None:
        super().__init__()
        if not 0 < supt < math.inf:
            raise ValueError(f"ClassCenters: supt must be finite and > 0, got {supt}")
        self.supt = float(supt)
        self.cosine = cosine
        self.weight = nn.Parameter(torch.empty(num_classes, in_features))
        self.bias = nn.Parameter(torch.empty(num_classes)) if bias else None
        self.register_buffer("log_prior", torch.zeros(num_classes, dtype=torch.float32))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws weight and bias as ``nn.Linear`` does."""
        bound = 1 / math.sqrt(self.weight.size(1))
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def set_class_counts(self, class_counts: Tensor | Sequence[float]) -> None:
        """Sets the prior from the number of training samples of each class, [C].

        Equal counts leave no prior: it would only weigh the centers down against the pairs.

        Raises:
            ValueError: for counts that :func:`paco.log_prior` refuses, or not one a class.
        """
        prior = longtail.log_prior(class_counts)
        if prior.shape != self.log_prior.shape:
            raise ValueError(
                f"set_class_counts: class_counts must have {self.log_prior.numel()} entries, one a "
                f"class, got {prior.numel()}"
            )
        balanced = bool((prior == prior[0]).all())
        self.log_prior.copy_(torch.zeros_like(prior) if balanced else prior)

    def forward(self, x: Tensor) -> Tensor:
        """Training logits [A, C] of pooled features [A, F], the prior included."""
        return torch.ops.paco.center_logits(
            x, self.weight, self.bias, self.log_prior, supt=self.supt, cosine=self.cosine
        )

    def predict(self, x: Tensor) -> Tensor:
        """Inference logits [A, C], the prior left out; no operator of libpaco is needed."""
        weight = self.weight
        if self.cosine:
            x = F.normalize(x, dim=1)
            weight = F.normalize(weight, dim=1)
        return F.linear(x, weight, self.bias) / self.supt

    def _apply(self, fn, recurse=True):
        log_prior = self.log_prior
        super()._apply(fn, recurse)
        if self.log_prior.dtype != torch.float32:
            self.log_prior = log_prior.to(self.log_prior.device)
        return self

    def extra_repr(self) -> str:
        return (
            f"in_features={self.weight.size(1)}, num_classes={self.weight.size(0)}, "
            f"bias={self.bias is not None}, supt={self.supt}, cosine={self.cosine}"
        )


def momentum_update_(
    key_parameters: list[Tensor], query_parameters: list[Tensor], momentum: float
) -> None:
    """key <- momentum * key + (1 - momentum) * query, in place (MoCo, eq. 2).

    Pass parameters only: the key encoder's BatchNorm statistics are its own. Published code
    updates before the key encoder's forward pass.

    Args:
        key_parameters: parameters of the key encoder.
        query_parameters: those of the query encoder, in the same order.
        momentum: in [0, 1]; 0.999 in the paper.

    Raises:
        ValueError: for a momentum outside [0, 1], or lists of different lengths or shapes; nothing
            is written then.
    """
    if not 0.0 <= momentum <= 1.0:
        raise ValueError(f"momentum_update_: momentum must lie in [0, 1], got {momentum}")
    if len(key_parameters) != len(query_parameters):
        raise ValueError(
            f"momentum_update_: query_parameters must be as many as key_parameters, "
            f"{len(key_parameters)}, got {len(query_parameters)}"
        )
    for i in range(len(key_parameters)):
        if key_parameters[i].shape != query_parameters[i].shape:
            raise ValueError(
                f"momentum_update_: query_parameters[{i}] must be {key_parameters[i].shape} as in "
                f"key_parameters, got {query_parameters[i].shape}"
            )
    with torch.no_grad():
        if torch.jit.is_scripting():
            # TorchScript takes _foreach_lerp_ for a write to the list, not to the tensors in it,
            # and drops it as dead code wherever the list is not used again.
            for i in range(len(key_parameters)):
                key_parameters[i].lerp_(query_parameters[i], 1.0 - momentum)
        elif len(key_parameters) > 0:
            torch._foreach_lerp_(key_parameters, query_parameters, 1.0 - momentum)
