"""The loss of balanced contrastive learning with its temperature."""

import torch
from torch import Tensor, nn

from .. import ops
from ..distributed.bcl_loss import bcl_loss


class BCLLoss(nn.Module):
    """:func:`paco.bcl_loss` with its temperature, which are documented there.

    A temperature outside its range is a ValueError at once.

    Example::

        loss = BCLLoss(temperature=0.1)
        loss(F.normalize(projections, dim=1), labels, F.normalize(mlp(classifier.weight), dim=1))
    """

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = float(temperature)
        # The operator checks it, on a problem of the meta device, where nothing is computed.
        row = torch.empty(1, 1, device="meta")
        self(row, torch.empty(1, dtype=torch.int64, device="meta"), row)

    def forward(
        self,
        features: Tensor,
        labels: Tensor,
        prototypes: Tensor,
        queue: Tensor | None = None,
        queue_labels: Tensor | None = None,
        num_valid: Tensor | None = None,
    ) -> Tensor:
        """The scalar loss; see :func:`paco.bcl_loss`."""
        return ops.bcl_loss(
            features,
            labels,
            prototypes,
            queue,
            queue_labels,
            num_valid,
            temperature=self.temperature,
        )

    def across_processes(
        self,
        features: Tensor,
        labels: Tensor,
        prototypes: Tensor,
        queue: Tensor | None = None,
        queue_labels: Tensor | None = None,
        num_valid: Tensor | None = None,
        rows_per_process: list[int] | None = None,
    ) -> Tensor:
        """The same over the rows of all processes; see :func:`paco.distributed.bcl_loss`."""
        return bcl_loss(
            features,
            labels,
            prototypes,
            queue,
            queue_labels,
            num_valid,
            rows_per_process=rows_per_process,
            temperature=self.temperature,
        )

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}"
