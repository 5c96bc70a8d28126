"""A progress bar for training."""

import sys
import time

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.utils import ProgressBar
from mmpretrain.registry import HOOKS

__all__ = ["ProgressBarHook"]

INTERVAL = 1.0  # seconds between two drawings


@HOOKS.register_module()
class ProgressBarHook(Hook):
    """Draws the toolbox's progress bar, a task an iteration, on the main process."""

    def before_train(self, runner: Runner) -> None:
        self._bar = None
        if is_main_process():
            self._bar = ProgressBar(runner.max_iters - runner.iter, file=sys.stdout)
        self._new = 0
        self._drawn = time.monotonic()

    def after_train_iter(self, runner: Runner, batch_idx, data_batch=None, outputs=None) -> None:
        self._new += 1
        if time.monotonic() - self._drawn >= INTERVAL:
            self._draw()

    def after_train(self, runner: Runner) -> None:
        self._draw()
        if self._bar is not None:
            self._bar.file.write("\n")

    def _draw(self) -> None:
        if self._bar is not None and self._new:
            self._bar.update(self._new)
        self._new = 0
        self._drawn = time.monotonic()
