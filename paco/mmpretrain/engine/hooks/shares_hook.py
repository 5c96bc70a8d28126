"""What the toolbox does with a model as a whole, done with one that is shared out."""

import functools
from typing import Any

import torch
from mmengine.hooks import EMAHook, Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import Tensor, nn

from paco.distributed import ShardedClassCenters, clip_grad_norm_, full_state_dict
from paco.distributed.shares import gather_to_first, shared_out

from ... import compat
from ..runner_model import model_of

__all__ = ["SharesHook"]


@HOOKS.register_module()
class SharesHook(Hook):
    """Saves, resumes and clips a model whose queue or class centers are shared out.

    A checkpoint is that of one process, shares put together, and any number of processes can go on
    from it: it is gathered on all before the toolbox saves, which asks the first one alone. The
    norm of gradients counts the centers of every process once. Without shares it does nothing.

    Raises:
        ValueError: For centers that are shared out beside an optimizer wrapper with a scaler that
            looks at its own process's gradients, and for shares beside an ``EMAHook``.
    """

    priority = "VERY_HIGH"

    def __init__(self) -> None:
        self._whole: tuple[dict[str, Tensor], dict[int, dict[str, Tensor]]] | None = None

    def before_run(self, runner: Runner) -> None:
        model = model_of(runner)
        shares = dict(shared_out(model))
        if not shares:
            return
        compat.keep_from_the_first_broadcast(runner, tuple(f"{name}." for name in shares))
        wrapper = runner.optim_wrapper
        if not isinstance(wrapper, OptimWrapper):  # a test
            return
        if any(isinstance(hook, EMAHook) for hook in runner.hooks):
            raise ValueError(
                "SharesHook: EMAHook would save the first process's share of its average alone: "
                "train without one, or without shard_queue and shard_centers"
            )
        centers = _shared_parameters(model)
        scaler = getattr(wrapper, "loss_scaler", None)
        if centers and scaler is not None and not hasattr(scaler, "process_group"):
            raise ValueError(
                "SharesHook: where class centers are shared out, one process alone may find an "
                "overflow, and all have to skip the step: set optim_wrapper.use_fsdp=True, which "
                "takes a ShardedGradScaler"
            )
        if centers and getattr(wrapper, "clip_func", None) is nn.utils.clip_grad_norm_:
            wrapper.clip_func = functools.partial(clip_grad_norm_, shares=centers)
        save = runner.save_checkpoint

        def save_whole(*args: Any, **kwargs: Any) -> None:
            self._whole = _gather(model, wrapper)
            save(*args, **kwargs)
            self._whole = None

        runner.save_checkpoint = save_whole

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if self._whole is None:
            return
        state, of_optimizer = self._whole
        checkpoint["state_dict"].update({name: state[name].cpu() for name in state})
        for index, values in of_optimizer.items():
            if "optimizer" in checkpoint:
                checkpoint["optimizer"]["state"][index].update(values)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Leaves this process's rows of the optimizer's state; modules take their own."""
        wrapper = runner.optim_wrapper
        if "optimizer" not in checkpoint or not isinstance(wrapper, OptimWrapper):
            return
        state = checkpoint["optimizer"]["state"]
        for index, centers in _indices(model_of(runner), wrapper).items():
            first, own = centers.first_class, len(centers.weight)
            for name, value in state.get(index, {}).items():
                if isinstance(value, Tensor) and value.dim() > 0:
                    state[index][name] = value[first : first + own]


def _shared_centers(model: nn.Module) -> list[ShardedClassCenters]:
    return [part for _, part in shared_out(model) if isinstance(part, ShardedClassCenters)]


def _shared_parameters(model: nn.Module) -> list[Tensor]:
    return [p for centers in _shared_centers(model) for p in centers.parameters()]


def _indices(model: nn.Module, wrapper: OptimWrapper) -> dict[int, ShardedClassCenters]:
    """The centers of each shared parameter, by its index in the optimizer's state_dict."""
    owner = {id(p): centers for centers in _shared_centers(model) for p in centers.parameters()}
    parameters = [p for group in wrapper.optimizer.param_groups for p in group["params"]]
    return {i: owner[id(p)] for i, p in enumerate(parameters) if id(p) in owner}


def _gather(
    model: nn.Module, wrapper: OptimWrapper
) -> tuple[dict[str, Tensor], dict[int, dict[str, Tensor]]] | None:
    """The whole state of the shares, and the optimizer's of their parameters; on the first."""
    state = full_state_dict(model)
    of_optimizer: dict[int, dict[str, Tensor]] = {}
    own = wrapper.optimizer.state_dict()["state"]
    for index, centers in _indices(model, wrapper).items():
        of_optimizer[index] = {}
        for name, value in own.get(index, {}).items():
            if not isinstance(value, Tensor) or value.dim() == 0:
                continue
            parts = gather_to_first(value, centers.group)
            if parts is not None:
                of_optimizer[index][name] = torch.cat(parts)
    if state is None:
        return None
    names = [f"{name}." for name, _ in shared_out(model)]
    return {key: state[key] for key in state if key.startswith(tuple(names))}, of_optimizer
