"""Modules of parametric contrastive learning: loss, queue, class centers, a step, key encoder.

Every module scripts, compiles without a graph break, deep-copies and keeps its whole state in
``state_dict``. None of them needs a process group or a GPU.
"""

import copy
import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import ops
from .distributed import gather_rows
from .longtail import log_prior

__all__ = [
    "ClassCenters",
    "FeatureQueue",
    "MomentumEncoder",
    "PaCoLoss",
    "StepResult",
    "TrainingStep",
    "momentum_update_",
]

if TYPE_CHECKING:
    Parameters = Iterable[Tensor]
else:
    Parameters = list[Tensor]  # all that TorchScript knows; eagerly any iterable does


class PaCoLoss(nn.Module):
    """:func:`paco.paco_loss` with its hyper-parameters, which are documented there.

    A hyper-parameter outside its range is a ValueError at once.

    Example::

        loss = PaCoLoss(alpha=0.05, temperature=0.2)
        loss(features, labels, centers(pooled), queue.features, queue.labels,
             num_valid=queue.num_valid, num_anchors=batch)
    """

    base_temperature: float | None

    def __init__(
        self,
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
        # The operator checks them, on a problem of the meta device, where nothing is computed.
        labels = torch.empty(1, dtype=torch.int64, device="meta")
        self(torch.empty(1, 1, device="meta"), labels, torch.empty(1, 2, device="meta"))

    def forward(
        self,
        features: Tensor,
        labels: Tensor,
        center_logits: Tensor | None = None,
        queue: Tensor | None = None,
        queue_labels: Tensor | None = None,
        num_valid: Tensor | None = None,
        anchor_weight: Tensor | None = None,
        num_anchors: int | None = None,
    ) -> Tensor:
        """The scalar loss; see :func:`paco.paco_loss`."""
        return ops.paco_loss(
            features,
            labels,
            center_logits,
            queue,
            queue_labels,
            num_valid,
            anchor_weight,
            num_anchors,
            self.beta,
            self.gamma,
            self.base_temperature,
            self.label_smoothing,
            alpha=self.alpha,
            temperature=self.temperature,
        )

    def extra_repr(self) -> str:
        return (
            f"alpha={self.alpha}, temperature={self.temperature}, beta={self.beta}, "
            f"gamma={self.gamma}, base_temperature={self.base_temperature}, "
            f"label_smoothing={self.label_smoothing}"
        )


class FeatureQueue(nn.Module):
    """Ring buffer of the last ``size`` keys and their labels (MoCo, CVPR 2020).

    It starts empty, and rows that were never written do not enter the loss. Averages of models
    (EMA) must leave its buffers out, because a mean of rows has no label.

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
        self.register_buffer("features", torch.empty(size, dim, dtype=dtype))
        self.register_buffer("labels", torch.empty(size, dtype=torch.int64))
        self.register_buffer("state", torch.empty(2, dtype=torch.int64))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Empties the queue; after ``to_empty`` its memory holds anything."""
        self.features.zero_()
        self.labels.fill_(-1)
        self.state.zero_()

    @property
    def num_valid(self) -> Tensor:
        """The number of valid rows, a 0-dim int64 tensor on the queue's device."""
        return self.state[1]

    @torch.jit.export
    def enqueue(self, keys: Tensor, labels: Tensor) -> None:
        """Writes keys [B, D] and labels [B] over the oldest rows. See `paco.queue_enqueue_`.

        In distributed training pass the gathered keys and labels of all ranks, in rank order, so
        that every rank holds the same queue.
        """
        ops.queue_enqueue_(self.features, self.labels, self.state, keys, labels)

    def forward(self, keys: Tensor, labels: Tensor) -> None:
        """:meth:`enqueue`, under the name that a scripted queue is called by."""
        self.enqueue(keys, labels)

    def extra_repr(self) -> str:
        return f"size={self.features.size(0)}, dim={self.features.size(1)}"


class ClassCenters(nn.Module):
    """Learnable class centers, one more positive for each anchor and the classifier (PaCo, sec. 3).

    Training logits are (w_c . x_i + b_c) / T_c + tau log pi_c, or with a scale
    scale cos(w_c, x_i) + tau log pi_c; the prior is left out at inference.

    Args:
        in_features: F, the width of the pooled features.
        num_classes: C, the number of classes.
        bias: learn an additive bias; by default there is one unless there is a ``scale``, which
            takes none.
        center_temperature: T_c, > 0; 1 beside a ``scale``.
        tau: weight of the log prior, >= 0.
        scale: compare directions only, and multiply their cosine by this, > 0.

    Attributes:
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
    def predict(self, x: Tensor) -> Tensor:
        """Inference logits [A, C], the prior left out; no operator of libpaco is needed."""
        scale = self.scale
        if scale is not None:
            return scale * F.linear(F.normalize(x, dim=1), F.normalize(self.weight, dim=1))
        return F.linear(x, self.weight, self.bias) / self.center_temperature

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


class StepResult(NamedTuple):
    """The result of :meth:`TrainingStep.detailed`, for trainers that log more than the loss."""

    loss: Tensor
    """The scalar loss."""
    features: Tensor
    """[2B, D], the unit rows of queries and keys."""
    center_logits: Tensor
    """[A, C], the anchors' training logits."""


class TrainingStep(nn.Module):
    """Loss, queue and centers of one step, for a trainer that brings the encoders.

    Args:
        loss: :class:`PaCoLoss`, or a module that is called like it.
        queue: the queue of keys.
        centers: the class centers; their parameters are to be trained along.
        detach_centers: keep the centers' gradient from the pooled features, so that the encoder
            learns from the pairs alone, as in SupCon.

    Example::

        step = TrainingStep(PaCoLoss(0.05, 0.2), FeatureQueue(8192, 128), ClassCenters(512, 1000))
        loss = step(projector(pooled), key_encoder(key_view), pooled, labels)
    """

    def __init__(
        self,
        loss: nn.Module,
        queue: FeatureQueue,
        centers: ClassCenters,
        detach_centers: bool = False,
    ) -> None:
        super().__init__()
        self.loss = loss
        self.queue = queue
        self.centers = centers
        self.detach_centers = detach_centers

    def forward(self, queries: Tensor, keys: Tensor, pooled: Tensor, labels: Tensor) -> Tensor:
        """The loss of a batch; afterwards the keys are in the queue.

        The rows that have pooled features are the anchors, so ``pooled`` tells PaCo from GPaCo.
        Where several processes train, each enqueues the keys of all; a scripted step knows one.

        Args:
            queries: [B, D], projections of the first views, of any length.
            keys: [B, D], those of the second views: in PaCo the key encoder's, to which no
                gradient flows; in GPaCo the one encoder's.
            pooled: pooled features: PaCo [B, F], of the queries; GPaCo [2B, F], of the queries
                and then of the keys.
            labels: int64 [B].

        Returns:
            A scalar.
        """
        return self.detailed(queries, keys, pooled, labels).loss

    @torch.jit.export
    def detailed(self, queries: Tensor, keys: Tensor, pooled: Tensor, labels: Tensor) -> StepResult:
        """Does what :meth:`forward` does, and gives the features and logits of the loss as well."""
        batch = queries.size(0)
        if pooled.size(0) != batch and pooled.size(0) != 2 * batch:
            raise ValueError(
                f"TrainingStep: pooled must have {batch} rows (PaCo) or {2 * batch} (GPaCo), got "
                f"{pooled.size(0)}"
            )
        queries = F.normalize(queries, dim=1)
        keys = F.normalize(keys, dim=1)
        if pooled.size(0) == batch:
            keys = keys.detach()
        features = torch.cat([queries, keys])
        center_logits = self.centers(pooled.detach() if self.detach_centers else pooled)
        loss = self.loss(
            features,
            torch.cat([labels, labels]),
            center_logits,
            self.queue.features,
            self.queue.labels,
            num_valid=self.queue.num_valid,
        )
        if not torch.jit.is_scripting():
            keys, labels = gather_rows(keys, labels)
        self.queue.enqueue(keys, labels)
        return StepResult(loss, features, center_logits)

    @torch.jit.export
    def predict(self, pooled: Tensor) -> Tensor:
        """Inference logits [B, C] of pooled features [B, F]."""
        return self.centers.predict(pooled)


class MomentumEncoder(nn.Module):
    """A copy of an encoder that follows it without a gradient: the key encoder of PaCo (MoCo).

    Its BatchNorm statistics are its own. Published code updates before the forward pass::

        key_encoder.update(encoder)
        keys = key_encoder(key_view)

    Args:
        encoder: the module to copy; of any class.
        momentum: how much of itself the copy keeps in an update, in [0, 1].

    Attributes:
        encoder: the copy.

    Raises:
        ValueError: for a momentum outside [0, 1].
    """

    def __init__(self, encoder: nn.Module, momentum: float = 0.999) -> None:
        super().__init__()
        if not 0 <= momentum <= 1:
            raise ValueError(f"MomentumEncoder: momentum must lie in [0, 1], got {momentum}")
        self.momentum = float(momentum)
        self.encoder = copy.deepcopy(encoder).requires_grad_(False)

    def update(self, query: nn.Module) -> None:
        """Moves the copy's parameters toward those of ``query``; see :func:`momentum_update_`.

        TorchScript takes no module as an argument: a scripted trainer calls that function.
        """
        momentum_update_(self.encoder.parameters(), query.parameters(), self.momentum)

    def forward(self, x: Tensor) -> Tensor:
        """The copy's output, without a gradient."""
        with torch.no_grad():
            return self.encoder(x)

    def extra_repr(self) -> str:
        return f"momentum={self.momentum}"


def momentum_update_(
    key_parameters: Parameters, query_parameters: Parameters, momentum: float
) -> None:
    """Moves keys to momentum * key + (1 - momentum) * query, in place (MoCo, eq. 2).

    Pass parameters only: the key encoder's BatchNorm statistics are its own. Published code
    updates before the key encoder's forward pass.

    Args:
        key_parameters: parameters of the key encoder, as ``parameters()`` gives them; in
            TorchScript a list.
        query_parameters: those of the query encoder, in the same order.
        momentum: in [0, 1]; 0.999 in the paper.

    Raises:
        ValueError: for a momentum outside [0, 1], or lists of different lengths or shapes; nothing
            is written then.
    """
    keys, queries = list(key_parameters), list(query_parameters)
    if not 0.0 <= momentum <= 1.0:
        raise ValueError(f"momentum_update_: momentum must lie in [0, 1], got {momentum}")
    if len(keys) != len(queries):
        raise ValueError(
            f"momentum_update_: query_parameters must be as many as key_parameters, {len(keys)}, "
            f"got {len(queries)}"
        )
    for i in range(len(keys)):
        if keys[i].shape != queries[i].shape:
            raise ValueError(
                f"momentum_update_: query_parameters[{i}] must be {keys[i].shape} as in "
                f"key_parameters, got {queries[i].shape}"
            )
    with torch.no_grad():
        if torch.jit.is_scripting():
            # TorchScript takes _foreach_lerp_ for a write to the list, not to the tensors in it,
            # and drops it as dead code wherever the list is not used again.
            for i in range(len(keys)):
                keys[i].lerp_(queries[i], 1.0 - momentum)
        elif len(keys) > 0:
            torch._foreach_lerp_(keys, queries, 1.0 - momentum)
