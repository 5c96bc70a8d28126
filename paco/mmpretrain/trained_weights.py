"""Whether a checkpoint is one of this model: the toolbox loads what fits and leaves the rest."""

import re

from mmengine.model import BaseModel
from mmengine.runner.checkpoint import CheckpointLoader

__all__ = ["load_trained_weights"]

_KEY_ENCODER = ("key_encoder.",)
_TRAINING_ONLY = (*_KEY_ENCODER, "head.projector.", "head.queue.", "head.centers.log_prior")
_NAMED_AT_MOST = 3  # tensors, in a message


def load_trained_weights(model: BaseModel, checkpoint: str, for_training: bool = False) -> None:
    """Loads a checkpoint that has every tensor that the model predicts with, and no other.

    Args:
        model: The model.
        checkpoint: The checkpoint's file, as the toolbox saves one.
        for_training: The head's projector, queue and prior have to be there as well.

    Raises:
        ValueError: For a checkpoint of another model, with the names of the tensors that differ.
    """
    content = CheckpointLoader.load_checkpoint(checkpoint, map_location="cpu")
    ignored = _KEY_ENCODER if for_training else _TRAINING_ONLY
    state = {}
    for name, tensor in content.get("state_dict", content).items():
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
        f"{len(names)} tensors {what}: {', '.join(names[:_NAMED_AT_MOST])}"
        f"{', ...' if len(names) > _NAMED_AT_MOST else ''}"
        for what, names in complaints.items()
        if names
    ]
    if sentences:
        raise ValueError(f"{checkpoint} is not of the config's model: {'; '.join(sentences)}")
