"""Checkpoints of the papers' own code, brought into a classifier of ours."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from mmpretrain.models import ImageClassifier
from torch import Tensor

from ..models.heads.contrast_head import ContrastHead
from ..naming import named

__all__ = ["convert_reference_state", "proco_estimates"]


class _Layout(NamedTuple):
    """How the model of a reference names its parts."""

    places: dict[str, str]  # its prefixes and ours; the first that fits a name counts
    training_only: tuple[str, ...]
    unused: tuple[str, ...] = ()


_PACO = _Layout(
    {
        "encoder_q.fc.": "head.projector.",
        "encoder_q.": "backbone.",
        "encoder_k.fc.": "key_encoder.encoder.projector.",
        "encoder_k.": "key_encoder.encoder.backbone.",
        "linear.": "head.step.centers.",
        "queue.": "head.step.queue.",
    },
    training_only=("encoder_q.fc.", "encoder_k.", "queue."),
    # A trailing copy of ``linear`` that the reference updates but computes nothing with.
    unused=("linear_k.",),
)
_BCL = _Layout(
    {
        "encoder.": "backbone.",
        "head.": "head.projector.",
        "head_fc.": "head.prototype_projector.",
        "fc.": "head.centers.",
    },
    training_only=("head.", "head_fc."),
)
_PROCO = _Layout(
    {
        "encoder.": "backbone.",
        "head.": "head.projector.",
        "fc.": "head.centers.",
        "contrast_loss.": "head.contrast_loss.",
    },
    training_only=("head.", "contrast_loss."),
)
_CENTERS = ("linear.", "fc.")
_SCALE = 30  # of the cosine classifiers of BCL and ProCo


def convert_reference_state(
    state: Mapping[str, Tensor], model: ImageClassifier
) -> tuple[dict[str, Tensor], list[str]]:
    """The state with which ``model`` computes what a reference's model does.

    PaCo's and GPaCo's is github.com/dvlab-research/Parametric-Contrastive-Learning. The model has
    an encoder ``encoder_q``, whose ``fc`` is the projector, class centers ``linear`` and a queue
    (``queue``, ``queue_l``, ``queue_ptr``); PaCo's has a key encoder ``encoder_k`` besides. The
    ImageNet backbones are torchvision's; of CIFAR's, ResNet-32 is :class:`SmallImageResNet` and
    ResNet-50 the toolbox's ``ResNet_CIFAR``.

    Or it is github.com/FlamieZhu/Balanced-Contrastive-Learning, whose model has an ``encoder``
    (torchvision's), projectors ``head`` and ``head_fc`` and a classifier ``fc``: a cosine with
    scale 30, whose weight lies transposed, or a linear one.

    Or it is github.com/LeapLabTHU/ProCo: the same without ``head_fc``. Its estimates of the classes
    are not in the ``state_dict``: :func:`proco_estimates` adds them; without them the model's own
    stay.

    A :class:`PaCoClassifier` takes everything, any other classifier backbone and centers.
    The prior is not in a checkpoint of the reference; :class:`ClassCountsHook` sets it as ever.
    Nor does one say that pooled features were scaled to unit length (``--normalize``, which no
    published recipe uses): the logits of such a model differ.

    Args:
        state: The reference's ``state_dict``, with or without DistributedDataParallel's
            ``module.`` before each name.
        model: The classifier; it is left as it is.

    Returns:
        A complete state for ``model``, and the names in the checkpoint that it does not use.

    Raises:
        ValueError: For tensors of either side without a counterpart or with one of another shape,
            naming the first of them, and where one side's classifier is a cosine with a scale, and
            the other's is linear or has another scale.
    """
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    layout = _layout_of(state)
    scale = None
    if layout is _PACO:
        state = _with_queue_of_ours(state)
    else:
        state, scale = _with_centers_of_ours(_with_estimates_of_ours(state))
    ours_scale = getattr(getattr(model.head, "centers", None), "scale", None)
    if ours_scale != scale:
        theirs, mine = (
            "linear" if s is None else f"cosines with scale {s:g}" for s in (scale, ours_scale)
        )
        raise ValueError(f"the reference's class centers are {theirs}, and the config's {mine}")
    ours = model.state_dict()
    skipped = layout.unused
    if not isinstance(model.head, ContrastHead):
        skipped += layout.training_only
    unused = [name for name in state if name.startswith(skipped)]

    converted, unknown, misshapen = {}, [], []
    for name in state.keys() - set(unused):
        place = _place(name, layout, ours)
        if place not in ours:
            unknown.append(name)
            continue
        converted[place] = state[name]
        if state[name].shape != ours[place].shape:
            shapes = [list(tensor.shape) for tensor in (state[name], ours[place])]
            misshapen.append(f"{name} is {shapes[0]} and {place} {shapes[1]}")
    missing = [
        name
        for name in ours.keys() - converted
        if not (name.endswith(".log_prior") or (layout is _PROCO and ".contrast_loss." in name))
    ]
    complaints = [
        f"{len(names)} {what}: {named(sorted(names))}"
        for what, names in {
            "tensors of the checkpoint without a place in the model": unknown,
            "tensors of the model without a counterpart in the checkpoint": missing,
            "tensors of different shapes": misshapen,
        }.items()
        if names
    ]
    if complaints:
        raise ValueError("; ".join(complaints))
    return ours | converted, unused


def _place(name: str, layout: _Layout, ours: Mapping[str, Tensor]) -> str | None:
    for part, place in layout.places.items():
        if name.startswith(part):
            if part in _CENTERS:
                # A PaCoHead, a ClassCentersHead, the toolbox's own linear head.
                heads = ("head.step.centers.", "head.centers.", "head.fc.")
                place = next((head for head in heads if f"{head}weight" in ours), place)
            place += name.removeprefix(part)
            # The toolbox's ResNets, of which the reference's for CIFAR is one, call it this.
            return place if place in ours else place.replace(".shortcut.", ".downsample.")
    return None


def proco_estimates(criterion: object) -> dict[str, Tensor]:
    """ProCo's estimates of the classes, which its checkpoints have as ``criterion_scl``.

    Args:
        criterion: The reference's loss, or an object with the same attributes.

    Returns:
        Tensors to add to the ``state_dict`` that is converted.
    """
    estimates = {}
    for name in ("estimator_old", "estimator"):
        for statistic in ("Ave", "Amount"):
            estimates[f"{name}.{statistic}"] = getattr(getattr(criterion, name), statistic)
    return estimates


def _layout_of(state: Mapping[str, Tensor]) -> _Layout:
    if any(name.startswith("head_fc.") for name in state):
        return _BCL
    return _PROCO if "fc.weight" in state else _PACO


def _with_estimates_of_ours(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    state = dict(state)
    for theirs, ours in (("estimator_old", "older"), ("estimator", "younger")):
        if f"{theirs}.Ave" in state:
            state[f"contrast_loss.{ours}_mean"] = state.pop(f"{theirs}.Ave").float()
            state[f"contrast_loss.{ours}_count"] = state.pop(f"{theirs}.Amount").long()
    return state


def _with_centers_of_ours(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], float | None]:
    """The cosine classifier's weight as [C, F], and its scale; None where it is linear."""
    state = dict(state)
    if "fc.bias" in state or "fc.weight" not in state:
        return state, None
    state["fc.weight"] = state["fc.weight"].T.contiguous()
    return state, _SCALE


def _with_queue_of_ours(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames the queue's three tensors and drops the rows that no step has written.

    The reference fills a new queue with random rows. Those are not of unit length, unlike keys, and
    the keys lie before the pointer until the queue is full.
    """
    state = dict(state)
    if not state.keys() >= {"queue", "queue_l", "queue_ptr"}:
        return state
    features, labels = state.pop("queue").clone(), state.pop("queue_l").clone()
    pointer = int(state.pop("queue_ptr"))
    is_key = (features.norm(dim=1) - 1).abs() < 0.01
    num_valid = len(features) if is_key.all() else pointer
    if not is_key[:num_valid].all():
        raise ValueError(
            f"queue: row {is_key.int().argmin()}, which lies before the pointer, is not of unit "
            "length"
        )
    features[num_valid:] = 0
    labels[num_valid:] = -1
    queue_state = torch.tensor([pointer, num_valid])
    return state | {
        "queue.features": features,
        "queue.labels": labels,
        "queue.state": queue_state,
    }
