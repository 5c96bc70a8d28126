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

    Attributes:
        features: buffer [K, D].
        labels: buffer int64 [K], -1 for a row that was never written.
        state: buffer int64 [2], the row to write next and the number of valid rows.
    """

    features: Tensor
    labels: Tensor
    state: Tensor

    def __init__(self, size: int, dim: int, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"FeatureQueue: size must be at least 1, got {size}")
        if dim < 1:
            raise ValueError(f"FeatureQueue: dim must be at least 1, got {dim}")
        self.register_buffer("features", torch.empty(size, dim, dtype=dtype))
        self.register_buffer("labels", torch.empty(size, dtype=torch.int64))
        self.register_buffer("state", torch.empty(2, dtype=torch.int64))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Empties the queue; after ``to_empty`` its memory holds anything."""
        self.features.zero_()
        self.labels.fill_(-1)
        self.state.zero_()

    @property
    def num_valid(self) -> Tensor:
        """The number of valid rows, a 0-dim int64 tensor on the queue's device."""
        return self.state[1]

    @torch.jit.export
    def enqueue(self, keys: Tensor, labels: Tensor) -> None:
        """Writes keys [B, D] and labels [B] over the oldest rows. See `paco.queue_enqueue_`.

        In distributed training pass the gathered keys and labels of all ranks, in rank order, so
        that every rank holds the same queue.
        """
        ops.queue_enqueue_(self.features, self.labels, self.state, keys, labels)

    def forward(self, keys: Tensor, labels: Tensor) -> None:
        """:meth:`enqueue`, under the name that a scripted queue is called by."""
        self.enqueue(keys, labels)

    def extra_repr(self) -> str:
        return f"size={self.features.size(0)}, dim={self.features.size(1)}"
