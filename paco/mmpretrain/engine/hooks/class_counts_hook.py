"""Counts the training set's images of each class and tells those who need to know."""

import inspect
from collections.abc import Mapping

from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS, HOOKS

from ...datasets.class_counts import count_classes
from ...evaluation.long_tail_metric import LongTailMetric
from ...models.heads.class_centers_head import ClassCentersHead
from ..runner_model import model_of
from .training_checks import check_training

__all__ = ["ClassCountsHook"]


@HOOKS.register_module()
class ClassCountsHook(Hook):
    """Hands the class counts to every :class:`ClassCentersHead` and :class:`LongTailMetric`.

    The heads have them before the first step, with the repetitions of a data set wrapper, which
    belong to the prior; the metrics have those of the images alone. Each process counts the whole
    training set, not its own share, so that all have the same prior. A metric that was given counts
    keeps them. A checkpoint takes its counts along, so that a test does not need the training set.

    What would go wrong later, or silently, is refused before the first step: a class without an
    image beside a prior, a last batch of one image for BatchNorm, an average that takes in a queue,
    a ProCoLoss whose epochs nobody starts.
    """

    def __init__(self) -> None:
        self._image_counts: list[int] | None = None

    def before_train(self, runner: Runner) -> None:
        counts = count_classes(runner.train_dataloader.dataset)
        # This run's, not those of a checkpoint that it may have started from.
        self._image_counts = counts.images.tolist()
        model = model_of(runner)
        check_training(runner, model, counts)
        for module in model.modules():
            if isinstance(module, ClassCentersHead):
                module.set_class_counts(counts.drawn)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if self._image_counts is not None:
            checkpoint["meta"]["class_counts"] = self._image_counts

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self._image_counts = checkpoint.get("meta", {}).get("class_counts")

    def before_val(self, runner: Runner) -> None:
        self._tell_metrics(runner, runner.val_loop.evaluator)

    def before_test(self, runner: Runner) -> None:
        self._tell_metrics(runner, runner.test_loop.evaluator)

    def _tell_metrics(self, runner: Runner, evaluator: Evaluator) -> None:
        for metric in evaluator.metrics:
            if isinstance(metric, LongTailMetric) and metric.class_counts is None:
                if self._image_counts is None:
                    self._image_counts = self._count(runner)
                metric.class_counts = self._image_counts

    def _count(self, runner: Runner) -> list[int]:
        """The counts of the training set, where it is here: a test downloads nothing."""
        reason = None
        if loader := runner.cfg.get("train_dataloader"):
            try:
                dataset = DATASETS.build(_without_download(loader["dataset"]))
                return count_classes(dataset).images.tolist()
            except (AssertionError, OSError, RuntimeError, ValueError) as error:
                reason = error
        raise RuntimeError(
            "LongTailMetric does not know the training set's class counts: the checkpoint does not "
            f"hold them and {reason or 'the config has no training set'}; pass "
            "LongTailMetric(class_counts=[...])"
        ) from reason


def _without_download(config: object) -> object:
    """A data set's config, in which CIFAR and the like, at whatever depth, are not fetched."""
    if isinstance(config, (list, tuple)):
        return [_without_download(part) for part in config]
    if not isinstance(config, Mapping):
        return config
    config = {name: _without_download(value) for name, value in config.items()}
    kind = config.get("type")
    kind = DATASETS.get(kind) if isinstance(kind, str) else kind
    if inspect.isclass(kind) and any(
        "download" in inspect.signature(base.__init__).parameters for base in kind.__mro__
    ):
        config["download"] = False
    return config
