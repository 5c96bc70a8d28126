"""The key encoder, and the update that moves it."""

import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    Parameters = Iterable[Tensor]
else:
    Parameters = list[Tensor]  # all that TorchScript knows; eagerly any iterable does


class MomentumEncoder(nn.Module):
    """A copy of an encoder that follows it without a gradient: the key encoder of PaCo (MoCo).

    Its BatchNorm statistics are its own. Published code updates before the forward pass::

        key_encoder.update(encoder)
        keys = key_encoder(key_view)

    Args:
        encoder: the module to copy; of any class.
        momentum: how much of itself the copy keeps in an update, in [0, 1].

    Attributes:
        encoder: the copy.

    Raises:
        ValueError: for a momentum outside [0, 1].
    """

    def __init__(self, encoder: nn.Module, momentum: float = 0.999) -> None:
        super().__init__()
        if not 0 <= momentum <= 1:
            raise ValueError(f"MomentumEncoder: momentum must lie in [0, 1], got {momentum}")
        self.momentum = float(momentum)
        self.encoder = copy.deepcopy(encoder).requires_grad_(False)

    def update(self, query: nn.Module) -> None:
        """Moves the copy's parameters toward those of ``query``; see :func:`momentum_update_`.

        TorchScript takes no module as an argument: a scripted trainer calls that function.
        """
        momentum_update_(self.encoder.parameters(), query.parameters(), self.momentum)

    def forward(self, x: Tensor) -> Tensor:
        """The copy's output, without a gradient."""
        with torch.no_grad():
            return self.encoder(x)

    def extra_repr(self) -> str:
        return f"momentum={self.momentum}"


def momentum_update_(
    key_parameters: Parameters, query_parameters: Parameters, momentum: float
) -> None:
    """Moves keys to momentum * key + (1 - momentum) * query, in place (MoCo, eq. 2).

    Pass parameters only: the key encoder's BatchNorm statistics are its own. Published code
    updates before the key encoder's forward pass.

    Args:
        key_parameters: parameters of the key encoder, as ``parameters()`` gives them; in
            TorchScript a list.
        query_parameters: those of the query encoder, in the same order.
        momentum: in [0, 1]; 0.999 in the paper.

    Raises:
        ValueError: for a momentum outside [0, 1], or lists of different lengths or shapes; nothing
            is written then.
    """
    keys, queries = list(key_parameters), list(query_parameters)
    if not 0.0 <= momentum <= 1.0:
        raise ValueError(f"momentum_update_: momentum must lie in [0, 1], got {momentum}")
    if len(keys) != len(queries):
        raise ValueError(
            f"momentum_update_: query_parameters must be as many as key_parameters, {len(keys)}, "
            f"got {len(queries)}"
        )
    for i in range(len(keys)):
        if keys[i].shape != queries[i].shape:
            raise ValueError(
                f"momentum_update_: query_parameters[{i}] must be {keys[i].shape} as in "
                f"key_parameters, got {queries[i].shape}"
            )
    with torch.no_grad():
        if torch.jit.is_scripting():
            # TorchScript takes _foreach_lerp_ for a write to the list, not to the tensors in it,
            # and drops it as dead code wherever the list is not used again.
            for i in range(len(keys)):
                keys[i].lerp_(queries[i], 1.0 - momentum)
        elif len(keys) > 0:
            torch._foreach_lerp_(keys, queries, 1.0 - momentum)
