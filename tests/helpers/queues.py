"""The tensors of a queue, as queue_enqueue_ takes them."""

from collections.abc import Iterable

import torch
from torch import Tensor


def empty_queue(
    size: int,
    dim: int,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        torch.zeros(size, dim, dtype=dtype, device=device),
        torch.full((size,), -1, device=device),
        torch.zeros(2, dtype=torch.int64, device=device),
    )


def clone(tensors: Iterable[Tensor]) -> tuple[Tensor, ...]:
    return tuple(tensor.clone() for tensor in tensors)


def assert_equal(actual: Iterable[Tensor], expected: Iterable[Tensor]) -> None:
    for x, y in zip(actual, expected, strict=True):
        assert torch.equal(x.cpu(), y.cpu())
