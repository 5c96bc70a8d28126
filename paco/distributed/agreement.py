"""What the processes of a collective call tell each other first, from host to host."""

import functools
import hashlib
from typing import NamedTuple

import torch
import torch.distributed as dist

from .collectives import exchange_on_hosts, host_group


class Call(NamedTuple):
    """One process's call."""

    operator: str
    counts: tuple[int, ...]
    """Numbers that may differ, for all to know."""
    facts: tuple[tuple[str, str], ...]
    """Arguments and what has to be the same of them on all processes."""
    error: str | None
    """What is wrong with the call on this process alone."""


def agree(call: Call, group: dist.ProcessGroup | None) -> list[list[int]]:
    """The counts of all processes, [W][n].

    Raises:
        ValueError: on all processes, where one has an error or facts are not the same.
    """
    own = torch.tensor([*call.counts, call.error is not None, *_hashes(call.facts)])
    everyone = exchange_on_hosts(own, group)
    n = len(call.counts)
    if bool(everyone[:, n].any()) or not bool((everyone[:, n + 1 :] == own[n + 1 :]).all()):
        calls: list = [None] * len(everyone)
        dist.all_gather_object(calls, call, group=host_group(group))
        raise ValueError(_describe(calls))
    return everyone[:, :n].tolist()


@functools.lru_cache(maxsize=64)
def _hashes(facts: tuple[tuple[str, str], ...]) -> list[int]:
    def digest(fact: tuple[str, str]) -> int:
        value = hashlib.blake2b(repr(fact).encode(), digest_size=8).digest()
        return int.from_bytes(value, "little", signed=True)

    return [digest(fact) for fact in facts]


def _describe(calls: list[Call]) -> str:
    """The first thing that is wrong, and with which processes."""
    operator = calls[0].operator
    for rank, call in enumerate(calls):
        if call.error is not None:
            return f"{operator}: on process {rank}, {call.error}"
    for facts in zip(*(call.facts for call in calls), strict=True):
        ranks: dict[str, list[int]] = {}
        for rank, (_, value) in enumerate(facts):
            ranks.setdefault(value, []).append(rank)
        if len(ranks) > 1:
            values = "; ".join(
                f"{value} on process {', '.join(map(str, of))}" for value, of in ranks.items()
            )
            return f"{operator}: {facts[0][0]} must be the same on all processes, got {values}"
    raise AssertionError("agree: nothing is wrong")
