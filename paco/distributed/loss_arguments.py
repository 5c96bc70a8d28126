"""The arguments of :func:`paco.distributed.paco_loss`, and whether those of all processes fit."""

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from .. import ops
from .agreement import Call, agree
from .collectives import Members

OPERATOR = "paco.distributed.paco_loss"


class Options(NamedTuple):
    """What is the same on every process, and which gradients this one wants."""

    beta: float  # 0 without centers
    gamma: float
    base_temperature: float | None
    label_smoothing: float
    alpha: float
    temperature: float
    num_classes: int | None
    features_grad: bool
    center_logits_grad: bool


class Tensors(NamedTuple):
    """The tensors of one process."""

    features: Tensor
    labels: Tensor
    center_logits: Tensor | None
    queue: Tensor | None
    queue_labels: Tensor | None
    num_valid: Tensor | None
    anchor_weight: Tensor | None
    soft_targets: Tensor | None


def agree_on_arguments(
    tensors: Tensors,
    num_anchors: int,
    options: Options,
    members: Members,
    group: dist.ProcessGroup | None,
) -> list[int]:
    """The number of anchors of each process, once all have found that their calls fit."""
    features, center_logits = tensors.features, tensors.center_logits
    error = _error_of_own(tensors, num_anchors, options, members)
    shared = options.num_classes is not None
    facts = (
        ("the dtype of features", str(features.dtype)),
        ("the width D of features", str(features.shape[1:])),
        ("the device of features", features.device.type),
        ("center_logits", _kind_of(center_logits, shared)),
        ("soft_targets", str(tensors.soft_targets is not None) if shared else "of its own"),
        ("the gradient to features", "wanted" if options.features_grad else "not wanted"),
        ("the gradient to anything", str(options.features_grad or options.center_logits_grad)),
        *((name, str(getattr(options, name))) for name in Options._fields[:7]),
    )
    center_rows = -1 if center_logits is None or not shared else center_logits.size(0)
    everyone = agree(Call(OPERATOR, (num_anchors, center_rows), facts, error), group)
    sizes = [anchors for anchors, _ in everyone]
    if sum(sizes) == 0:
        raise ValueError(f"{OPERATOR}: num_anchors is 0 on every process")
    for rank, (_, rows) in enumerate(everyone):
        if shared and rows not in (-1, sum(sizes)):
            raise ValueError(
                f"{OPERATOR}: with num_classes, center_logits must have a row for each of the "
                f"{sum(sizes)} anchors of all processes, got {rows} on process {rank}"
            )
    return sizes


def _kind_of(center_logits: Tensor | None, shared: bool) -> str:
    if center_logits is None:
        return "none"
    return f"{center_logits.dtype}" + ("" if shared else f" [A, {center_logits.shape[-1]}]")


def _error_of_own(
    tensors: Tensors, num_anchors: int, options: Options, members: Members
) -> str | None:
    """What paco.paco_loss would say of this process's own arguments, on the meta device."""
    features, center_logits = tensors.features, tensors.center_logits
    try:
        for tensor in tensors:
            if tensor is not None and tensor.device != features.device:
                raise ValueError(f"all tensors must be on {features.device}, got {tensor.device}")
        for name in ("anchor_weight", "soft_targets"):
            tensor = getattr(tensors, name)
            if tensor is not None and tensor.requires_grad and torch.is_grad_enabled():
                raise ValueError(f"{name} must not require a gradient; detach it")
        if not 0 <= num_anchors <= features.size(0):
            raise ValueError(
                "num_anchors must lie between 0 and the rows of features "
                f"{list(features.shape)}, got {num_anchors}"
            )
        more = 1 if num_anchors == 0 else 0  # the operator wants an anchor
        of_queue = ("queue", "queue_labels", "num_valid")
        meta: dict[str, Any] = {
            name: _on_meta(tensor, 0 if name in of_queue else more)
            for name, tensor in tensors._asdict().items()
        }
        if center_logits is not None and options.num_classes is not None:
            width = members.share(options.num_classes)[1]
            if center_logits.dim() != 2 or center_logits.size(1) != width:
                raise ValueError(
                    f"center_logits must be [A, {width}], this process's share of num_classes "
                    f"{options.num_classes}, got {list(center_logits.shape)}"
                )
            shape = num_anchors + more, options.num_classes
            meta["center_logits"] = center_logits.new_empty(shape, device="meta")
        ops.paco_loss(
            **meta,
            num_anchors=num_anchors + more,
            beta=options.beta if center_logits is not None else 1.0,
            gamma=options.gamma,
            base_temperature=options.base_temperature,
            label_smoothing=options.label_smoothing,
            alpha=options.alpha,
            temperature=options.temperature,
        )
    except ValueError as error:
        return str(error).split("\n")[0]
    return None


def _on_meta(tensor: Tensor | None, more: int) -> Tensor | None:
    """A tensor of that shape, or of some more rows, without numbers."""
    if tensor is None or tensor.dim() == 0:
        return None if tensor is None else tensor.to("meta")
    return tensor.new_empty((tensor.size(0) + more, *tensor.shape[1:]), device="meta")
