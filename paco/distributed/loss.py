"""One contrast over all processes."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from .. import ops
from .collectives import members_of
from .loss_arguments import Options, Tensors, agree_on_arguments, refuse_in_backward_pass
from .loss_function import PaCoLossFunction

OPERATOR = "paco.distributed.paco_loss"


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
    detach_keys: bool = False,
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
        detach_keys: its rows beyond its own anchors are keys without a gradient.
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
            options that differ between them. Values on a GPU, and those of compiled code, are
            checked where they are, as for :func:`paco.paco_loss`.
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
            detach_keys,
            alpha=alpha,
            temperature=temperature,
        )
    refuse_in_backward_pass(OPERATOR)
    if torch.is_autocast_enabled(features.device.type):
        features = features.float()
        center_logits = None if center_logits is None else center_logits.float()
        queue = None if queue is None else queue.float()
    if num_anchors is None:
        of_own = features if center_logits is None or num_classes is not None else center_logits
        num_anchors = of_own.size(0)
    wants_grad = torch.is_grad_enabled()
    options = Options(
        beta=beta if center_logits is not None else 0.0,
        gamma=gamma,
        base_temperature=base_temperature,
        label_smoothing=label_smoothing,
        alpha=alpha,
        temperature=temperature,
        num_classes=num_classes,
        detach_keys=detach_keys,
        features_grad=wants_grad and features.requires_grad,
        center_logits_grad=(
            wants_grad and center_logits is not None and center_logits.requires_grad
        ),
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
        anchors_per_process = agree_on_arguments(
            OPERATOR, tensors, num_anchors, options, members, group
        )
    return PaCoLossFunction.apply(*tensors, None, tuple(anchors_per_process), options, members)
