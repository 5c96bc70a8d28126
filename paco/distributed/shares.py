"""What has to be done with modules that are shared out: saving, clipping, DistributedDataParallel.

A module is shared out if it has ``whole_state``.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .collectives import all_reduce, exchange_on_hosts, host_group, members_of


def shared_out(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """The submodules that are shared out among several processes, with their names."""
    for name, part in module.named_modules():
        if hasattr(part, "whole_state") and members_of(part.group).size > 1:
            yield name, part


def full_state_dict(module: nn.Module) -> dict[str, Tensor] | None:
    """``module.state_dict()`` with all shares together, as one process would save it.

    Every process has to call it. Loading needs no other function: a share takes its own rows of
    what one process, or any number of processes, saved.

    Args:
        module: has :class:`ShardedClassCenters` and :class:`ShardedFeatureQueue` somewhere.

    Returns:
        The state on the first process, with the shares' tensors on the CPU; None on the others.
    """
    wholes = {name: part.whole_state() for name, part in shared_out(module)}
    if members_of(None).rank > 0:
        return None
    state = dict(module.state_dict())
    for name, whole in wholes.items():
        prefix = f"{name}." if name else ""
        state.update({prefix + key: value for key, value in whole.items()})
    return state


def exclude_from_ddp(module: nn.Module) -> None:
    """Lets DistributedDataParallel leave the shares of a module alone.

    Their parameters and buffers are each process's own: nothing is to be averaged or made equal.

    Args:
        module: what will be wrapped.
    """
    names = [
        f"{name}.{key}" if name else key
        for name, part in shared_out(module)
        for key in (*dict(part.named_parameters()), *dict(part.named_buffers()))
    ]
    if names:
        nn.parallel.DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(
            module, [*getattr(module, "_ddp_params_and_buffers_to_ignore", []), *names]
        )


def clip_grad_norm_(
    parameters: Iterable[Tensor], shares: Iterable[Tensor], max_norm: float, norm_type: float = 2.0
) -> Tensor:
    """:func:`torch.nn.utils.clip_grad_norm_` where some parameters are shared out.

    Their gradients count once, on whatever process they are. Every process of the default group has
    to call it.

    Args:
        parameters: all that are clipped, those that are shared out among them.
        shares: those that are shared out, such as ``centers.parameters()``.
        max_norm: the largest norm that is left as it is.
        norm_type: p of the p-norm, such as 2 or infinity.

    Returns:
        The norm of all gradients before clipping, the same on every process.
    """
    of_shares = {id(parameter) for parameter in shares}
    parameters = list(parameters)
    own: list[Tensor] = []
    common: list[Tensor] = []
    for parameter in parameters:
        if parameter.grad is not None:
            (own if id(parameter) in of_shares else common).append(parameter.grad)
    members = members_of(None)
    norm_of = torch.nn.utils.get_total_norm
    share = norm_of(own, norm_type) if own else None
    total = norm_of(common, norm_type) if common else None
    if members.size > 1:
        device = next((p.device for p in parameters), None)
        share = torch.zeros((), device=device) if share is None else share
        if norm_type == float("inf"):
            share = all_reduce(share.double(), "max", members)
        else:
            share = all_reduce(share.double() ** norm_type, "sum", members) ** (1 / norm_type)
    norms = [norm.double() for norm in (share, total) if norm is not None]
    if not norms:
        return torch.zeros(())
    norm = torch.linalg.vector_norm(torch.stack(norms), norm_type)
    torch.nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
    return norm


def gather_to_first(rows: Tensor, group: dist.ProcessGroup | None) -> list[Tensor] | None:
    """The rows of every process, on the CPU of the first one; None on the others."""
    members = members_of(group)
    rows = rows.detach().cpu().contiguous()
    if members.size == 1:
        return [rows]
    lengths = exchange_on_hosts(torch.tensor([len(rows)]), group).flatten().tolist()
    hosts = host_group(group)

    def global_rank(rank: int) -> int:
        return rank if group is None else dist.get_global_rank(group, rank)

    if members.rank > 0:
        if len(rows) > 0:
            dist.send(rows, global_rank(0), group=hosts)
        return None
    parts = [rows]
    for rank, length in enumerate(lengths[1:], 1):
        part = rows.new_empty(length, *rows.shape[1:])
        if length > 0:
            dist.recv(part, global_rank(rank), group=hosts)
        parts.append(part)
    return parts
