"""Rows of a batch that is spread over several processes, as many on each as it happens to have.

They travel over the default process group. Without one there is one process. How many rows each
rank has travels between the hosts, over a gloo group, so that no one waits for a device.
"""

from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from .collectives import all_gather, exchange_on_hosts, members_of


def gather_rows(*tensors: Tensor, sizes: Sequence[int] | None = None) -> tuple[Tensor, ...]:
    """The rows of all ranks in rank order, without a gradient; on one process, the tensors.

    Args:
        *tensors: each [B, ...]. B is this rank's own; the other dimensions are those of all ranks.
        sizes: B of every rank, which compiled code has to be given.
    """
    if _world_size() == 1:
        return tensors
    if sizes is None:
        sizes = batch_sizes(tensors[0])
    return tuple(_gather(tensor.detach(), sizes) for tensor in tensors)


def apply_shuffled(function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """``function(rows)``, each row computed on a random rank, without a gradient.

    Shuffled BatchNorm (`MoCo <https://arxiv.org/abs/1911.05722>`_, sec. 3.3): a key's statistics
    are not those of the batch that its query came from. Every rank computes as many rows as it
    has. On one process this is ``function(rows)``.

    Args:
        function: from any number of rows to as many.
        rows: [B, ...], this rank's.

    Returns:
        The function's value for each of ``rows``, in their order.
    """
    if _world_size() == 1:
        return function(rows)
    sizes = batch_sizes(rows)
    order = torch.randperm(sum(sizes), device=rows.device)
    dist.broadcast(order, src=0)
    rank = dist.get_rank()
    values = function(_gather(rows, sizes)[order.split(sizes)[rank]])
    back = order.argsort().split(sizes)[rank]
    return _gather(values, sizes)[back]


def broadcast_rows(rows: Tensor) -> Tensor:
    """The rows of rank 0, on every rank, without a gradient; on one process, the rows.

    Args:
        rows: [B, ...], of one shape on all ranks.
    """
    if _world_size() > 1:
        rows = rows.detach().clone(memory_format=torch.contiguous_format)
        dist.broadcast(rows, src=0)
    return rows


def _world_size() -> int:
    return members_of(None).size


def batch_sizes(rows: Tensor) -> list[int]:
    """How many rows each rank has, from host to host."""
    if _world_size() == 1:
        return [len(rows)]
    return exchange_on_hosts(torch.tensor(len(rows)), None).tolist()


def _gather(rows: Tensor, sizes: Sequence[int]) -> Tensor:
    return all_gather(rows.detach(), sizes, members_of(None))
