"""The one place that depends on the toolbox's versions: what is private there.

These functions touch attributes whose names begin with an underscore. They are there in mmengine
0.10.7 and mmpretrain 1.2.0, and in onedl-mmengine 0.10.12 and onedl-mmpretrain 1.3.6. What is
mended for every toolbox is in :mod:`paco.mmengine_compat`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from mmengine.optim import OptimWrapper
    from mmengine.runner import EpochBasedTrainLoop, Runner
    from mmpretrain.datasets import BaseDataset
    from mmpretrain.models import ImageClassifier
    from mmpretrain.models.utils import ClsDataPreprocessor

__all__ = [
    "accumulated_batches",
    "class_counts",
    "class_names",
    "count_epoch",
    "count_iteration",
    "do_not_resume",
    "keep_from_the_first_broadcast",
    "make_windows_exportable",
    "normalises",
    "resume_from",
    "resumed_checkpoint",
    "resumes_from_the_latest",
    "set_class_names",
    "set_dataset_meta",
]


def make_windows_exportable() -> None:
    """Puts the windows of Swin and MixMIM transformers together without a number of images.

    The toolbox computes that number as a Python integer, which tracing and torch.export both take
    for a constant: the file would be right for a batch of the exporter's size alone.
    """
    from mmpretrain.models.backbones.mixmim import MixMIMBlock
    from mmpretrain.models.utils import ShiftWindowMSA

    def window_reverse(windows: torch.Tensor, H: int, W: int, window_size: int) -> torch.Tensor:
        rows, columns = H // window_size, W // window_size
        x = windows.view(-1, rows, columns, window_size, window_size, windows.shape[-1])
        return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, H, W, windows.shape[-1])

    for kind in (ShiftWindowMSA, MixMIMBlock):
        kind.window_reverse = staticmethod(window_reverse)


def resumes_from_the_latest(runner: "Runner") -> bool:
    """Whether the run goes on from a checkpoint that it has to find itself."""
    return runner._resume and runner._load_from is None


def resumed_checkpoint(runner: "Runner") -> str | None:
    """The checkpoint from which a run goes on, if it does."""
    return runner._load_from if runner._resume else None


def resume_from(runner: "Runner", checkpoint: str) -> None:
    """Names the checkpoint from which a resumed run goes on."""
    runner._load_from = checkpoint


def do_not_resume(runner: "Runner") -> None:
    """Lets a run start anew."""
    runner._resume = False


def keep_from_the_first_broadcast(runner: "Runner", prefixes: tuple[str, ...]) -> None:
    """Lets a run start with each process's own tensors of these names.

    Once the weights are drawn, a runner makes all of ``model.state_dict()`` that of process 0.
    """
    initialise = runner._init_model_weights

    def without_them() -> None:
        model = getattr(runner.model, "module", runner.model)
        state_dict = model.state_dict

        def common(*args: object, **kwargs: object) -> dict:
            state = state_dict(*args, **kwargs)
            return {name: x for name, x in state.items() if not name.startswith(prefixes)}

        model.state_dict = common
        try:
            initialise()
        finally:
            del model.state_dict

    runner._init_model_weights = without_them


def count_iteration(loop: "EpochBasedTrainLoop") -> None:
    """Tells a training loop that it is one iteration further."""
    loop._iter += 1


def count_epoch(loop: "EpochBasedTrainLoop") -> None:
    """Tells a training loop that it is one epoch further."""
    loop._epoch += 1


def accumulated_batches(wrapper: "OptimWrapper") -> int:
    """Over how many batches the gradient of one step adds up."""
    return wrapper._accumulative_counts


def normalises(preprocessor: "ClsDataPreprocessor") -> bool:
    """Whether a preprocessor has a mean and a standard deviation."""
    return preprocessor._enable_normalize


def class_names(model: "ImageClassifier") -> tuple[str, ...] | None:
    """The names that ``get_model`` or :func:`set_dataset_meta` gave a model's classes."""
    return (getattr(model, "_dataset_meta", None) or {}).get("classes")


def class_counts(model: "ImageClassifier") -> list[int] | None:
    """The training images of each class, where the model's checkpoint says them."""
    return (getattr(model, "_dataset_meta", None) or {}).get("class_counts")


def set_dataset_meta(model: "ImageClassifier", meta: Mapping) -> None:
    """Gives a model what its checkpoint says of the data set, above all the class names."""
    model._dataset_meta = meta


def set_class_names(dataset: "BaseDataset", names: tuple[str, ...]) -> None:
    """Names a data set's classes after its annotations were read."""
    dataset._metainfo["classes"] = names
