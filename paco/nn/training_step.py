"""One step: normalise, concatenate, loss, enqueue."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..distributed.collectives import members_of
from ..distributed.rows import gather_rows
from .class_centers import ClassCenters
from .feature_queue import FeatureQueue


class StepResult(NamedTuple):
    """The result of :meth:`TrainingStep.detailed`, for trainers that log more than the loss."""

    loss: Tensor
    """The scalar loss."""
    features: Tensor
    """[(1 + V) B, D], the unit rows of queries and keys."""
    center_logits: Tensor
    """[A, C], the anchors' training logits; those of a
    :class:`paco.distributed.ShardedClassCenters` are of all processes' anchors and of its own
    classes."""


class TrainingStep(nn.Module):
    """Loss, queue and centers of one step, for a trainer that brings the encoders.

    Args:
        loss: :class:`PaCoLoss`, or a module that is called like it.
        queue: the queue of keys.
        centers: the class centers; their parameters are to be trained along.
        detach_centers: keep the centers' gradient from the pooled features, so that the encoder
            learns from the pairs alone, as in SupCon.
        contrast: where several processes train, "local" contrasts the anchors of each with its own
            rows and the queue; "global" with the rows of all, as one process would the joined
            batch (:func:`paco.distributed.paco_loss`), and takes a loss that has
            ``across_processes``, as a :class:`PaCoLoss` has. Queue and centers may then be shared
            out: :class:`paco.distributed.ShardedFeatureQueue`,
            :class:`paco.distributed.ShardedClassCenters`. A scripted step knows one process.

    Raises:
        ValueError: for another contrast, and for a loss, a queue or centers that do not go with it.

    Example::

        step = TrainingStep(PaCoLoss(0.05, 0.2), FeatureQueue(8192, 128), ClassCenters(512, 1000))
        loss = step(projector(pooled), key_encoder(key_view), pooled, labels)
    """

    def __init__(
        self,
        loss: nn.Module,
        queue: FeatureQueue,
        centers: ClassCenters,
        detach_centers: bool = False,
        contrast: str = "local",
    ) -> None:
        super().__init__()
        # Asked by what they have, because paco.distributed is made of this package's modules.
        shared_queue = hasattr(queue, "whole_state")
        shared_centers = hasattr(centers, "whole_state")
        if contrast not in ("local", "global"):
            raise ValueError(
                f"TrainingStep: contrast must be 'local' or 'global', got {contrast!r}"
            )
        if contrast == "local" and (shared_queue or shared_centers):
            raise ValueError(
                "TrainingStep: a queue or centers that are shared out need contrast='global'"
            )
        if contrast == "global" and not hasattr(loss, "across_processes"):
            raise ValueError(
                "TrainingStep: contrast='global' needs a loss with across_processes, such as a "
                f"PaCoLoss, got a {type(loss).__name__}"
            )
        self.contrast = contrast
        self.shared_queue = shared_queue
        self.shared_centers = shared_centers
        self.loss = loss
        self.queue = queue
        self.centers = centers
        self.detach_centers = detach_centers

    def forward(
        self,
        queries: Tensor,
        keys: Tensor,
        pooled: Tensor,
        labels: Tensor,
        soft_targets: Tensor | None = None,
        images_per_process: list[int] | None = None,
    ) -> Tensor:
        """The loss of a batch; afterwards the keys are in the queue.

        The rows that have pooled features are the anchors, so ``pooled`` tells PaCo from GPaCo.
        Rows are normalised in the queue's dtype, also under autocast. Where several processes
        train, each enqueues the keys of all, or into a share of the queue its own; a scripted step
        knows one.

        Args:
            queries: [B, D], projections of the first views, of any length.
            keys: [V·B, D], those of the V >= 1 other views, view by view: in PaCo the key
                encoder's, to which no gradient flows; in GPaCo the one encoder's.
            pooled: pooled features: PaCo [B, F], of the queries; GPaCo [(1 + V) B, F], of the
                queries and then of the keys.
            labels: int64 [B].
            soft_targets: a target over the classes for each row of ``pooled``, see
                :func:`paco.paco_loss`.
            images_per_process: B of every process, B > 0 on its own. Where there are several, eager
                code asks the others; compiled code has to be given it.

        Returns:
            A scalar.

        Raises:
            ValueError: for keys or pooled features of another number of rows, and for another B
                than ``images_per_process`` says.
        """
        return self.detailed(queries, keys, pooled, labels, soft_targets, images_per_process).loss

    @torch.jit.export
    def detailed(
        self,
        queries: Tensor,
        keys: Tensor,
        pooled: Tensor,
        labels: Tensor,
        soft_targets: Tensor | None = None,
        images_per_process: list[int] | None = None,
    ) -> StepResult:
        """Does what :meth:`forward` does, and gives the features and logits of the loss as well."""
        batch = queries.size(0)
        if keys.size(0) < batch or keys.size(0) % max(batch, 1) != 0:
            raise ValueError(
                f"TrainingStep: keys must have {batch} rows for each view, got {keys.size(0)}"
            )
        num_rows = batch + keys.size(0)
        if pooled.size(0) != batch and pooled.size(0) != num_rows:
            raise ValueError(
                f"TrainingStep: pooled must have {batch} rows (PaCo) or {num_rows} (GPaCo), got "
                f"{pooled.size(0)}"
            )
        # Autocast on a CPU would normalise in bfloat16, and leave lengths off by up to .4 %.
        queries = F.normalize(queries.to(self.queue.features.dtype), dim=1)
        keys = F.normalize(keys.to(self.queue.features.dtype), dim=1)
        if pooled.size(0) == batch:
            keys = keys.detach()
        features = torch.cat([queries, keys])
        of_centers = pooled.detach() if self.detach_centers else pooled
        key_labels = labels.repeat(keys.size(0) // max(batch, 1))
        row_labels = torch.cat([labels, key_labels])
        if torch.jit.is_scripting():
            center_logits = self.centers(of_centers)
            loss = self._own_loss(features, row_labels, center_logits, soft_targets)
        else:
            _check_images(batch, images_per_process)
            if self.contrast == "global":
                anchors_per_process = _times(images_per_process, pooled.size(0), batch)
                center_logits, loss = self._global_loss(
                    features, row_labels, of_centers, soft_targets, anchors_per_process
                )
            else:
                center_logits = self.centers(of_centers)
                loss = self._own_loss(features, row_labels, center_logits, soft_targets)
            if not self.shared_queue:
                keys_per_process = _times(images_per_process, keys.size(0), batch)
                keys, key_labels = gather_rows(keys, key_labels, sizes=keys_per_process)
        self.queue.enqueue(keys, key_labels)
        return StepResult(loss, features, center_logits)

    def _own_loss(
        self,
        features: Tensor,
        labels: Tensor,
        center_logits: Tensor,
        soft_targets: Tensor | None,
    ) -> Tensor:
        return self.loss(
            features,
            labels,
            center_logits,
            self.queue.features,
            self.queue.labels,
            num_valid=self.queue.num_valid,
            soft_targets=soft_targets,
            detach_keys=True,
        )

    @torch.jit.unused
    def _global_loss(
        self,
        features: Tensor,
        labels: Tensor,
        pooled: Tensor,
        soft_targets: Tensor | None,
        anchors_per_process: list[int] | None,
    ) -> tuple[Tensor, Tensor]:
        """Center logits and loss."""
        if self.shared_centers:
            center_logits = self.centers(pooled, anchors_per_process)
        else:
            center_logits = self.centers(pooled)
        queue, queue_labels = self.queue.features, self.queue.labels
        num_valid = self.queue.num_valid
        if not self.shared_queue:  # every process has the whole queue: each takes a part of it
            first, size = members_of(None).share(queue.size(0))
            queue, queue_labels = queue[first : first + size], queue_labels[first : first + size]
            num_valid = (num_valid - first).clamp(0, size)
        of_all: Callable[..., Tensor] = self.loss.across_processes  # type: ignore[assignment]
        loss = of_all(
            features,
            labels,
            center_logits,
            queue,
            queue_labels,
            num_valid,
            None,
            pooled.size(0),
            soft_targets,
            detach_keys=True,
            num_classes=self.centers.num_classes if self.shared_centers else None,
            anchors_per_process=anchors_per_process,
        )
        return center_logits, loss

    @torch.jit.export
    def predict(self, pooled: Tensor, target_prior: Tensor | None = None) -> Tensor:
        """Inference logits [B, C] of pooled features [B, F]; see :meth:`ClassCenters.predict`."""
        return self.centers.predict(pooled, target_prior)


def _check_images(batch: int, images_per_process: list[int] | None) -> None:
    if images_per_process is None:
        return
    members = members_of(None)
    if len(images_per_process) != members.size:
        raise ValueError(
            f"TrainingStep: images_per_process must have {members.size} entries, one for each "
            f"process, got {len(images_per_process)}"
        )
    if batch == 0 or images_per_process[members.rank] != batch:
        raise ValueError(
            f"TrainingStep: images_per_process must be {batch} on process {members.rank}, and not "
            f"0, got {images_per_process[members.rank]}"
        )


def _times(images_per_process: list[int] | None, rows: int, batch: int) -> list[int] | None:
    """Rows of every process, where ``rows`` come of its own ``batch`` images."""
    if images_per_process is None:
        return None
    return [images * (rows // batch) for images in images_per_process]
