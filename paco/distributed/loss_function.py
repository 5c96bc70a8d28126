"""One contrast over all processes, and its derivative: what the losses have in common."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .collectives import Members, all_gather, all_to_all
from .loss_arguments import Options


class PaCoLossFunction(torch.autograd.Function):
    """The part of one process, whose columns with a gradient are ``features``."""

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
        class_counts: Tensor | None,
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
            class_counts,
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
            class_counts,
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
            class_counts,
            anchors,
            anchor_labels,
            anchor_rows,
            log_partition,
            pair_weight,
            anchor_grad,
        ) = ctx.saved_tensors
        sizes, options, members = ctx.sizes, ctx.options, ctx.members
        # The columns with a gradient are its own anchors alone, where keys have none.
        columns = sizes[members.rank] if options.detach_keys else features.size(0)
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
            features[:columns],
            labels[:columns],
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
            class_counts,
        )
        if options.features_grad:
            grad_features = F.pad(grad_features, (0, 0, 0, features.size(0) - columns))
        return (
            grad_features if options.features_grad else None,
            None,
            grad_center_logits if options.center_logits_grad else None,
            *[None] * 9,
        )


def _to_class_shares(
    soft_targets: Tensor, sizes: Sequence[int], num_classes: int, members: Members
) -> Tensor:
    """From the targets of own anchors, [A_own, C], to those of own classes, [A, C_own]."""
    own, total = sizes[members.rank], sum(sizes)
    widths = members.widths(num_classes)
    width = widths[members.rank]
    sent = torch.cat([part.flatten() for part in soft_targets.split(widths, 1)])
    received = [size * width for size in sizes]
    parts = all_to_all(sent, received, [own * w for w in widths], members)
    return parts.view(total, width)
