"""The ProCo loss and its running estimates of the classes' distributions."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .. import ops
from ..distributed import broadcast_rows, gather_rows
from ..longtail import log_prior


class ProCoLoss(nn.Module):
    """Contrast against the distributions of the classes (`ProCo <https://arxiv.org/abs/2403.06726>`_).

    The features of each class are taken to follow a von Mises-Fisher distribution, whose mean
    direction mu and concentration kappa come from the running mean m of the features::

        mu = m / |m|,   R = |m|,   kappa = D R / (1 - R^2), at most 1e5
        loss = mean over the views of CE( s + log pi, y ),   s of paco.vmf_logits

    Two estimates of m see every feature, each view's before its logits are computed. The logits
    come from the older; :meth:`start_epoch` puts the younger in its place and starts that anew, so
    that an estimate spans one to two epochs. In evaluation mode nothing is added.

    A class without a feature in an estimate has a random direction with R = .9; with features that
    are all the same, one for instance, kappa is 1e5; with R = 0 it is uniform on the sphere.

    Args:
        num_classes: C.
        dim: D, the length of a feature, >= 2.
        temperature: T, > 0.

    Attributes:
        older_mean: buffer [C, D], the estimates of m.
        younger_mean: the same, of the estimator that replaces it.
        older_count: buffer int64 [C], the features in ``older_mean``.
        younger_count: buffer int64 [C], those in ``younger_mean``.
        log_prior: buffer float32 [C], zeros for no prior.

    ``half()`` and ``bfloat16()`` leave the buffers in float32.

    Raises:
        ValueError: for a bad argument.
    """

    older_mean: Tensor
    older_count: Tensor
    younger_mean: Tensor
    younger_count: Tensor
    log_prior: Tensor

    def __init__(self, num_classes: int, dim: int, temperature: float) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"ProCoLoss: num_classes must be at least 1, got {num_classes}")
        if dim < 2:
            raise ValueError(f"ProCoLoss: dim must be at least 2, got {dim}")
        self.temperature = float(temperature)
        for name in ("older", "younger"):
            self.register_buffer(f"{name}_mean", torch.empty(num_classes, dim))
            self.register_buffer(f"{name}_count", torch.empty(num_classes, dtype=torch.int64))
        self.register_buffer("log_prior", torch.empty(num_classes, dtype=torch.float32))
        self.reset_parameters()
        # The operator checks the temperature, on the meta device, where nothing is computed.
        meta = torch.empty(1, dim, dtype=torch.float32, device="meta")
        ops.vmf_logits(meta, meta, meta[:, 0], self.temperature)

    def reset_parameters(self) -> None:
        """Starts both estimates anew, and forgets the prior."""
        self.log_prior.zero_()
        for mean, count in (
            (self.older_mean, self.older_count),
            (self.younger_mean, self.younger_count),
        ):
            mean.copy_(self._random_means())
            count.zero_()

    @torch.jit.export
    def set_class_counts(self, class_counts: Tensor) -> None:
        """Sets the prior from the number of training samples of each class, [C].

        Raises:
            ValueError: for counts that :func:`paco.log_prior` refuses, or not one a class.
        """
        prior = log_prior(class_counts)
        if prior.shape != self.log_prior.shape:
            raise ValueError(
                f"set_class_counts: class_counts must have {self.log_prior.numel()} entries, one a "
                f"class, got {prior.numel()}"
            )
        self.log_prior.copy_(prior)

    @torch.jit.export
    def start_epoch(self) -> None:
        """Puts the younger estimate in the older one's place and starts it anew.

        To be called before each epoch, on every process: the random directions are those of the
        first process.
        """
        self.older_mean.copy_(self.younger_mean)
        self.older_count.copy_(self.younger_count)
        start = self._random_means()
        if not torch.jit.is_scripting():
            start = broadcast_rows(start)
        self.younger_mean.copy_(start)
        self.younger_count.zero_()

    def _random_means(self) -> Tensor:
        return 0.9 * F.normalize(torch.randn_like(self.younger_mean), dim=1)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """The loss of a batch, whose features are in the estimates from then on.

        Where several processes train, the features of all are added; a scripted loss knows one.

        Args:
            features: [V B, D], unit rows of the V views of the batch, view after view.
            labels: int64 [B], in [0, C).

        Returns:
            A scalar, float64 for float64 features, else float32.

        Raises:
            ValueError: for a bad argument.
        """
        batch = labels.size(0)
        if batch == 0 or features.size(0) == 0 or features.size(0) % batch != 0:
            raise ValueError(
                "ProCoLoss: features must have a row for each label and view, got "
                f"{features.size(0)} rows and {batch} labels"
            )
        losses: list[Tensor] = []
        for view in features.split(batch):
            losses.append(F.cross_entropy(self.logits(view, labels) + self.log_prior, labels))
        return torch.stack(losses).mean()

    @torch.jit.export
    def logits(self, features: Tensor, labels: Tensor) -> Tensor:
        """The logits [B, C] of one view, the prior left out, once its features are added."""
        if self.training:
            added, added_labels = features.detach(), labels
            if not torch.jit.is_scripting():
                added, added_labels = gather_rows(added, added_labels)
            ops.class_mean_update_(self.older_mean, self.older_count, added, added_labels)
            ops.class_mean_update_(self.younger_mean, self.younger_count, added, added_labels)
        mean = self.older_mean.to(
            torch.float64 if features.dtype == torch.float64 else torch.float32
        )
        length = mean.square().sum(1).sqrt()
        kappa = mean.size(1) * length / (1 - length * length)
        kappa = torch.where(length < 1, kappa, 1e5).clamp(max=1e5)
        # Next to 0 there is no direction; a NaN is left for the operator to refuse.
        short = length < 1e-10
        direction = (mean / length[:, None]).masked_fill(short[:, None], 0)
        return ops.vmf_logits(features, direction, kappa, self.temperature)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "ProCoLoss":
        names = ("older_mean", "younger_mean", "log_prior")
        before = {name: getattr(self, name) for name in names}
        super()._apply(fn, recurse)
        for name, value in before.items():
            now = getattr(self, name)
            if now.dtype.itemsize < 4 or (name == "log_prior" and now.dtype != torch.float32):
                setattr(self, name, value.to(now.device))
        return self

    def extra_repr(self) -> str:
        classes, dim = self.older_mean.shape
        return f"num_classes={classes}, dim={dim}, temperature={self.temperature}"
