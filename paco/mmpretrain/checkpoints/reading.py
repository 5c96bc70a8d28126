"""Checkpoints as files: read whole and sound, or refused in a sentence with the file's name."""

import os
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping

import torch
from mmengine.runner.checkpoint import CheckpointLoader
from mmengine.runner.checkpoint import load_from_local as unpickle_as_the_toolbox
from torch import Tensor

from ..._files import archive_damage
from ..naming import named

__all__ = ["CheckpointError", "is_sound", "read_checkpoint"]

# How torch.save began a file before version 1.6: a pickle of its magic number, and no zip archive.
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message is for a person, and names the file."""


def read_checkpoint(
    path: str | os.PathLike[str],
    map_location: object = None,
    load: Callable[..., object] = unpickle_as_the_toolbox,
) -> dict:
    """The content of a local checkpoint.

    Args:
        path: The file.
        map_location: That of ``torch.load``.
        load: Unpickles it; by default the toolbox does, which knows what the toolbox saves.

    Raises:
        CheckpointError: For a file that is missing, damaged or no checkpoint, and for weights that
            are NaN.
    """
    path = os.path.expanduser(path)
    if not os.path.isfile(path):
        raise CheckpointError(f"there is no checkpoint {path}")
    if damage := _damage(path):
        raise CheckpointError(f"{path} is damaged: {damage}")
    try:
        content = load(path, map_location=map_location)
    except Exception as error:  # a pickle fails in many ways
        raise CheckpointError(
            f"{path} is no checkpoint that can be read: {_reason(error)}"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is no checkpoint: it holds a {type(content).__name__}")
    weights = content.get("state_dict", content)
    nan = [name for name, value in _tensors(weights) if bool(value.isnan().any())]
    if nan:
        raise CheckpointError(
            f"{path} holds {len(nan)} tensors with NaN, as after training that diverged: "
            f"{named(nan)}"
        )
    return content


# All of the toolbox reads local files by it: testing, resuming, load_from, pretrained weights. Its
# log takes the word "local" from the function's name.
@CheckpointLoader.register_scheme(prefixes="", force=True)
def load_from_local(filename: str, map_location: object = None) -> dict:
    """:func:`read_checkpoint` for the toolbox."""
    return read_checkpoint(filename, map_location)


def is_sound(path: str | os.PathLike[str]) -> bool:
    """Whether this is a whole file of torch.save's, of whatever version."""
    try:
        if zipfile.is_zipfile(path):
            return _damage(path) is None
        with open(path, "rb") as file:
            if file.read(len(_LEGACY)) != _LEGACY:
                return False
        torch.load(path, map_location="cpu", weights_only=True)  # it has no checksums
        return True
    except Exception:
        return False


def _damage(path: str | os.PathLike[str]) -> str | None:
    """What is wrong with a file that is empty, or a zip archive."""
    with open(path, "rb") as file:
        start = file.read(2)
    if not start:
        return "it is empty"
    if start != b"PK":
        return None
    return archive_damage(path)


def _tensors(weights: object) -> Iterator[tuple[str, Tensor]]:
    if isinstance(weights, Mapping):
        yield from ((name, value) for name, value in weights.items() if isinstance(value, Tensor))


def _reason(error: Exception) -> str:
    """The sentence of an exception that says something; torch.load's have a page around it."""
    text = str(error).strip()
    if text.startswith("Weights only load failed"):
        found = re.search(r"WeightsUnpickler error: (.+)", text)
        text = found[1] if found else str(error.__context__ or type(error).__name__)
    if " " not in text:  # a KeyError's is the key alone
        text = f"{type(error).__name__} {text}".strip()
    return text.splitlines()[0]
