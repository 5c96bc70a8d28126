"""A progress bar for training."""

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.utils import ProgressBar
from mmpretrain.registry import HOOKS

__all__ = ["ProgressBarHook"]


@HOOKS.register_module()
class ProgressBarHook(Hook):
    """Draws the toolbox's progress bar, one unit an iteration, on the main process."""

    def before_train(self, runner: Runner) -> None:
        self._bar = None
        if is_main_process():
            self._bar = ProgressBar(runner.max_iters - runner.iter)

    def after_train_iter(self, runner: Runner, batch_idx, data_batch=None, outputs=None) -> None:
        if self._bar is not None:
            self._bar.update()

    def after_train(self, runner: Runner) -> None:
        if self._bar is not None:
            self._bar.file.write("\n")
