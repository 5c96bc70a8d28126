"""Loading that refuses another model's checkpoint; the toolbox loads whatever fits."""

import re
from os import PathLike, fspath

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader
from mmpretrain import get_model
from mmpretrain.models import ImageClassifier
from torch import nn

from .. import compat
from ..engine.runner_model import model_of
from ..naming import named
from .reading import CheckpointError

__all__ = ["StrictLoadingHook", "load_trained_model"]

_KEY_ENCODER = ("key_encoder.",)
_TRAINING_ONLY = (
    *_KEY_ENCODER,
    "head.projector.",
    "head.step.queue.",
    "head.step.centers.log_prior",
    "head.centers.log_prior",
    "contrast.",  # of paco.mmseg
)


def load_trained_model(
    cfg: Config,
    checkpoint: str | PathLike[str],
    device: str | torch.device = "cpu",
    for_training: bool = False,
) -> ImageClassifier:
    """A config's model in evaluation mode, with the weights and the class names of a checkpoint.

    The checkpoint must have every tensor that the model predicts with, and no other.

    Args:
        cfg: The config.
        checkpoint: The checkpoint's file, as the toolbox saves one.
        device: Where the model goes.
        for_training: The head's projector, queue and prior have to be there as well.

    Raises:
        CheckpointError: For a file that :func:`read_checkpoint` refuses, and for a checkpoint of
            another model, with the names of the tensors that differ.
    """
    content = CheckpointLoader.load_checkpoint(fspath(checkpoint), map_location="cpu")
    model = get_model(cfg, device=device)
    load_weights(model, content, checkpoint, for_training)
    meta = content.get("meta", {})
    if dataset_meta := meta.get("dataset_meta"):
        compat.set_dataset_meta(model, {**dataset_meta, "class_counts": meta.get("class_counts")})
    return model


class StrictLoadingHook(Hook):
    """Lets a runner load a checkpoint only if it is one of its model, as in `load_trained_model`.

    Args:
        checkpoint: The checkpoint's file, for the message.
    """

    def __init__(self, checkpoint: str) -> None:
        self.checkpoint = checkpoint

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Refuses a checkpoint of another model, before the runner takes it."""
        model = model_of(runner)
        load_weights(model, checkpoint, self.checkpoint, for_training=False)


def load_weights(
    model: nn.Module, content: dict, checkpoint: str | PathLike[str], for_training: bool = False
) -> None:
    """Loads a checkpoint's content, or refuses it as :func:`load_trained_model` does."""
    ignored = _KEY_ENCODER if for_training else _TRAINING_ONLY
    state = {}
    for name, tensor in content.get("state_dict", content).items():
        if not isinstance(tensor, torch.Tensor):
            raise CheckpointError(f"{checkpoint} holds {named(list(content))} and no state_dict")
        name = name.removeprefix("module.")
        if not name.startswith(ignored):
            state[name] = tensor
    try:
        missing, unknown = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        misshapen = re.findall(r"size mismatch for ([^:]+):", str(error))
        if not misshapen:
            raise
        complaints = {"have another shape": misshapen}
    else:
        complaints = {
            "are missing": [name for name in missing if not name.startswith(ignored)],
            "have no place in the model": unknown,
        }
    sentences = [
        f"{len(names)} tensors {what}: {named(names)}"
        for what, names in complaints.items()
        if names
    ]
    if sentences:
        raise CheckpointError(f"{checkpoint} is not of the config's model: {'; '.join(sentences)}")
