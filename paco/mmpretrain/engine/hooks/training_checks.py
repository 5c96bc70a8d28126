"""What a run is asked before its first step, because it would fail late, or be silently wrong."""

import torch
from mmengine.dataset import InfiniteSampler
from mmengine.runner import Runner
from mmpretrain.models import ImageClassifier
from torch import nn

from paco.distributed.shares import shared_out
from paco.nn import ProCoLoss

from ...datasets.class_counts import ClassCounts
from ...models.heads.class_centers_head import ClassCentersHead
from ...models.heads.contrast_head import ContrastHead
from ...naming import named
from .proco_epoch_hook import ProCoEpochHook
from .shares_hook import SharesHook

__all__ = ["check_training"]


def check_training(runner: Runner, model: ImageClassifier, counts: ClassCounts) -> None:
    """Refuses with a ValueError what cannot train, or would train something else."""
    modules = list(model.modules())
    if any(isinstance(module, ClassCentersHead) and module.prior for module in modules):
        _require_every_class(runner, counts)
    if any(isinstance(module, ContrastHead) and _has_norm(module.projector) for module in modules):
        _require_last_batch(runner)
    if any(isinstance(module, ProCoLoss) for module in modules):
        _require_epochs_to_start(runner)
    if any(shared_out(model)) and not any(isinstance(hook, SharesHook) for hook in runner.hooks):
        raise ValueError(
            "a queue or class centers that are shared out are saved as a whole, and clipped as "
            "one: add dict(type='SharesHook') to custom_hooks"
        )


def _require_epochs_to_start(runner: Runner) -> None:
    if not any(isinstance(hook, ProCoEpochHook) for hook in runner.hooks):
        raise ValueError(
            "a ProCoLoss estimates the classes anew in each epoch: add dict(type='ProCoEpochHook') "
            "to custom_hooks"
        )


def _require_every_class(runner: Runner, counts: ClassCounts) -> None:
    """A data set checks its own list; indices and folds are taken of it afterwards."""
    empty = torch.nonzero(counts.drawn == 0).flatten().tolist()
    if empty:
        classes = runner.train_dataloader.dataset.metainfo["classes"]
        raise ValueError(
            f"the training set has no image of {len(empty)} classes of {len(classes)}: "
            f"{named([f'{c} ({classes[c]})' for c in empty])}; a prior drives their logits out of "
            "reach: leave the classes out, or set prior=False in the head"
        )


def _require_last_batch(runner: Runner) -> None:
    loader = runner.train_dataloader
    endless = isinstance(loader.sampler, InfiniteSampler)
    if endless or loader.drop_last or loader.batch_size is None:
        return
    if len(loader.sampler) % loader.batch_size == 1 or loader.batch_size == 1:
        raise ValueError(
            f"the last batch of {len(loader.sampler)} images in batches of {loader.batch_size} is "
            "one image, of which the projector's BatchNorm has no statistics: set "
            "train_dataloader.drop_last=True, or another batch_size"
        )


def _has_norm(projector: nn.Module) -> bool:
    # SyncBatchNorm has the images of all processes.
    return any(isinstance(module, nn.BatchNorm1d) for module in projector.modules())
