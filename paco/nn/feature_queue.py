"""The queue of keys."""

import torch
from torch import Tensor, nn

from .. import ops


class FeatureQueue(nn.Module):
    """Ring buffer of the last ``size`` keys and their labels (MoCo, CVPR 2020).

    It starts empty, and rows that were never written do not enter the loss. Averages of models
    (EMA) must leave its buffers out, because a mean of rows has no label.

    Args:
        size: K, at least 1.
        dim: D, the length of a key.
        dtype: of the keys; torch's default dtype if None.
        num_classes: C, for keys that have any number of classes; each has one class if None.

    Attributes:
        features: buffer [K, D].
        labels: buffer int64 [K], -1 for a row that was never written; with ``num_classes`` bool
            [K, C], which classes each row has.
        state: buffer int64 [2], the row to write next and the number of valid rows.
    """

    features: Tensor
    labels: Tensor
    state: Tensor

    def __init__(
        self,
        size: int,
        dim: int,
        dtype: torch.dtype | None = None,
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"FeatureQueue: size must be at least 1, got {size}")
        if dim < 1:
            raise ValueError(f"FeatureQueue: dim must be at least 1, got {dim}")
        if num_classes is not None and num_classes < 1:
            raise ValueError(f"FeatureQueue: num_classes must be at least 1, got {num_classes}")
        self.register_buffer("features", torch.empty(size, dim, dtype=dtype))
        if num_classes is None:
            labels = torch.empty(size, dtype=torch.int64)
        else:
            labels = torch.empty(size, num_classes, dtype=torch.bool)
        self.register_buffer("labels", labels)
        self.register_buffer("state", torch.empty(2, dtype=torch.int64))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Empties the queue; after ``to_empty`` its memory holds anything."""
        self.features.zero_()
        if self.labels.dtype == torch.bool:
            self.labels.zero_()
        else:
            self.labels.fill_(-1)
        self.state.zero_()

    @property
    def num_valid(self) -> Tensor:
        """The number of valid rows, a 0-dim int64 tensor on the queue's device."""
        return self.state[1]

    @torch.jit.export
    def enqueue(self, keys: Tensor, labels: Tensor) -> None:
        """Writes keys [B, D] and labels [B] over the oldest rows; see :func:`paco.queue_enqueue_`.

        With ``num_classes`` labels are bool [B, C].

        In distributed training pass the gathered keys and labels of all ranks, in rank order, so
        that every rank holds the same queue.
        """
        ops.queue_enqueue_(self.features, self.labels, self.state, keys, labels)

    def forward(self, keys: Tensor, labels: Tensor) -> None:
        """:meth:`enqueue`, under the name that a scripted queue is called by."""
        self.enqueue(keys, labels)

    def extra_repr(self) -> str:
        shape = f"size={self.features.size(0)}, dim={self.features.size(1)}"
        return shape if self.labels.dim() == 1 else f"{shape}, num_classes={self.labels.size(1)}"
