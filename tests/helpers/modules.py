"""A small training step, and what the tests do to functions and modules: script, save and load."""

import io
import warnings
from typing import Any

import torch
from torch import Tensor

from paco.nn import ClassCenters, FeatureQueue, PaCoLoss, TrainingStep


def script(function: Any) -> Any:
    """TorchScript of a function or a module, without the warning of its deprecation."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit")
        return torch.jit.script(function)


def saved_and_loaded(state: dict[str, Any]) -> dict[str, Any]:
    """A state_dict as a checkpoint would give it back."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def new_step() -> TrainingStep:
    """A step for 5-dimensional keys, 6-dimensional pooled features and 4 classes."""
    step = TrainingStep(
        PaCoLoss(0.05, 0.2, label_smoothing=0.1), FeatureQueue(16, 5), ClassCenters(6, 4)
    )
    step.centers.set_class_counts(torch.tensor([50, 20, 9, 2]))
    return step


def step_batch(n: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Queries, keys, pooled features and labels for it."""
    return torch.randn(n, 5), torch.randn(n, 5), torch.randn(n, 6), torch.randint(4, (n,))
