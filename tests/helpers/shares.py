"""A problem of paco_loss shared out among processes, and results put together again."""

import random
from typing import Any

import torch
from torch import Tensor

from helpers.problems import Problem

LOCAL = ("center_logits", "anchor_weight", "soft_targets")  # a row for each anchor


def cut(rng: random.Random, total: int, parts: int) -> list[int]:
    """Sizes that add up to ``total``, at times none for a part."""
    bounds = sorted(rng.randint(0, total) for _ in range(parts - 1))
    return [b - a for a, b in zip([0, *bounds], [*bounds, total], strict=True)]


def share_out(rng: random.Random, problem: Problem, processes: int) -> list[dict[str, Any]]:
    """The arguments of each process: anchors, other rows and the valid part of the queue.

    Each has a queue where the problem has one, whose further rows must not matter.
    """
    anchors = problem.get("num_anchors", len(problem["features"]))
    sizes = cut(rng, anchors, processes)
    others = cut(rng, len(problem["features"]) - anchors, processes)
    shares: list[dict[str, Any]] = [
        {
            name: value
            for name, value in problem.items()
            if name == "prototypes" or (not isinstance(value, Tensor) and name != "num_anchors")
        }
        | ({"num_anchors": size} if "num_anchors" in problem else {})
        for size in sizes
    ]
    for name in ("features", "labels"):
        own, rest = problem[name].split([anchors, len(problem[name]) - anchors])
        for share, a, b in zip(shares, own.split(sizes), rest.split(others), strict=True):
            share[name] = torch.cat([a, b])
    for name in LOCAL:
        if name in problem:
            for share, part in zip(shares, problem[name].split(sizes), strict=True):
                share[name] = part.clone()
    if "queue" in problem:
        valid = int(problem.get("num_valid", len(problem["queue"])))
        lengths = cut(rng, valid, processes)
        keys = problem["queue"][:valid].split(lengths)
        labels = problem["queue_labels"][:valid].split(lengths)
        for share, key, label in zip(shares, keys, labels, strict=True):
            more = rng.randint(0, 3)
            share["queue"] = torch.cat([key, key.new_full((more, key.size(1)), float("nan"))])
            share["queue_labels"] = torch.cat([label, label.new_full((more,), -1)])
            share["num_valid"] = torch.tensor(len(key))
    return shares


def put_together(problem: Problem, shares: list[dict], results: list[dict]) -> dict[str, Tensor]:
    """The mean of the shares' losses and gradients, in the order of the problem's rows."""
    processes = len(shares)
    together = {"loss": torch.stack([r["loss"] for r in results]).mean()}
    features = [r["features"] / processes for r in results]
    sizes = [share.get("num_anchors", len(share["features"])) for share in shares]
    own = [x[:size] for x, size in zip(features, sizes, strict=True)]
    rest = [x[size:] for x, size in zip(features, sizes, strict=True)]
    together["features"] = torch.cat([*own, *rest])
    if "prototypes" in problem:
        together["prototypes"] = torch.stack([r["prototypes"] for r in results]).mean(0)
    if "center_logits" in problem:
        together["center_logits"] = torch.cat([r["center_logits"] / processes for r in results])
    return together
