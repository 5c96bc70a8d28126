"""Class centers that are shared out among the processes."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from .. import ops
from ..longtail import log_prior, log_target_prior
from ..nn.class_centers import ClassCenters
from .agreement import Call, agree
from .collectives import Members, all_gather, all_to_all, members_of, reduce_scatter
from .shares import gather_to_first


class ShardedClassCenters(ClassCenters):
    """:class:`paco.nn.ClassCenters`, about C / W of them on each of W processes.

    Nothing is sampled: with :func:`paco_loss` the loss and its gradients are those of all centers.
    Process r has the r-th share of the classes, as :func:`torch.tensor_split` makes them; without a
    process group it is the only one.

    The centers' gradients are whole on their process and carry no factor W: keep
    DistributedDataParallel from them with :func:`exclude_from_ddp`, clip with
    :func:`clip_grad_norm_`, which counts them once, and scale float16's losses with
    ``torch.distributed.fsdp.sharded_grad_scaler.ShardedGradScaler``, so that no process skips a
    step alone. Loading takes its own rows of all centers (:func:`full_state_dict`).

    Args:
        in_features: F, the width of the pooled features.
        num_classes: C, at least one for each process.
        bias: as for :class:`paco.nn.ClassCenters`, and so are the next three.
        center_temperature: T_c.
        tau: weight of the log prior.
        scale: factor of the cosine.
        group: the process group; the default one if None.

    Attributes:
        weight: parameter [C_own, F].
        bias: parameter [C_own] or None.
        log_prior: buffer float32 [C_own].
        num_classes: C, of all processes.
        first_class: the first of its own.

    Raises:
        ValueError: for a bad argument.

    Example::

        centers = ShardedClassCenters(512, 1_000_000)
        logits = centers(pooled)  # of the anchors of all processes
        loss = paco.distributed.paco_loss(
            features, labels, logits, queue.features, queue.labels, queue.num_valid,
            num_anchors=len(pooled), num_classes=centers.num_classes, alpha=0.05, temperature=0.2)
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        bias: bool | None = None,
        center_temperature: float = 1.0,
        tau: float = 1.0,
        scale: float | None = None,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        members = members_of(group)
        if num_classes < members.size:
            raise ValueError(
                f"ShardedClassCenters: num_classes must be at least {members.size}, one for each "
                f"process, got {num_classes}"
            )
        self.first_class, own = members.share(num_classes)
        super().__init__(in_features, own, bias, center_temperature, tau, scale)
        self.num_classes = num_classes
        self.group = group
        self.register_load_state_dict_pre_hook(_take_own_classes)

    def reset_parameters(self) -> None:
        """Draws the centers, on each process others, and forgets the prior."""
        # Processes that were seeded alike would draw alike.
        seed = int(torch.randint(2**31, ())) + self.first_class
        with torch.random.fork_rng(devices=[], enabled=True):
            torch.manual_seed(seed)
            super().reset_parameters()

    def set_class_counts(self, class_counts: Tensor) -> None:
        """Sets the prior from the number of training samples of each class, [C], of all classes."""
        prior = log_prior(class_counts)
        if prior.numel() != self.num_classes:
            raise ValueError(
                f"set_class_counts: class_counts must have {self.num_classes} entries, one a "
                f"class, got {prior.numel()}"
            )
        own = prior[self.first_class : self.first_class + self.log_prior.numel()]
        balanced = bool((prior == prior[0]).all())
        self.log_prior.copy_(torch.zeros_like(own) if balanced else own)

    def forward(self, x: Tensor, sizes: list[int] | None = None) -> Tensor:
        """Training logits [A, C_own] of the anchors of all processes and of its own classes.

        Args:
            x: pooled features of its own anchors, [A_own, F], A_own >= 0.
            sizes: A_own of every process, which compiled code has to be given.
        """
        members = members_of(self.group)
        if members.size == 1:
            return super().forward(x)
        if sizes is None:
            sizes = self._sizes(x)
        pooled, weight, bias = _Shared.apply(x, self.weight, self.bias, sizes, members)
        return ops.center_logits(
            pooled,
            weight,
            bias,
            self.log_prior,
            self.center_temperature,
            self.tau,
            self.scale,
        )

    def predict(self, x: Tensor, target_prior: Tensor | None = None) -> Tensor:
        """Inference logits [A_own, C] of its own pooled features [A_own, F] and of all classes.

        Every process of the group has to call it.
        """
        members = members_of(self.group)
        if members.size == 1:
            return super().predict(x, target_prior)
        sizes = self._sizes(x)
        own = super().predict(all_gather(x.detach(), sizes, members))
        widths = members.widths(self.num_classes)
        received = [len(x) * width for width in widths]
        sent = [size * own.size(1) for size in sizes]
        parts = all_to_all(own.detach().flatten(), received, sent, members).split(received)
        logits = torch.cat(
            [part.view(len(x), width) for part, width in zip(parts, widths, strict=True)], 1
        )
        if target_prior is not None:
            logits = logits + log_target_prior(target_prior, self.num_classes).to(logits)
        return logits

    def whole_state(self) -> dict[str, Tensor] | None:
        """The centers of all classes, as one process has them; None but on the first process.

        Every process of the group has to call it.
        """
        whole = {}
        for name, own in self.state_dict().items():
            parts = gather_to_first(own, self.group)
            if parts is not None:
                whole[name] = torch.cat(parts)
        return whole if members_of(self.group).rank == 0 else None

    def _sizes(self, x: Tensor) -> list[int]:
        facts = (
            ("the dtype of pooled features", str(x.dtype)),
            ("the width F of pooled features", str(x.shape[1:])),
            ("num_classes", str(self.num_classes)),
        )
        call = Call(type(self).__name__, (x.size(0),), facts, None)
        return [size for (size,) in agree(call, self.group)]

    def extra_repr(self) -> str:
        first, last = self.first_class, self.first_class + self.weight.size(0)
        return f"{super().extra_repr()}, classes {first} to {last} of {self.num_classes}"


def _take_own_classes(
    centers: ShardedClassCenters, state_dict: dict[str, Any], prefix: str, *_: object
) -> None:
    first, own = centers.first_class, len(centers.weight)
    for name in ("weight", "bias", "log_prior"):
        value = state_dict.get(prefix + name)
        if value is not None and len(value) == centers.num_classes:
            state_dict[prefix + name] = value[first : first + own]


class _Shared(torch.autograd.Function):
    """Pooled features of all processes, and centers whose gradient carries no factor W."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        sizes: list[int],
        members: Members,
    ) -> tuple:
        ctx.sizes, ctx.members = sizes, members
        return (
            all_gather(x, sizes, members),
            weight.view_as(weight),
            None if bias is None else bias.view_as(bias),
        )

    @staticmethod
    def backward(ctx: Any, grad_x: Tensor, grad_weight: Tensor, grad_bias: Tensor | None) -> tuple:
        own = reduce_scatter(grad_x, ctx.sizes, ctx.members)
        grad_bias = None if grad_bias is None else grad_bias / ctx.members.size
        return own, grad_weight / ctx.members.size, grad_bias, None, None
