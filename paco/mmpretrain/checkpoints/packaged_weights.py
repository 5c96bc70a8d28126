"""The weights that ship with paco, for ``get_model`` and wherever a config names a checkpoint."""

from mmengine.runner.checkpoint import CheckpointLoader
from mmpretrain.apis import ModelHub

from paco import weights

from .reading import read_checkpoint

__all__ = ["load_from_package"]


@CheckpointLoader.register_scheme(prefixes=weights.SCHEME)
def load_from_package(filename: str, map_location: object = None) -> dict:
    """:func:`read_checkpoint` of ``paco://FILE``."""
    return read_checkpoint(weights.path_of(filename), map_location)


ModelHub.register_model_index(weights.FOLDER / "metafile.yml")
