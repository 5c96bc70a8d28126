"""A queue that is shared out among the processes."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ..nn.feature_queue import FeatureQueue
from .collectives import members_of
from .shares import gather_to_first


class ShardedFeatureQueue(FeatureQueue):
    """:class:`paco.nn.FeatureQueue`, about K / W rows of it on each of W processes.

    Each process enqueues its own keys alone. As a set this is the queue of one process while that
    is not full, and afterwards with equal batches that divide K / W; otherwise each process keeps
    its own newest K / W keys.

    Loading takes the rows of a whole queue, as one process or :func:`full_state_dict` saves it, and
    deals them out; of a state of its own size all of it.

    Args:
        size: K, at least one row for each process.
        dim: D, the length of a key.
        dtype: of the keys; torch's default dtype if None.
        group: the process group; the default one if None.

    Attributes:
        size: K.
        features: buffer [K_own, D]; the rest as of :class:`paco.nn.FeatureQueue`.

    Raises:
        ValueError: for a bad argument.
    """

    def __init__(
        self,
        size: int,
        dim: int,
        dtype: torch.dtype | None = None,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        members = members_of(group)
        if size < members.size:
            raise ValueError(
                f"ShardedFeatureQueue: size must be at least {members.size}, a row for each "
                f"process, got {size}"
            )
        super().__init__(members.share(size)[1], dim, dtype)
        self.size = size
        self.group = group
        self.register_load_state_dict_pre_hook(_take_own_rows)

    def whole_state(self) -> dict[str, Tensor] | None:
        """The queue as one process has it, its rows from old to new; None but on the first process.

        Every process of the group has to call it.
        """
        rows = _from_old_to_new(self.state_dict())
        keys = gather_to_first(rows["features"], self.group)
        labels = gather_to_first(rows["labels"], self.group)
        if keys is None or labels is None:
            return None
        # By the age of a row on its process, the oldest first; of one age the first process has the
        # newest row, as they are dealt out.
        keys, labels = keys[::-1], labels[::-1]
        ages = torch.cat([torch.arange(len(part) - 1, -1, -1) for part in labels])
        order = ages.argsort(descending=True, stable=True)
        return _laid_out(torch.cat(keys)[order], torch.cat(labels)[order], self.size)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, of {self.size}"


def _take_own_rows(
    queue: ShardedFeatureQueue, state_dict: dict[str, Any], prefix: str, *_: object
) -> None:
    names = ("features", "labels", "state")
    if any(prefix + name not in state_dict for name in names):
        return
    state = {name: state_dict[prefix + name] for name in names}
    if len(state["features"]) != queue.size or len(queue.features) == queue.size:
        return
    members = members_of(queue.group)
    rows = _from_old_to_new(state)
    # The newest row goes to the first process, the one before it to the next, and so on.
    own = torch.arange(len(rows["labels"])).flip(0)[members.rank :: members.size].flip(0)
    own = own.to(rows["labels"].device)
    share = _laid_out(rows["features"][own], rows["labels"][own], len(queue.features))
    state_dict.update({prefix + name: value for name, value in share.items()})


def _from_old_to_new(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The valid rows of a queue."""
    size = len(state["labels"])
    pointer, num_valid = state["state"].tolist()
    index = (torch.arange(num_valid, device=state["labels"].device) + pointer - num_valid) % size
    return {name: state[name][index] for name in ("features", "labels")}


def _laid_out(keys: Tensor, labels: Tensor, size: int) -> dict[str, Tensor]:
    """The state of a queue of these rows, the oldest first."""
    missing = size - len(labels)
    return {
        "features": torch.cat([keys, keys.new_zeros(missing, keys.size(1))]),
        "labels": torch.cat([labels, labels.new_full((missing,), -1)]),
        "state": labels.new_tensor([len(labels) % size, len(labels)]),
    }
