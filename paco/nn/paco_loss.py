"""The PaCo loss with its hyper-parameters."""

import torch
from torch import Tensor, nn

from .. import ops
from ..distributed.loss import paco_loss


class PaCoLoss(nn.Module):
    """:func:`paco.paco_loss` with its hyper-parameters, which are documented there.

    A hyper-parameter outside its range is a ValueError at once.

    Example::

        loss = PaCoLoss(alpha=0.05, temperature=0.2)
        loss(features, labels, centers(pooled), queue.features, queue.labels,
             num_valid=queue.num_valid, num_anchors=batch)
    """

    base_temperature: float | None

    def __init__(
        self,
        alpha: float,
        temperature: float,
        beta: float = 1.0,
        gamma: float = 1.0,
        base_temperature: float | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        # float() because TorchScript tells alpha=1 from alpha=1.0.
        self.alpha = float(alpha)
        self.temperature = float(temperature)
        self.beta = float(beta)
        self.gamma = float(gamma)
        self.base_temperature = None if base_temperature is None else float(base_temperature)
        self.label_smoothing = float(label_smoothing)
        # The operator checks them, on a problem of the meta device, where nothing is computed.
        labels = torch.empty(1, dtype=torch.int64, device="meta")
        self(torch.empty(1, 1, device="meta"), labels, torch.empty(1, 2, device="meta"))

    def forward(
        self,
        features: Tensor,
        labels: Tensor,
        center_logits: Tensor | None = None,
        queue: Tensor | None = None,
        queue_labels: Tensor | None = None,
        num_valid: Tensor | None = None,
        anchor_weight: Tensor | None = None,
        num_anchors: int | None = None,
        soft_targets: Tensor | None = None,
        detach_keys: bool = False,
    ) -> Tensor:
        """The scalar loss; see :func:`paco.paco_loss`."""
        return ops.paco_loss(
            features,
            labels,
            center_logits,
            queue,
            queue_labels,
            num_valid,
            anchor_weight,
            num_anchors,
            self.beta,
            self.gamma,
            self.base_temperature,
            self.label_smoothing,
            soft_targets,
            detach_keys,
            alpha=self.alpha,
            temperature=self.temperature,
        )

    def across_processes(
        self,
        features: Tensor,
        labels: Tensor,
        center_logits: Tensor | None = None,
        queue: Tensor | None = None,
        queue_labels: Tensor | None = None,
        num_valid: Tensor | None = None,
        anchor_weight: Tensor | None = None,
        num_anchors: int | None = None,
        soft_targets: Tensor | None = None,
        detach_keys: bool = False,
        num_classes: int | None = None,
        anchors_per_process: list[int] | None = None,
    ) -> Tensor:
        """The same over the rows of all processes; see :func:`paco.distributed.paco_loss`."""
        return paco_loss(
            features,
            labels,
            center_logits,
            queue,
            queue_labels,
            num_valid,
            anchor_weight,
            num_anchors,
            self.beta,
            self.gamma,
            self.base_temperature,
            self.label_smoothing,
            soft_targets,
            detach_keys,
            num_classes,
            anchors_per_process=anchors_per_process,
            alpha=self.alpha,
            temperature=self.temperature,
        )

    def extra_repr(self) -> str:
        return (
            f"alpha={self.alpha}, temperature={self.temperature}, beta={self.beta}, "
            f"gamma={self.gamma}, base_temperature={self.base_temperature}, "
            f"label_smoothing={self.label_smoothing}"
        )
