"""queue_enqueue_ on a GPU, against one row after another on the CPU."""

import pytest
import torch
from torch import Tensor

import paco
from paco import reference

Queue = tuple[Tensor, Tensor, Tensor]


def empty_queue(size: int, dim: int, dtype: torch.dtype, device: torch.device) -> Queue:
    return (
        torch.zeros(size, dim, dtype=dtype, device=device),
        torch.full((size,), -1, device=device),
        torch.zeros(2, dtype=torch.int64, device=device),
    )


def assert_equal(actual: Queue, expected: Queue) -> None:
    for x, y in zip(actual, expected, strict=True):
        assert torch.equal(x.cpu(), y)


DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("queue_dtype", DTYPES, ids=str)
@pytest.mark.parametrize("key_dtype", DTYPES, ids=str)
def test_is_one_row_after_another(rng, device, queue_dtype, key_dtype):
    size, dim = rng.randint(1, 300), rng.randint(1, 70)
    fast = empty_queue(size, dim, queue_dtype, device)
    slow = empty_queue(size, dim, queue_dtype, torch.device("cpu"))
    for _ in range(12):
        batch = rng.choice([0, 1, rng.randint(1, size), size, rng.randint(size, 4 * size)])
        keys, labels = torch.randn(batch, dim).to(key_dtype), torch.randint(9, (batch,))
        paco.queue_enqueue_(*fast, keys.to(device), labels.to(device))
        reference.queue_enqueue_(*slow, keys.to(queue_dtype), labels)
        assert_equal(fast, slow)


def test_without_features_labels_are_written(device):
    queue = empty_queue(4, 0, torch.float32, device)
    paco.queue_enqueue_(*queue, torch.zeros(3, 0, device=device), torch.arange(3, device=device))
    assert queue[1].tolist() == [0, 1, 2, -1]
    assert queue[2].tolist() == [3, 3]


def test_many_blocks(rng, device):
    fast = empty_queue(10_000, 256, torch.float32, device)
    slow = empty_queue(10_000, 256, torch.float32, torch.device("cpu"))
    for _ in range(3):
        keys, labels = torch.randn(4096, 256), torch.randint(1000, (4096,))
        paco.queue_enqueue_(*fast, keys.to(device), labels.to(device))
        reference.queue_enqueue_(*slow, keys, labels)
    assert_equal(fast, slow)


def test_non_contiguous_tensors(device):
    slow = empty_queue(7, 3, torch.float32, torch.device("cpu"))
    fast = (
        torch.zeros(3, 14, device=device).T[::2],
        torch.full((14,), -1, device=device)[::2],
        torch.zeros(4, dtype=torch.int64, device=device)[::2],
    )
    for _ in range(3):
        keys, labels = torch.randn(3, 4).T, torch.randint(5, (8,))[::2]
        paco.queue_enqueue_(*fast, keys.to(device), labels.to(device))
        reference.queue_enqueue_(*slow, keys, labels)
    assert_equal(fast, slow)


def test_queues_on_two_streams_do_not_meet(device):
    queues = [empty_queue(5000, 128, torch.float32, device) for _ in range(2)]
    slow = [empty_queue(5000, 128, torch.float32, torch.device("cpu")) for _ in range(2)]
    streams = [torch.cuda.Stream() for _ in range(2)]
    batches = [
        [(torch.randn(3000, 128), torch.randint(9, (3000,))) for _ in range(4)] for _ in range(2)
    ]
    on_device = [[(k.to(device), y.to(device)) for k, y in batch] for batch in batches]
    torch.cuda.synchronize()
    for step in range(4):
        for i, stream in enumerate(streams):
            with torch.cuda.stream(stream):
                paco.queue_enqueue_(*queues[i], *on_device[i][step])
            reference.queue_enqueue_(*slow[i], *batches[i][step])
    torch.cuda.synchronize()
    for actual, expected in zip(queues, slow, strict=True):
        assert_equal(actual, expected)


def test_opcheck(device):
    queue = empty_queue(4, 2, torch.float32, device)
    keys, labels = torch.randn(3, 2, device=device), torch.tensor([0, 1, 2], device=device)
    torch.library.opcheck(torch.ops.paco.queue_enqueue_.default, (*queue, keys, labels))
