"""Rows of a batch that is spread over several processes, as many on each as it happens to have."""

from collections.abc import Callable

import torch
from mmengine.dist import all_gather, broadcast, get_rank, get_world_size
from torch import Tensor
from torch.nn import functional as F

__all__ = ["apply_shuffled", "gather_rows"]


def gather_rows(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The rows of all ranks in rank order, without a gradient; on one process, the tensors.

    Args:
        *tensors: Each [B, ...]. B is this rank's own; the other dimensions are those of all ranks.
    """
    if get_world_size() == 1:
        return tensors
    sizes = _batch_sizes(tensors[0])
    return tuple(_gather(tensor.detach(), sizes) for tensor in tensors)


def apply_shuffled(function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """``function(rows)``, each row computed on a random rank, without a gradient.

    Shuffled BatchNorm (`MoCo <https://arxiv.org/abs/1911.05722>`_, sec. 3.3): a key's statistics
    are not those of the batch that its query came from. Every rank computes as many rows as it
    has. On one process this is ``function(rows)``.

    Args:
        function: From any number of rows to as many.
        rows: [B, ...], this rank's.

    Returns:
        The function's value for each of ``rows``, in their order.
    """
    if get_world_size() == 1:
        return function(rows)
    sizes = _batch_sizes(rows)
    order = torch.randperm(sum(sizes), device=rows.device)
    broadcast(order, src=0)
    rank = get_rank()
    values = function(_gather(rows, sizes)[order.split(sizes)[rank]])
    back = order.argsort().split(sizes)[rank]
    return _gather(values, sizes)[back]


def _batch_sizes(rows: Tensor) -> list[int]:
    size = torch.tensor([len(rows)], device=rows.device)
    return torch.cat(all_gather(size)).tolist()


def _gather(rows: Tensor, sizes: list[int]) -> Tensor:
    # Collectives want one shape on all ranks. Padding counts from the last dimension backwards.
    missing = max(sizes) - len(rows)
    padded = F.pad(rows, [0, 0] * (rows.dim() - 1) + [0, missing])
    parts = all_gather(padded.contiguous())
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])
