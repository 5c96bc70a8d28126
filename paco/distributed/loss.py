"""One contrast over all processes."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from .. import ops
from .collectives import Members, all_gather, all_to_all, members_of, share_of
from .loss_arguments import OPERATOR, Options, Tensors, agree_on_arguments


def paco_loss(
    features: Tensor,
    labels: Tensor,
    center_logits: Tensor | None = None,
    queue: Tensor | None = None,
    queue_labels: Tensor | None = None,
    num_valid: Tensor | None = None,
    anchor_weight: Tensor | None = None,
    num_anchors: int | None = None,
    beta: float = 1.0,
    gamma: float = 1.0,
    base_temperature: float | None = None,
    label_smoothing: float = 0.0,
    soft_targets: Tensor | None = None,
    num_classes: int | None = None,
    group: dist.ProcessGroup | None = None,
    anchors_per_process: Sequence[int] | None = None,
    *,
    alpha: float,
    temperature: float,
) -> Tensor:
    """:func:`paco.paco_loss` of the joined batch, of each process's own rows and queue share.

    Anchors are contrasted with the rows and the queues of all processes, exactly. Columns stay
    where they are: anchors travel, and what the columns of a process leave of them; the queue and
    the class centers may be far larger than one process could hold. Of W processes each returns
    (W / A) times the sum over its own anchors of the A of all, so that the mean over the processes
    is the loss of one process, and the gradient that DistributedDataParallel averages is its
    gradient.

    Every process of the group has to call it, and all or none have to go back through it. They may
    have any number of rows, and a process without any takes part with empty tensors. Without a
    process group, and on a group of one, this is :func:`paco.paco_loss`.

    Args:
        features: this process's rows z, [M, D], M >= 0.
        labels: those of its rows, int64 [M].
        center_logits: s, [A_own, C], of its own anchors and all classes. Or, with
            ``num_classes``, [A, C_own]: of the anchors of all processes, in their order, and of
            its share of the classes, as :class:`ShardedClassCenters` returns them.
        queue: its share of the past keys, [K, D], of any length; filled with its own keys alone.
        queue_labels: int64 [K].
        num_valid: how many leading rows of its share are filled.
        anchor_weight: [A_own].
        num_anchors: A_own, how many of its first rows are anchors, 0 <= A_own <= M. Where it is
            left out, the rows of ``center_logits`` or, without them or with ``num_classes``, of
            ``features``.
        beta: as for :func:`paco.paco_loss`, and so are the next four.
        gamma: weight of the pairs in the denominator.
        base_temperature: T_base.
        label_smoothing: epsilon.
        soft_targets: [A_own, C], of its own anchors and all classes in any case.
        num_classes: C, where the classes are shared out: process r has the r-th of W shares, of
            about as many classes each, as :func:`torch.tensor_split` makes them.
        group: the process group; the default one if None.
        anchors_per_process: A_own of every process. In eager mode it is left out: sizes, and what
            has to be the same everywhere, travel from host to host without a wait for a device.
            Compiled code has to be given it.
        alpha: weight of a same-class pair.
        temperature: T.

    Returns:
        A scalar, this process's part. A second derivative is an error.

    Raises:
        ValueError: on all processes, for a bad argument on one of them, and for dtypes, shapes or
            options that differ between them. Labels of columns that are out of range are an error
            on their process alone.
        RuntimeError: where another process has ended or does not answer within the timeout of the
            process group.
    """
    members = members_of(group)
    if members.size == 1:
        return ops.paco_loss(
            features,
            labels,
            center_logits,
            queue,
            queue_labels,
            num_valid,
            anchor_weight,
            num_anchors,
            beta,
            gamma,
            base_temperature,
            label_smoothing,
            soft_targets,
            alpha=alpha,
            temperature=temperature,
        )
    if not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1:
        raise ValueError(
            f"{OPERATOR}: the loss cannot be computed again in a backward pass, where other "
            "processes may not follow: checkpoint the encoders only, not the loss and the queue"
        )
    if torch.is_autocast_enabled(features.device.type):
        features = features.float()
        center_logits = None if center_logits is None else center_logits.float()
        queue = None if queue is None else queue.float()
    if num_anchors is None:
        of_own = features if center_logits is None or num_classes is not None else center_logits
        num_anchors = of_own.size(0)
    wants_grad = torch.is_grad_enabled()
    options = Options(
        beta if center_logits is not None else 0.0,
        gamma,
        base_temperature,
        label_smoothing,
        alpha,
        temperature,
        num_classes,
        wants_grad and features.requires_grad,
        wants_grad and center_logits is not None and center_logits.requires_grad,
    )
    tensors = Tensors(
        features,
        labels,
        center_logits,
        queue,
        queue_labels,
        num_valid,
        anchor_weight,
        soft_targets,
    )
    if anchors_per_process is None:
        if torch.compiler.is_compiling():
            raise ValueError(f"{OPERATOR}: compiled code needs anchors_per_process")
        anchors_per_process = agree_on_arguments(tensors, num_anchors, options, members, group)
    return _PaCoLoss.apply(*tensors, tuple(anchors_per_process), options, members)


class _PaCoLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        labels: Tensor,
        center_logits: Tensor | None,
        queue: Tensor | None,
        queue_labels: Tensor | None,
        num_valid: Tensor | None,
        anchor_weight: Tensor | None,
        soft_targets: Tensor | None,
        sizes: tuple[int, ...],
        options: Options,
        members: Members,
    ) -> Tensor:
        own, total = sizes[members.rank], sum(sizes)
        first = sum(sizes[: members.rank])
        anchors = all_gather(features[:own], sizes, members)
        anchor_labels = all_gather(labels[:own], sizes, members)
        # An anchor is no column of its own, on the one process where it is a column.
        rows = torch.arange(total, device=labels.device) - first
        anchor_rows = torch.where((rows >= 0) & (rows < own), rows, -1)
        first_class = 0
        if options.num_classes is not None:
            first_class = members.share(options.num_classes)[0]
            if soft_targets is not None:
                soft_targets = _to_class_shares(soft_targets, sizes, options.num_classes, members)
        sums, sum_rows = torch.ops.paco.paco_loss_partial(
            anchors,
            anchor_labels,
            anchor_rows,
            features,
            labels,
            center_logits,
            queue,
            queue_labels,
            num_valid,
            first_class,
            options.num_classes,
            options.gamma,
            options.label_smoothing,
            soft_targets,
            options.alpha,
            options.temperature,
            options.features_grad,
        )
        # The records go to the anchors' owners.
        received = [own] * members.size
        sums = all_to_all(sums, received, sizes, members).unflatten(0, (members.size, own))
        sum_rows = all_to_all(sum_rows, received, sizes, members)
        sum_rows = sum_rows.unflatten(0, (members.size, own))
        losses, log_partition, pair_weight, anchor_grad = torch.ops.paco.paco_loss_combine(
            sums,
            sum_rows,
            features[:own],
            anchor_weight,
            options.beta,
            options.gamma,
            options.base_temperature,
            options.alpha,
            options.temperature,
        )
        ctx.save_for_backward(
            features,
            labels,
            center_logits,
            anchor_weight,
            soft_targets,
            anchors,
            anchor_labels,
            anchor_rows,
            log_partition,
            pair_weight,
            anchor_grad,
        )
        ctx.sizes, ctx.options, ctx.members, ctx.first_class = sizes, options, members, first_class
        return (losses.sum() * (members.size / total)).to(pair_weight.dtype)

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor) -> tuple:
        (
            features,
            labels,
            center_logits,
            anchor_weight,
            soft_targets,
            anchors,
            anchor_labels,
            anchor_rows,
            log_partition,
            pair_weight,
            anchor_grad,
        ) = ctx.saved_tensors
        sizes, options, members = ctx.sizes, ctx.options, ctx.members
        # One row for each anchor, L_i, W_i and the gradient to l_i, is all that travels.
        grad_losses = (grad_loss.double() * (members.size / sum(sizes))).expand_as(log_partition)
        if anchor_weight is not None:
            grad_losses = grad_losses * anchor_weight
        state = torch.stack([log_partition, pair_weight.double(), grad_losses], 1)
        log_partition, all_weights, grad_losses = all_gather(state, sizes, members).unbind(1)
        grad_features, grad_center_logits = torch.ops.paco.paco_loss_partial_backward(
            grad_losses.to(pair_weight.dtype),
            anchors,
            anchor_labels,
            anchor_rows,
            features,
            labels,
            center_logits,
            ctx.first_class,
            options.num_classes,
            log_partition,
            all_weights.to(pair_weight.dtype),
            anchor_grad,
            options.beta,
            options.gamma,
            options.base_temperature,
            options.label_smoothing,
            soft_targets,
            options.alpha,
            options.temperature,
            options.features_grad,
            options.center_logits_grad,
        )
        return (
            grad_features if options.features_grad else None,
            None,
            grad_center_logits if options.center_logits_grad else None,
            *[None] * 8,
        )


def _to_class_shares(
    soft_targets: Tensor, sizes: Sequence[int], num_classes: int, members: Members
) -> Tensor:
    """From the targets of own anchors, [A_own, C], to those of own classes, [A, C_own]."""
    own, total = sizes[members.rank], sum(sizes)
    widths = [share_of(num_classes, rank, members.size)[1] for rank in range(members.size)]
    width = widths[members.rank]
    sent = torch.cat([part.flatten() for part in soft_targets.split(widths, 1)])
    received = [size * width for size in sizes]
    parts = all_to_all(sent, received, [own * w for w in widths], members)
    return parts.view(total, width)
