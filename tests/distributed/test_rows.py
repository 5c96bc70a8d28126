import copy
from unittest import mock

import torch
import torch.distributed as dist
from helpers.modules import new_step, step_batch
from torch import nn
from torch.nn import functional as F

from paco.distributed import apply_shuffled, gather_rows


def exchange(rank: int, parts: list[torch.Tensor]) -> dict:
    rows = parts[rank]
    seen = []

    def double(rows: torch.Tensor) -> torch.Tensor:
        seen.append(rows)
        return 2 * rows.flatten(1)

    values = apply_shuffled(double, rows)
    gathered, labels = gather_rows(rows.clone().requires_grad_(), torch.arange(len(rows)) + rank)
    assert not gathered.requires_grad
    # Statistics of a batch that no rank has alone.
    norm = nn.BatchNorm1d(3)
    normed = apply_shuffled(norm, rows.flatten(1)[:, :3])
    return dict(
        seen=torch.cat(seen), values=values, gathered=gathered, labels=labels, normed=normed
    )


def test_rows_are_gathered_and_shuffled_whatever_their_number(rng, on_two_processes):
    sizes = [rng.randint(20, 29), rng.randint(8, 19)]
    parts = [torch.randn(n, 2, 5) for n in sizes]
    everything = torch.cat(parts)
    results = on_two_processes(exchange, parts)
    for rank, (result, part) in enumerate(zip(results, parts, strict=True)):
        assert torch.equal(result["gathered"], everything)
        assert result["labels"].tolist() == [i + r for r, n in enumerate(sizes) for i in range(n)]
        assert torch.equal(result["values"], 2 * part.flatten(1))
        assert result["seen"].shape == part.shape
        assert not torch.equal(result["seen"], part), rank
        own = part.flatten(1)[:, :3]
        assert not torch.allclose(result["normed"], F.batch_norm(own, None, None, training=True))
    seen = torch.cat([result["seen"] for result in results])
    assert sorted(seen.flatten(1).tolist()) == sorted(everything.flatten(1).tolist())


def sizes_beside_another_backend(rank: int, parts: list[torch.Tensor]) -> list[bool]:
    get_backend, all_gather = dist.get_backend, dist.all_gather
    groups = []

    def recorded(parts, tensor, group=None):
        groups.append(group)
        all_gather(parts, tensor, group)

    # A backend that takes no tensor on the CPU.
    with mock.patch.multiple(dist, get_backend=lambda _: "nccl", all_gather=recorded):
        for _ in range(2):
            gather_rows(parts[rank])
    sizes, sizes_again = groups  # rows travel by functional collectives
    return [get_backend(sizes) == "gloo", sizes is sizes_again]


def test_batch_sizes_do_not_travel_over_a_device(on_two_processes):
    parts = [torch.randn(3, 2), torch.randn(5, 2)]
    for result in on_two_processes(sizes_beside_another_backend, parts):
        assert result == [True, True]


def test_one_process_has_nothing_to_do():
    rows, labels = torch.randn(3, 2), torch.arange(3)
    assert gather_rows(rows, labels) == (rows, labels)
    assert apply_shuffled(lambda x: x, rows) is rows


def steps(rank: int, step: nn.Module, batches: list, split: list[int]) -> dict:
    step = copy.deepcopy(step)
    for batch in batches:
        step(*(rows.split(split)[rank] for rows in batch))
    return dict(step.queue.state_dict())


def test_a_step_enqueues_the_keys_of_all_ranks(rng, on_two_processes):
    step, batches = new_step(), [step_batch(9) for _ in range(3)]
    first = rng.randint(1, 8)
    results = on_two_processes(steps, step, batches, [first, 9 - first])
    for _, keys, _, labels in batches:
        step.queue.enqueue(F.normalize(keys, dim=1), labels)
    for state in results:
        for name, value in step.queue.state_dict().items():
            torch.testing.assert_close(state[name], value)
