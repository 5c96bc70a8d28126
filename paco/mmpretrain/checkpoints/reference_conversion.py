"""Checkpoints of the papers' own code, brought into a classifier of ours."""

from collections.abc import Mapping

import torch
from mmpretrain.models import ImageClassifier
from torch import Tensor

from ..models.heads.paco_head import PaCoHead
from ..naming import named

__all__ = ["convert_reference_state"]

# Parts of the reference's model and of ours; the first prefix that fits a name counts.
_PLACES = {
    "encoder_q.fc.": "head.projector.",
    "encoder_q.": "backbone.",
    "encoder_k.fc.": "key_encoder.encoder.projector.",
    "encoder_k.": "key_encoder.encoder.backbone.",
    "linear.": "head.step.centers.",
    "queue.": "head.step.queue.",
}
# A trailing copy of ``linear`` that the reference updates but computes nothing with.
_UNUSED = ("linear_k.",)
_TRAINING_ONLY = ("encoder_q.fc.", "encoder_k.", "queue.")


def convert_reference_state(
    state: Mapping[str, Tensor], model: ImageClassifier
) -> tuple[dict[str, Tensor], list[str]]:
    """The state with which ``model`` computes what the reference's model does.

    The reference is github.com/dvlab-research/Parametric-Contrastive-Learning. Its model has an
    encoder ``encoder_q``, whose ``fc`` is the projector, class centers ``linear`` and a queue
    (``queue``, ``queue_l``, ``queue_ptr``); PaCo's has a key encoder ``encoder_k`` besides. The
    ImageNet backbones are torchvision's; of CIFAR's, ResNet-32 is :class:`SmallImageResNet` and
    ResNet-50 the toolbox's ``ResNet_CIFAR``.

    A :class:`PaCoClassifier` takes everything, any other linear classifier backbone and centers.
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
            naming the first of them, and for cosine centers, which the reference does not have.
    """
    if getattr(getattr(model.head, "centers", None), "scale", None) is not None:
        raise ValueError(
            "the reference's class centers are linear, and the config's are cosines with a scale"
        )
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    state = _with_queue_of_ours(state)
    ours = model.state_dict()
    skipped = _UNUSED if isinstance(model.head, PaCoHead) else _UNUSED + _TRAINING_ONLY
    unused = [name for name in state if name.startswith(skipped)]

    converted, unknown, misshapen = {}, [], []
    for name in state.keys() - set(unused):
        place = _place(name, ours)
        if place not in ours:
            unknown.append(name)
            continue
        converted[place] = state[name]
        if state[name].shape != ours[place].shape:
            shapes = [list(tensor.shape) for tensor in (state[name], ours[place])]
            misshapen.append(f"{name} is {shapes[0]} and {place} {shapes[1]}")
    missing = [name for name in ours.keys() - converted if not name.endswith(".log_prior")]
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


def _place(name: str, ours: Mapping[str, Tensor]) -> str | None:
    for part, place in _PLACES.items():
        if name.startswith(part):
            if part == "linear.":
                # A PaCoHead, a ClassCentersHead, the toolbox's own linear head.
                heads = ("head.step.centers.", "head.centers.", "head.fc.")
                place = next((head for head in heads if f"{head}weight" in ours), place)
            place += name.removeprefix(part)
            # The toolbox's ResNets, of which the reference's for CIFAR is one, call it this.
            return place if place in ours else place.replace(".shortcut.", ".downsample.")
    return None


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
