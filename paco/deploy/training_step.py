"""Export of a training step."""

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._inductor.package import load_package, package_aoti
from torch.fx.experimental.proxy_tensor import make_fx

from .._files import whole_file
from ..nn import TrainingStep
from .files import load_torchscript, require_short, save_torchscript, torchscript, versions


def export_training_step(
    step: TrainingStep,
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
    both_views: bool = False,
) -> None:
    """Writes a training step to a file for C++ programs that have libpaco linked.

    The suffix of ``path`` chooses the format:

    - ``.pt``: TorchScript with the methods ``forward`` and ``predict``. C++ finds the centers among
      the module's parameters and the queue among its buffers, and autograd differentiates it.
    - ``.pt2``: a program of torch.export that has loss and gradients in one graph, compiled by
      AOTInductor for this machine's processor and the step's device. All state goes in and comes
      out: its model "model" takes what the text "inputs" lists, and gives what "outputs" lists,
      the loss, the gradients and the queue as it is afterwards; its model "initial_state" takes
      nothing and gives the state of ``step``, which are the inputs after the labels.

    The file is read back and must take a step as ``step`` would, which itself is left as it is.

    Args:
        step: the training step, saved in the state it is in.
        path: file to write.
        metadata: texts to keep in the file, by name; "paco_version" and "torch_version" are added.
        both_views: for .pt2, which knows one of both: pooled features are of queries and keys, as
            in GPaCo, and not of the queries alone.

    Raises:
        ValueError: for another suffix, and for both_views with .pt, which takes either.
        RuntimeError: if the file does not do what the step does.
    """
    suffix = Path(path).suffix
    if suffix not in (".pt", ".pt2") or (both_views and suffix == ".pt"):
        raise ValueError(
            "export_training_step: path must end in .pt or .pt2, and both_views be for .pt2, got "
            f"{path} and {both_views}"
        )
    texts = {**(metadata or {}), **versions()}
    require_short(texts)
    with whole_file(path) as file:
        if suffix == ".pt":
            with torchscript():
                scripted = torch.jit.script(step)
            save_torchscript(scripted, file, texts)
            _require_same_step(step, load_torchscript(file, step.queue.features.device)[0], path)
        else:
            program = _Program(step, both_views)
            _compile(program, file, texts)
            _require_same_program(program, file, path)


def _batch(step: TrainingStep, size: int, both_views: bool = False) -> list[Tensor]:
    """Random queries, keys, pooled features and labels."""
    weight, queue = step.centers.weight, step.queue.features
    generator = torch.Generator().manual_seed(0)
    pooled_rows = 2 * size if both_views else size
    shapes = [(size, queue.size(1)), (size, queue.size(1)), (pooled_rows, weight.size(1))]
    rows = [torch.randn(*shape, generator=generator).to(queue) for shape in shapes]
    labels = torch.randint(weight.size(0), (size,), generator=generator)
    return [*rows, labels.to(queue.device)]


def _require_same_step(
    step: TrainingStep, loaded: torch.jit.ScriptModule, path: str | os.PathLike[str]
) -> None:
    batch = _batch(step, 4)
    results = []
    for module in (copy.deepcopy(step), loaded):
        loss = module(*batch)
        gradients = torch.autograd.grad(loss, list(module.parameters()))
        results.append([loss, *gradients, *module.buffers(), module.predict(batch[2])])
    _require_equal(results[0], results[1], path)


def _require_equal(
    expected: list[Tensor], values: list[Tensor], path: str | os.PathLike[str]
) -> None:
    for value, right in zip(values, expected, strict=True):
        # Compiled code adds in another order: relative to the largest number that it added to.
        limit = 1e-5 * right.abs().max() if right.is_floating_point() else 0
        if not bool(((value - right).abs() <= limit).all()):
            raise RuntimeError(
                f"export_training_step: a step of {path} gives {value}, and one of the module "
                f"itself {right}"
            )


class _Program:
    """A training step as a function without state: loss, gradients and the queue afterwards."""

    def __init__(self, step: TrainingStep, both_views: bool) -> None:
        self.step = copy.deepcopy(step)
        self.both_views = both_views
        self.parameters = [name for name, _ in step.named_parameters()]
        buffers = [name for name, _ in step.named_buffers()]
        self.queue = [name for name in buffers if name.startswith("queue.")]
        constant = [name for name in buffers if name not in self.queue]
        self.state = [*self.parameters, *self.queue, *constant]
        self.rows = ["queries", *(["keys"] if both_views else []), "pooled"]
        self.inputs = ["queries", "keys", "pooled", "labels", *self.state]
        gradients = [f"grad {name}" for name in (*self.rows, *self.parameters)]
        self.outputs = ["loss", *gradients, *self.queue]

    def initial_state(self) -> list[Tensor]:
        values = self.step.state_dict()
        return [values[name].detach().clone() for name in self.state]

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        values = dict(zip(self.inputs, inputs, strict=True))
        differentiated = [*self.rows, *self.parameters]
        for name in differentiated:
            values[name] = values[name].detach().requires_grad_()
        for name in self.queue:  # written in place
            values[name] = values[name].clone()
        state = {name: values[name] for name in self.state}
        batch = tuple(values[name] for name in self.inputs[:4])
        loss = torch.func.functional_call(self.step, state, batch)
        gradients = torch.autograd.grad(
            loss, [values[name] for name in differentiated], materialize_grads=True
        )
        return (loss.detach(), *gradients, *(values[name] for name in self.queue))


class _Graph(nn.Module):
    """A traced program as the module of any number of inputs that torch.export asks for."""

    def __init__(self, graph: nn.Module) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return self.graph(*inputs)


class _State(nn.Module):
    """Tensors, from nothing."""

    def __init__(self, tensors: list[Tensor]) -> None:
        super().__init__()
        for i, tensor in enumerate(tensors):
            self.register_buffer(f"tensor_{i}", tensor)

    def forward(self) -> tuple[Tensor, ...]:
        return tuple(tensor.clone() for tensor in self.buffers())


def _compile(program: _Program, path: str | os.PathLike[str], texts: dict[str, str]) -> None:
    size = 6  # of no dimension of the state's
    example = (*_batch(program.step, size, program.both_views), *program.initial_state())
    graph = _Graph(make_fx(program, tracing_mode="symbolic")(*example))
    batch = torch.export.Dim("batch", min=2)
    shapes = [{0: batch}, {0: batch}, {0: 2 * batch if program.both_views else batch}, {0: batch}]
    models = {
        "model": (graph, example, ((*shapes, *(None for _ in program.state)),)),
        "initial_state": (_State(program.initial_state()), (), None),
    }
    texts = {**texts, "inputs": ",".join(program.inputs), "outputs": ",".join(program.outputs)}
    files: dict[str, Any] = {}
    for name, (module, inputs, dynamic_shapes) in models.items():
        exported = torch.export.export(module, inputs, dynamic_shapes=dynamic_shapes)
        files[name] = torch._inductor.aot_compile(
            exported.module(),
            inputs,
            options={
                "aot_inductor.package": True,
                "aot_inductor.metadata": texts,
                # The threads of the process that loads it, not those of this one.
                "cpp.dynamic_threads": True,
            },
        )
    package_aoti(os.fspath(path), files)


def _require_same_program(
    program: _Program, file: str | os.PathLike[str], path: str | os.PathLike[str]
) -> None:
    state = list(load_package(os.fspath(file), "initial_state")())
    compiled = load_package(os.fspath(file), "model")
    for size in (4, 7):
        batch = _batch(program.step, size, program.both_views)
        expected = list(program(*batch, *program.initial_state()))
        _require_equal(expected, list(compiled(*batch, *state)), path)
