"""The model of a runner, out of the wrapper that a launcher may have put around it."""

from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

__all__ = ["model_of"]


def model_of(runner: Runner) -> nn.Module:
    """The model itself, also where ``runner.model`` is, for one, a DistributedDataParallel."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model
