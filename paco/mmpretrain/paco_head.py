"""The head of PaCo and GPaCo: class centers, projector, queue and loss."""

import logging

import torch
from mmengine.logging import print_log
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.nn import functional as F

from paco.nn import FeatureQueue, PaCoLoss

from .class_centers_head import ClassCentersHead
from .distributed import gather_rows

__all__ = ["PaCoHead"]

MODELS.register_module(module=PaCoLoss)


@MODELS.register_module()
class PaCoHead(ClassCentersHead):
    """Parametric contrastive learning on pooled features.

    `PaCo <https://arxiv.org/abs/2107.12028>`_ gives it keys from a momentum encoder;
    `GPaCo <https://arxiv.org/abs/2209.12400>`_ gives it both views of one encoder. In either case
    the queue holds the key views of past steps. At inference only the class centers are used.

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
        **kwargs: Of :class:`ClassCentersHead`.
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
        **kwargs,
    ) -> None:
        super().__init__(num_classes, in_channels, loss=loss, **kwargs)
        self.detach_centers = detach_centers
        self.projector = MODELS.build(
            dict(in_channels=in_channels, out_channels=feat_channels, **projector)
        )
        self.queue = FeatureQueue(queue_size, feat_channels)
        self._register_load_state_dict_pre_hook(self._leave_a_queue_that_does_not_fit)

    def loss(
        self, feats: tuple[Tensor], data_samples: list[DataSample], keys: Tensor | None = None
    ) -> dict:
        """The loss of one step, after which the step's keys enter the queue.

        Args:
            feats: Features of the anchors: of the B anchor views if ``keys`` is given, else of
                the B anchor views and then of the B key views.
            data_samples: The B images' labels.
            keys: Unit rows from the momentum encoder, [B, D], without a gradient.

        Returns:
            ``loss`` and, for the log, the anchors' training accuracy in percent, the mean cosine
            of an image's two views, and the number of keys that the loss saw in the queue.
        """
        x = self.pre_logits(feats)
        anchors = F.normalize(self.projector(x), dim=1)
        features = anchors if keys is None else torch.cat([anchors, keys])
        anchor_view, key_view = features.chunk(2)

        labels = torch.cat([sample.gt_label for sample in data_samples])
        both_labels = labels.repeat(2)
        logits = self.training_logits(x.detach() if self.detach_centers else x)
        losses = dict(
            loss=self.loss_module(
                features,
                both_labels,
                logits,
                self.queue.features,
                self.queue.labels,
                num_anchors=anchors.size(0),
                queue_size=self.queue.num_valid,
            )
        )
        with torch.no_grad():
            correct = logits.argmax(dim=1) == both_labels[: anchors.size(0)]
            losses["accuracy_top-1"] = 100 * correct.float().mean()
            losses["view_similarity"] = (anchor_view * key_view).sum(dim=1).mean()
            losses["queue_size"] = self.queue.num_valid.float()
            # Every rank enqueues the keys of all ranks, so that the queues stay identical.
            self.queue.enqueue(*gather_rows(key_view, labels))
        return losses

    # The toolbox loads every tensor whose shape fits, such as labels without their classes, or the
    # number of valid rows without the rows.
    def _leave_a_queue_that_does_not_fit(self, state_dict: dict, prefix: str, *_) -> None:
        own = {"centers.weight": self.centers.weight, "queue.features": self.queue.features}
        saved = {name: state_dict[prefix + name] for name in own if prefix + name in state_dict}
        if all(name in saved and saved[name].shape == own[name].shape for name in own):
            return
        queue = [name for name in state_dict if name.startswith(prefix + "queue.")]
        for name in queue:
            del state_dict[name]
        if queue:
            shapes = [{n: list(x.shape) for n, x in tensors.items()} for tensors in (saved, own)]
            print_log(
                "The queue starts empty, because the checkpoint's does not fit: the checkpoint has "
                f"{shapes[0]}, this head {shapes[1]}",
                logger="current",
                level=logging.WARNING,
            )
