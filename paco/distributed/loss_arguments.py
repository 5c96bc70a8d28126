"""The arguments of the losses over all processes, and whether those of all processes fit."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from .. import ops
from .agreement import Call, agree
from .collectives import Members

_SOFT_TARGET_TOLERANCE = 1e-4  # kernels' kSoftTargetTolerance


class Options(NamedTuple):
    """What is the same on every process, and which gradients this one wants."""

    beta: float  # 0 without centers
    gamma: float
    base_temperature: float | None
    label_smoothing: float
    alpha: float
    temperature: float
    num_classes: int | None
    detach_keys: bool
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


def refuse_in_backward_pass(operator: str) -> None:
    """An error where activation checkpointing repeats the loss."""
    if not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1:
        raise ValueError(
            f"{operator}: the loss cannot be computed again in a backward pass, where other "
            "processes may not follow: checkpoint the encoders only, not the loss and the queue"
        )


def agree_on_arguments(
    operator: str,
    tensors: Tensors,
    num_anchors: int,
    options: Options,
    members: Members,
    group: dist.ProcessGroup | None,
) -> list[int]:
    """The number of anchors of each process, once all have found that their calls fit."""
    features, center_logits = tensors.features, tensors.center_logits
    error = _error_of(lambda: _check_own(tensors, num_anchors, options, members))
    shared = options.num_classes is not None
    facts = (
        *_facts_of_rows(features),
        ("center_logits", _kind_of(center_logits, shared)),
        ("soft_targets", str(tensors.soft_targets is not None) if shared else "of its own"),
        ("the gradient to features", _wish(options.features_grad)),
        ("the gradient to anything", str(options.features_grad or options.center_logits_grad)),
        *((name, str(x)) for name, x in options._asdict().items() if not name.endswith("_grad")),
    )
    center_rows = -1 if center_logits is None or not shared else center_logits.size(0)
    everyone = agree(Call(operator, (num_anchors, center_rows), facts, error), group)
    sizes = [anchors for anchors, _ in everyone]
    if sum(sizes) == 0:
        raise ValueError(f"{operator}: num_anchors is 0 on every process")
    for rank, (_, rows) in enumerate(everyone):
        if shared and rows not in (-1, sum(sizes)):
            raise ValueError(
                f"{operator}: with num_classes, center_logits must have a row for each of the "
                f"{sum(sizes)} anchors of all processes, got {rows} on process {rank}"
            )
    return sizes


def agree_on_bcl_arguments(
    operator: str,
    tensors: Tensors,
    prototypes: Tensor,
    temperature: float,
    wants_grad: bool,
    group: dist.ProcessGroup | None,
) -> list[int]:
    """The number of rows of each process, all of which are anchors, once their calls fit."""
    features = tensors.features

    def check() -> None:
        _check_devices(tensors)
        more = 1 if features.size(0) == 0 else 0  # the operator wants an anchor
        ops.bcl_loss(
            _on_meta(features, more),
            _on_meta(tensors.labels, more),
            prototypes.to("meta"),
            *(_on_meta(x, 0) for x in (tensors.queue, tensors.queue_labels, tensors.num_valid)),
            temperature=temperature,
        )
        _check_values(tensors, prototypes.size(0))

    facts = (
        *_facts_of_rows(features),
        ("prototypes", f"{prototypes.dtype} {list(prototypes.shape)}"),
        ("the gradient to features or prototypes", _wish(wants_grad)),
        ("temperature", str(temperature)),
    )
    everyone = agree(Call(operator, (features.size(0),), facts, _error_of(check)), group)
    sizes = [rows for (rows,) in everyone]
    if sum(sizes) == 0:
        raise ValueError(f"{operator}: features have no rows on any process")
    return sizes


def _facts_of_rows(features: Tensor) -> tuple[tuple[str, str], ...]:
    return (
        ("the dtype of features", str(features.dtype)),
        ("the width D of features", str(features.shape[1:])),
        ("the device of features", features.device.type),
    )


def _wish(wants: bool) -> str:
    return "wanted" if wants else "not wanted"


def _kind_of(center_logits: Tensor | None, shared: bool) -> str:
    if center_logits is None:
        return "none"
    return f"{center_logits.dtype}" + ("" if shared else f" [A, {center_logits.shape[-1]}]")


def _error_of(check: Callable[[], None]) -> str | None:
    """What is wrong with the call on this process alone."""
    try:
        check()
    except ValueError as error:
        return str(error).split("\n")[0]
    return None


def _check_devices(tensors: Tensors) -> None:
    features = tensors.features
    for tensor in tensors:
        if tensor is not None and tensor.device != features.device:
            raise ValueError(f"all tensors must be on {features.device}, got {tensor.device}")


def _check_own(tensors: Tensors, num_anchors: int, options: Options, members: Members) -> None:
    """Has paco.paco_loss look at this process's own arguments, on the meta device."""
    features, center_logits = tensors.features, tensors.center_logits
    _check_devices(tensors)
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
    num_classes = options.num_classes
    if center_logits is not None and num_classes is not None:
        width = members.share(num_classes)[1]
        if center_logits.dim() != 2 or center_logits.size(1) != width:
            raise ValueError(
                f"center_logits must be [A, {width}], this process's share of num_classes "
                f"{num_classes}, got {list(center_logits.shape)}"
            )
        shape = num_anchors + more, num_classes
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
    if num_classes is None and center_logits is not None:
        num_classes = center_logits.size(1)
    _check_values(tensors, num_classes)


def _on_meta(tensor: Tensor | None, more: int) -> Any:
    """A tensor of that shape, or of some more rows, without numbers."""
    if tensor is None or tensor.dim() == 0:
        return None if tensor is None else tensor.to("meta")
    return tensor.new_empty((tensor.size(0) + more, *tensor.shape[1:]), device="meta")


def _check_values(tensors: Tensors, num_classes: int | None) -> None:
    """Looks at the values that a kernel of the CPU would refuse, after others have gone on."""
    if tensors.features.device.type != "cpu":  # a device checks them without being waited for
        return
    _check_labels("labels", tensors.labels, num_classes)
    if tensors.queue is not None and tensors.queue_labels is not None:
        valid = size = tensors.queue.size(0)
        if tensors.num_valid is not None:
            valid = int(tensors.num_valid)
        if not 0 <= valid <= size:
            raise ValueError(
                f"num_valid must lie between 0 and the rows of queue, {size}, got {valid}"
            )
        _check_labels("queue_labels", tensors.queue_labels[:valid], num_classes)
    for name in ("anchor_weight", "soft_targets"):
        tensor = getattr(tensors, name)
        if tensor is not None and bool((tensor < 0).any()):
            raise ValueError(f"{name} must be >= 0, got {tensor.min().item():g}")
    if tensors.soft_targets is not None:
        sums = tensors.soft_targets.sum(1, dtype=torch.float64)
        if bool(((sums - 1).abs() > _SOFT_TARGET_TOLERANCE).any()):  # a NaN goes into the loss
            raise ValueError("soft_targets must have rows that sum to 1")


def _check_labels(name: str, labels: Tensor, num_classes: int | None) -> None:
    bad = labels < 0
    if num_classes is not None:
        bad = bad | (labels >= num_classes)
    if bool(bad.any()):
        at = int(bad.nonzero()[0])
        known = "" if num_classes is None else f" with C = {num_classes}"
        raise ValueError(f"{name} must lie in [0, C), got {int(labels[at])} at {at}{known}")
