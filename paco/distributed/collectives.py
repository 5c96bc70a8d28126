"""Functional collectives on rows, as many on each process as it happens to have.

torch.compile follows them; in eager mode, one that fails says so in a sentence.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

_host_groups: WeakKeyDictionary = WeakKeyDictionary()  # of each group, its gloo twin


class Members(NamedTuple):
    """The processes of a group, as a collective wants to know them."""

    name: str
    rank: int
    size: int

    def share(self, total: int) -> tuple[int, int]:
        """The first of ``total`` things that are this process's, and how many are."""
        widths = self.widths(total)
        return sum(widths[: self.rank]), widths[self.rank]

    def widths(self, total: int) -> list[int]:
        """How many of ``total`` things each process has: about as many as any other."""
        size, more = divmod(total, self.size)
        return [size + 1 if rank < more else size for rank in range(self.size)]


def members_of(group: dist.ProcessGroup | None) -> Members:
    """The processes of a group, None for the default one; this process alone without any."""
    if not (dist.is_available() and dist.is_initialized()):
        return Members("", 0, 1)
    if group is None:
        group = dist.distributed_c10d._get_default_group()
    return Members(group.group_name, dist.get_rank(group), dist.get_world_size(group))


def host_group(group: dist.ProcessGroup | None = None) -> dist.ProcessGroup | None:
    """A group of the same processes for tensors on the CPU: itself where it takes them."""
    if dist.get_backend(group) == "gloo":
        return group
    key = dist.group.WORLD if group is None else group
    if key not in _host_groups:
        if group is None:
            twin = dist.new_group(backend="gloo")
        else:
            ranks = dist.get_process_group_ranks(group)
            twin = dist.new_group(ranks, backend="gloo", use_local_synchronization=True)
        _host_groups[key] = twin
    return _host_groups[key]


def all_gather(rows: Tensor, sizes: Sequence[int], members: Members) -> Tensor:
    """The rows of all processes in their order; ``sizes`` says how many each has."""
    longest = max(sizes)
    missing = longest - rows.size(0)
    if missing > 0:
        # Padding counts from the last dimension backwards.
        rows = F.pad(rows, [0, 0] * (rows.dim() - 1) + [0, missing])
    with _in_a_sentence(members):
        gathered = torch.ops._c10d_functional.wait_tensor(
            torch.ops._c10d_functional.all_gather_into_tensor(
                rows.contiguous(), members.size, members.name
            )
        )
    if min(sizes) == longest:
        return gathered
    parts = gathered.split(longest)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


def reduce_scatter(rows: Tensor, sizes: Sequence[int], members: Members) -> Tensor:
    """This process's rows of the sum over all processes, each of which has all rows."""
    longest = max(sizes)
    if min(sizes) < longest:
        parts = rows.split(list(sizes))
        rows = torch.cat(
            [F.pad(x, [0, 0] * (x.dim() - 1) + [0, longest - x.size(0)]) for x in parts]
        )
    with _in_a_sentence(members):
        own = torch.ops._c10d_functional.wait_tensor(
            torch.ops._c10d_functional.reduce_scatter_tensor(
                rows.contiguous(), "sum", members.size, members.name
            )
        )
    return own[: sizes[members.rank]]


def all_to_all(
    rows: Tensor, received: Sequence[int], sent: Sequence[int], members: Members
) -> Tensor:
    """Sends ``sent[r]`` rows to process r, in order; returns the ``received[r]`` of each."""
    with _in_a_sentence(members):
        return torch.ops._c10d_functional.wait_tensor(
            torch.ops._c10d_functional.all_to_all_single(
                rows.contiguous(), list(received), list(sent), members.name
            )
        )


def all_reduce(tensor: Tensor, operation: str, members: Members) -> Tensor:
    """The sum ("sum") or the maximum ("max") over all processes."""
    with _in_a_sentence(members):
        return torch.ops._c10d_functional.wait_tensor(
            torch.ops._c10d_functional.all_reduce(tensor, operation, members.name)
        )


def exchange_on_hosts(values: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """``values`` of all processes, of one shape, [W, ...]; no one waits for a device."""
    members = members_of(group)
    parts = [torch.empty_like(values) for _ in range(members.size)]
    with _in_a_sentence(members):
        dist.all_gather(parts, values, host_group(group))
    return torch.stack(parts)


def _in_a_sentence(members: Members) -> contextlib.AbstractContextManager:
    return contextlib.nullcontext() if torch.compiler.is_compiling() else _explained(members)


@contextlib.contextmanager
def _explained(members: Members) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise RuntimeError(
            f"paco.distributed: process {members.rank} of {members.size} waits for another in "
            "vain: that has ended, or does something else, or has not answered within the "
            f"timeout of the process group ({error})"
        ) from error
