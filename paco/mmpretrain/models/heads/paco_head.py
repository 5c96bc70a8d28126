"""The head of PaCo and GPaCo: class centers, projector, queue and loss."""

import inspect
import logging

import torch
from mmengine.logging import print_log
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

from paco.distributed import ShardedClassCenters, ShardedFeatureQueue
from paco.nn import ClassCenters, FeatureQueue, PaCoLoss, TrainingStep

from .class_centers_head import labels_of, soft_targets_of
from .contrast_head import ContrastHead, EncodedViews

__all__ = ["PaCoHead"]

MODELS.register_module(module=PaCoLoss)


@MODELS.register_module()
class PaCoHead(ContrastHead):
    """Parametric contrastive learning on pooled features.

    `PaCo <https://arxiv.org/abs/2107.12028>`_ gives it keys from a momentum encoder, and the first
    views are the anchors; `GPaCo <https://arxiv.org/abs/2209.12400>`_ gives it all views of one
    encoder, and all are anchors. In either case the queue holds all but the first view of the
    images of past steps. An anchor's center logits are those of its own view or, where there is a
    classification view, of that, whose images may be mixed (Mixup, CutMix): the target of the
    centers is mixed then, and the pairs keep the label of the first. At inference only the class
    centers are used.

    A checkpoint's queue is loaded where the shapes of centers and queue are this head's. Otherwise
    its labels are those of other classes, or its keys of another width, and this queue stays empty.

    Args:
        num_classes (int): C, the number of classes.
        in_channels (int): Width of the pooled features.
        feat_channels (int): Width of a contrastive feature, D.
        queue_size (int): Keys in the queue, K.
        projector (dict): The module from ``in_channels`` to ``feat_channels``, which it is given
            as ``in_channels`` and ``out_channels``.
        loss (dict): ``dict(type='PaCoLoss', alpha=..., temperature=...)``.
        detach_centers (bool): Keep the centers' gradient from the encoder, which then learns from
            the pairs alone: with a :class:`MultiTaskLoss` this is SupCon, and the centers are a
            linear classifier of its features that trains along. Defaults to False.
        contrast (str): Where several processes train, 'local' contrasts the images of each with
            one another and with the queue; 'global' those of all, as one process would
            (:func:`paco.distributed.paco_loss`). Defaults to 'local'.
        shard_queue (bool): With 'global', each process holds K / W keys, its own, of the queue.
            Defaults to False.
        shard_centers (bool): With 'global', each process holds C / W class centers. Defaults to
            False.
        **kwargs: Passed to :class:`ClassCentersHead`.

    Attributes:
        step (paco.nn.TrainingStep): Loss, queue and centers.

    Raises:
        TypeError: For a loss that is not called as they are.
        ValueError: For shares without 'global'.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        feat_channels: int,
        queue_size: int,
        projector: dict,
        loss: dict,
        detach_centers: bool = False,
        contrast: str = "local",
        shard_queue: bool = False,
        shard_centers: bool = False,
        **kwargs,
    ) -> None:
        self._shard_centers = shard_centers
        self.queue_size = queue_size
        super().__init__(num_classes, in_channels, feat_channels, projector, loss=loss, **kwargs)
        if "num_anchors" not in inspect.signature(self.loss_module.forward).parameters:
            raise TypeError(
                "PaCoHead: loss must be a PaCoLoss or a MultiTaskLoss, got a "
                f"{type(self.loss_module).__name__}; the old config's goes with _delete_=True in "
                "the head"
            )
        # From here on the centers are a part of the step.
        queue_type = ShardedFeatureQueue if shard_queue else FeatureQueue
        self.step = TrainingStep(
            self.loss_module,
            queue_type(queue_size, feat_channels),
            self._modules.pop("centers"),
            detach_centers,
            contrast,
        )
        self.register_load_state_dict_pre_hook(_leave_a_queue_that_does_not_fit)

    def _new_centers(self, *args, **kwargs) -> ClassCenters:
        return (ShardedClassCenters if self._shard_centers else ClassCenters)(*args, **kwargs)

    @property
    def centers(self) -> ClassCenters:
        """The class centers."""
        return self.step.centers

    @property
    def queue(self) -> FeatureQueue:
        """The keys of past steps."""
        return self.step.queue

    def loss(self, views: EncodedViews, data_samples: list[DataSample] | Tensor) -> dict:
        """The loss of one step, after which the step's keys enter the queue.

        Args:
            views: The encoded views of B images, two or more of each.
            data_samples: The images' samples, or their labels [B].

        Returns:
            ``loss`` and, for the log, the anchors' training accuracy in percent, the mean cosine
            of an image's first view and its others, and the number of keys that the loss saw in
            the queue, or in this process's share. Without the accuracy where the centers are shared
            out: no process has all logits of an image.
        """
        self.require_class_counts()
        labels = labels_of(data_samples)
        pooled, soft_targets = views.pooled, None
        if views.classification is not None:
            pooled = views.classification.expand_as(pooled)
            soft_targets = soft_targets_of(data_samples)
        if soft_targets is not None:
            soft_targets = soft_targets.repeat(len(pooled), 1)
        keys = views.projections[1:] if views.keys is None else views.keys
        num_valid = self.queue.num_valid.float()
        result = self.step.detailed(
            views.projections[0], keys.flatten(0, 1), pooled.flatten(0, 1), labels, soft_targets
        )
        with torch.no_grad():
            first, others = result.features[: len(labels)], result.features[len(labels) :]
            accuracy = {}
            if self.centers.weight.size(0) == self.centers.num_classes:
                correct = result.center_logits.argmax(dim=1) == labels.repeat(len(pooled))
                accuracy["accuracy_top-1"] = 100 * correct.float().mean()
            return {
                "loss": result.loss,
                **accuracy,
                "view_similarity": (first * others.view_as(keys)).sum(dim=2).mean(),
                "num_valid": num_valid,
            }


# The toolbox loads every tensor whose shape fits, such as labels without their classes, or the
# number of valid rows without the rows.
def _leave_a_queue_that_does_not_fit(
    head: PaCoHead, state_dict: dict, prefix: str, *_: object
) -> None:
    # Of a share its whole: that is what checkpoints hold.
    own = {
        "centers.weight": [head.centers.num_classes, *head.centers.weight.shape[1:]],
        "queue.features": [head.queue_size, *head.queue.features.shape[1:]],
    }
    prefix += "step."
    saved = {
        name: list(state_dict[prefix + name].shape) for name in own if prefix + name in state_dict
    }
    if saved == own:
        return
    queue = [name for name in state_dict if name.startswith(prefix + "queue.")]
    for name in queue:
        del state_dict[name]
    if queue:
        print_log(
            "The queue starts empty, because the checkpoint's does not fit: the checkpoint has "
            f"{saved}, this head {own}",
            logger="current",
            level=logging.WARNING,
        )
