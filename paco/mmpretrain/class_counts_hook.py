"""Counts the training set's images of each class and tells those who need to know."""

from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import Tensor
from torch.utils.data import Dataset

from paco import longtail

from .class_centers_head import ClassCentersHead
from .long_tail_metric import LongTailMetric

__all__ = ["ClassCountsHook", "class_counts_of"]


def class_counts_of(dataset: Dataset) -> Tensor:
    """The number of images of each class of a data set, whose images need not be read for it.

    Args:
        dataset: One of the toolbox's, with a ``gt_label`` for each image and ``classes`` in its
            ``metainfo``.

    Returns:
        int64 [C].
    """
    labels = [dataset.get_data_info(i)["gt_label"] for i in range(len(dataset))]
    return longtail.class_counts(labels, len(dataset.metainfo["classes"]))


@HOOKS.register_module()
class ClassCountsHook(Hook):
    """Hands the class counts to every :class:`ClassCentersHead` and :class:`LongTailMetric`.

    The heads have them before the first step. Each process counts the whole training set, not its
    own share, so that all have the same prior. A metric that was given counts keeps them.
    """

    def __init__(self) -> None:
        self._counts: Tensor | None = None

    def before_train(self, runner: Runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        for module in model.modules():
            if isinstance(module, ClassCentersHead):
                module.set_class_counts(self._class_counts(runner))

    def before_val(self, runner: Runner) -> None:
        self._tell_metrics(runner, runner.val_loop.evaluator)

    def before_test(self, runner: Runner) -> None:
        self._tell_metrics(runner, runner.test_loop.evaluator)

    def _tell_metrics(self, runner: Runner, evaluator: Evaluator) -> None:
        for metric in evaluator.metrics:
            if isinstance(metric, LongTailMetric) and metric.class_counts is None:
                metric.class_counts = self._class_counts(runner).tolist()

    def _class_counts(self, runner: Runner) -> Tensor:
        if self._counts is None:
            self._counts = class_counts_of(runner.train_dataloader.dataset)
        return self._counts
