"""BCL over all processes."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from .. import ops
from .collectives import Members, all_reduce, members_of
from .loss_arguments import Options, Tensors, agree_on_bcl_arguments, refuse_in_backward_pass
from .loss_function import PaCoLossFunction

OPERATOR = "paco.distributed.bcl_loss"


def bcl_loss(
    features: Tensor,
    labels: Tensor,
    prototypes: Tensor,
    queue: Tensor | None = None,
    queue_labels: Tensor | None = None,
    num_valid: Tensor | None = None,
    group: dist.ProcessGroup | None = None,
    rows_per_process: Sequence[int] | None = None,
    *,
    temperature: float,
) -> Tensor:
    """:func:`paco.bcl_loss` of the joined batch, of each process's own rows and queue share.

    As :func:`paco_loss` does it: of W processes each returns (W / M) times the sum over its own
    rows of the M of all, and the gradient that DistributedDataParallel averages is that of one
    process. n_c counts the rows, the prototypes and the queues of all.

    Args:
        features: this process's rows z, [M_own, D], M_own >= 0, all of them anchors.
        labels: int64 [M_own].
        prototypes: those of all classes, [C, D], the same on every process. Each contrasts its
            anchors' columns with a share of them, so that the gradient to them is whole in the
            mean over the processes alone, as that of any parameter.
        queue: its share of the past rows, [K, D], of any length; filled with its own rows alone.
        queue_labels: int64 [K].
        num_valid: how many leading rows of its share are filled.
        group: the process group; the default one if None.
        rows_per_process: M_own of every process, as ``anchors_per_process`` of :func:`paco_loss`:
            compiled code has to be given it.
        temperature: T.

    Returns:
        A scalar, this process's part. A second derivative is an error.

    Raises:
        ValueError: as :func:`paco_loss`, and so is the next.
        RuntimeError: where another process has ended or does not answer.
    """
    members = members_of(group)
    if members.size == 1:
        return ops.bcl_loss(
            features, labels, prototypes, queue, queue_labels, num_valid, temperature=temperature
        )
    refuse_in_backward_pass(OPERATOR)
    if torch.is_autocast_enabled(features.device.type):
        features, prototypes = features.float(), prototypes.float()
        queue = None if queue is None else queue.float()
    wants_grad = torch.is_grad_enabled() and (features.requires_grad or prototypes.requires_grad)
    if rows_per_process is None:
        if torch.compiler.is_compiling():
            raise ValueError(f"{OPERATOR}: compiled code needs rows_per_process")
        tensors = Tensors(features, labels, None, queue, queue_labels, num_valid, None, None)
        rows_per_process = agree_on_bcl_arguments(
            OPERATOR, tensors, prototypes, temperature, wants_grad, group
        )
    num_classes = prototypes.size(0)
    counts = _count_classes(labels, queue_labels, num_valid, num_classes, members)
    # A share of the prototypes are further columns, and no anchors.
    first, own = members.share(num_classes)
    classes = torch.arange(first, first + own, device=labels.device)
    columns = torch.cat([features, prototypes.narrow(0, first, own)])
    options = Options(
        beta=0.0,
        gamma=1.0,
        base_temperature=None,
        label_smoothing=0.0,
        alpha=1.0,
        temperature=temperature,
        num_classes=None,
        detach_keys=False,
        features_grad=wants_grad,
        center_logits_grad=False,
    )
    return PaCoLossFunction.apply(
        columns,
        torch.cat([labels, classes]),
        None,
        queue,
        queue_labels,
        num_valid,
        None,
        None,
        counts,
        tuple(rows_per_process),
        options,
        members,
    )


def _count_classes(
    labels: Tensor,
    queue_labels: Tensor | None,
    num_valid: Tensor | None,
    num_classes: int,
    members: Members,
) -> Tensor:
    """n_c over rows, prototypes and queues of all processes. The operators refuse bad labels."""

    def count(labels: Tensor, valid: Tensor) -> Tensor:
        counts = labels.new_zeros(num_classes)
        return counts.scatter_add(0, labels.clamp(0, num_classes - 1), valid)

    counts = count(labels, torch.ones_like(labels))
    if queue_labels is not None:
        valid = torch.ones_like(queue_labels)
        if num_valid is not None:
            index = torch.arange(len(queue_labels), device=queue_labels.device)
            valid = (index < num_valid).to(valid.dtype)
        counts = counts + count(queue_labels, valid)
    return all_reduce(counts, "sum", members) + 1
