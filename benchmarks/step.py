"""Where a training step of a PaCo config spends its time, and what the toolbox adds to a bare loop.

    python benchmarks/step.py --data-root data/cifar100

The toolbox's step is one iteration of its own training loop, with the config's hooks, on batches
that are there already. The bare loop makes the same step with the same layers, called directly:
no classifier, head, data samples, log or hooks. Both start from one state, and their first losses
must be equal. Of the parts, "hooks" and "other" are the toolbox's. Data is what one process needs
to make a batch; in training the config's workers do that beside the steps. "Fast" is the step of
tools/train_fast.py, in bfloat16 and channels-last, as it is and with compiled backbones; "product"
is one matrix product, in float32, of as many multiplications as a step of PaCo's ResNet-32 has.
"""

import copy
import itertools
import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any
from unittest import mock

# First, because it mends the toolbox's imports where that is needed.
import paco.mmpretrain  # noqa: F401

# isort: split
import torch
from harness import Timing, base_parser, interleave, machine, write_csv
from mmengine.config import Config
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.registry import LOOPS
from torch import Tensor
from torch.nn import functional as F

from paco.mmpretrain.engine.loops.device_loops import Step, compile_backbones
from paco.nn import momentum_update_

NUM_BATCHES = 4
# A step takes ResNet-32's 69.5 million an image four times: queries forward and, twice that,
# backward; keys forward.
MULTIPLICATIONS = 4 * 128 * 69.5e6


class BareLoop:
    """The step of a PaCo classifier in plain torch, on a copy of its layers and optimizer."""

    def __init__(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        # One deepcopy, so that the optimizer's parameters are those of the model.
        model, self.optimizer = copy.deepcopy((model, optimizer))
        self.mean, self.std = model.data_preprocessor.mean, model.data_preprocessor.std
        self.backbone, self.projector = model.backbone, model.head.projector
        self.query_parameters = [*self.backbone.parameters(), *self.projector.parameters()]
        self.key, self.momentum = model.key_encoder.encoder, model.key_encoder.momentum
        self.training_step = model.head.step

    def step(self, views: list[Tensor], labels: Tensor) -> Tensor:
        anchor_view, key_view = ((view.float() - self.mean) / self.std for view in views)
        pooled = pool(self.backbone(anchor_view))
        momentum_update_(self.key.parameters(), self.query_parameters, self.momentum)
        with torch.no_grad():
            keys = self.key.projector(pool(self.key.backbone(key_view)))
        loss = self.training_step(self.projector(pooled), keys, pooled, labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()


class FastStep:
    """A step of ``DeviceTrainLoop``, on a copy of the model and its optimizer."""

    def __init__(self, runner: Runner, batch: dict, compiled: bool) -> None:
        model, self.optimizer = copy.deepcopy((runner.model, runner.optim_wrapper.optimizer))
        shape = torch.stack(plain(batch)[0]).shape
        arrange = runner.train_loop.dataloader.dataset.pipeline.transforms[0].arrange
        if compiled:
            compile_backbones(model)
        self.gradients = Step(model.to(memory_format=torch.channels_last), shape, arrange)

    def step(self, views: list[Tensor], labels: Tensor) -> None:
        self.gradients(torch.stack(views), labels)
        self.optimizer.step()


def pool(feature_maps: tuple[Tensor]) -> Tensor:
    return F.adaptive_avg_pool2d(feature_maps[0], 1).flatten(1)


class Stopwatch:
    """Adds up the time inside functions, each without that of the others it calls."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner = [0.0]  # of each call that is running: the time of the calls within

    def wrap(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            self._inner.append(0.0)
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                elapsed = time.perf_counter() - start
                self.seconds[part] += elapsed - self._inner.pop()
                self._inner[-1] += elapsed

        return timed


@contextmanager
def watched(runner: Runner, stopwatch: Stopwatch) -> Iterator[None]:
    """Times the parts of the toolbox's step for as long as the context lasts."""
    model, head, optimizer = runner.model, runner.model.head, runner.optim_wrapper
    parts = [
        (model.data_preprocessor, "forward", "normalise the views"),
        (model, "extract_feat", "forward, queries"),
        (model.key_encoder, "forward", "forward, keys"),
        (model.key_encoder, "update", "momentum update"),
        (head.projector, "forward", "projector and centers"),
        (head.centers, "forward", "projector and centers"),
        (head.loss_module, "forward", "loss, forward"),
        (head.queue, "enqueue", "enqueue"),
        (optimizer, "backward", "backward"),
        (optimizer, "step", "optimizer"),
        (optimizer, "zero_grad", "optimizer"),
        (runner, "call_hook", "hooks"),
        (runner.train_loop, "run_iter", "other"),
    ]
    patches = [
        mock.patch.object(owner, name, stopwatch.wrap(part, getattr(owner, name)))
        for owner, name, part in parts
    ]
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()


@LOOPS.register_module()
class StepBenchmark(EpochBasedTrainLoop):
    """Stands in for the training loop, so that the runner prepares everything as for training."""

    def __init__(self, *args: Any, threads: list[int], repetitions: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.threads, self.repetitions = threads, repetitions
        self.rows: list[dict[str, Any]] = []

    def run(self) -> torch.nn.Module:
        runner = self.runner
        runner.call_hook("before_train")
        runner.call_hook("before_train_epoch")
        runner.model.train()
        batches, data = self.make_batches()
        bare = BareLoop(runner.model, runner.optim_wrapper.optimizer)
        self.check_first_step(bare, batches[0])

        fast, compiled = (FastStep(runner, batches[0], compiled) for compiled in (False, True))
        width = round(MULTIPLICATIONS ** (1 / 3))
        matrix = torch.randn(width, width)
        rounds = itertools.cycle(batches)
        calls = {
            "toolbox": lambda: self.run_iter(self._iter, next(rounds)),
            "bare": lambda: bare.step(*plain(next(rounds))),
            "fast": lambda: fast.step(*plain(next(rounds))),
            "fast, compiled": lambda: compiled.step(*plain(next(rounds))),
            "product": lambda: matrix @ matrix,
        }
        for threads in self.threads:
            torch.set_num_threads(threads)
            steps = interleave(calls, self.repetitions)
            parts = {
                "data, one process": data,
                **self.parts_of_step(calls["toolbox"]),
                **{f"step, {name}": timing for name, timing in steps.items()},
            }
            for part, timing in parts.items():
                share = timing.median_ms / steps["toolbox"].median_ms
                print(f"{threads:2} {part:24}{timing}, {share:6.1%} of a step", flush=True)
                self.rows.append(
                    {"threads": threads, "part": part, **asdict(timing), "share_of_step": share}
                )
        return runner.model

    def make_batches(self) -> tuple[list[dict], Timing]:
        """Some batches of the config's loader, made in this process."""
        loader = self.dataloader
        indices = iter(loader.batch_sampler)
        batches, times = [], []
        for _ in range(NUM_BATCHES):
            start = time.perf_counter()
            batches.append(loader.collate_fn([loader.dataset[i] for i in next(indices)]))
            times.append(time.perf_counter() - start)
        return batches, Timing.of(times)

    def check_first_step(self, bare: BareLoop, batch: dict) -> None:
        self.run_iter(0, batch)
        logged = self.runner.message_hub.get_scalar("train/loss").current()
        loss = bare.step(*plain(batch)).item()
        if not math.isclose(logged, loss, rel_tol=1e-6):
            raise AssertionError(f"the toolbox's first loss is {logged}, the bare loop's {loss}")

    def parts_of_step(self, step: Callable[[], Any]) -> dict[str, Timing]:
        """Each part of the toolbox's step."""
        measured: dict[str, list[float]] = defaultdict(list)
        for _ in range(self.repetitions):
            stopwatch = Stopwatch()
            with watched(self.runner, stopwatch):
                step()
            for part, seconds in stopwatch.seconds.items():
                measured[part].append(seconds)
        return {part: Timing.of(times) for part, times in measured.items()}


def plain(batch: dict) -> tuple[list[Tensor], Tensor]:
    """The two views and the labels, as a loader without a toolbox would give them."""
    return batch["inputs"], torch.cat([sample.gt_label for sample in batch["data_samples"]])


def main() -> None:
    parser = base_parser(__doc__.splitlines()[0], "step")
    parser.add_argument("--config", default="configs/cifar100_lt/paco_if100.py")
    parser.add_argument("--data-root", help="the config's by default")
    parser.add_argument("--repetitions", type=int, default=20)
    options = parser.parse_args()

    config = Config.fromfile(options.config)
    if options.data_root:
        config.train_dataloader.dataset.data_root = options.data_root
    for unused in itertools.product(("val", "test"), ("dataloader", "cfg", "evaluator")):
        config["_".join(unused)] = None
    config.log_level = "WARNING"
    config.train_cfg = dict(
        type="StepBenchmark",
        max_epochs=config.train_cfg.max_epochs,
        threads=options.threads,
        repetitions=options.repetitions,
    )
    print(machine())
    with tempfile.TemporaryDirectory() as config.work_dir:
        runner = Runner.from_cfg(config)
        runner.train()
        write_csv(options.csv, runner.train_loop.rows)
    print(f"wrote {options.csv}")


if __name__ == "__main__":
    main()
