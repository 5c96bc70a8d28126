"""Starts ProCo's estimates of the classes anew before each epoch."""

from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from mmpretrain.registry import HOOKS

from paco.nn import ProCoLoss

__all__ = ["ProCoEpochHook"]


@HOOKS.register_module()
class ProCoEpochHook(Hook):
    """Calls ``start_epoch`` of every :class:`paco.nn.ProCoLoss` before each epoch.

    It comes after :class:`EpochSeedHook`, whatever their order in the config, so that the random
    directions are the epoch's and a resumed run repeats them bit for bit.

    Raises:
        ValueError: For a training that is not by epochs, and for a model without a ProCoLoss.
    """

    priority = "BELOW_NORMAL"

    def before_train(self, runner: Runner) -> None:
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            raise ValueError(
                "ProCoEpochHook: train_cfg must count epochs (by_epoch=True), which the estimates "
                "of the classes are made anew for"
            )
        if not any(isinstance(module, ProCoLoss) for module in runner.model.modules()):
            raise ValueError("ProCoEpochHook: the model has no ProCoLoss to start an epoch of")

    def before_train_epoch(self, runner: Runner) -> None:
        for module in runner.model.modules():
            if isinstance(module, ProCoLoss):
                module.start_epoch()
