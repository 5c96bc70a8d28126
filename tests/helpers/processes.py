"""Processes of one process group, which any test may call functions in."""

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from pathlib import Path

import torch

RANKS = 2


@contextlib.contextmanager
def processes(
    rendezvous: Path, count: int = RANKS, seconds: float = 60
) -> Iterator[Callable[..., list]]:
    """Calls ``function(rank, *arguments)`` on each rank and lists what they return.

    A rank that waits for another gives up after some seconds.
    """
    arguments = (rendezvous, count, seconds)
    spawn = torch.multiprocessing.get_context("spawn")
    with contextlib.ExitStack() as stack:
        ranks = [
            stack.enter_context(
                ProcessPoolExecutor(1, spawn, initializer=join, initargs=(rank, *arguments))
            )
            for rank in range(count)
        ]

        def call(function: Callable, *arguments) -> list:
            calls = [pool.submit(function, rank, *arguments) for rank, pool in enumerate(ranks)]
            return [call.result() for call in calls]

        yield call


def join(rank: int, rendezvous: Path, count: int, seconds: float) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{rendezvous}",
        rank=rank,
        world_size=count,
        timeout=timedelta(seconds=seconds),
    )
