"""Training and validation of small images that stay on the device."""

import operator
from collections.abc import Callable

import torch
from mmcv.transforms import Compose
from mmengine.dist import get_world_size
from mmengine.optim import OptimWrapper
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, ValLoop
from mmpretrain.datasets.transforms import MultiView, PackInputs
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ... import compat
from ...datasets.transforms.batched_transforms import transform_batch
from ...datasets.transforms.contrast_views import ContrastViews
from ...models.heads.class_centers_head import ClassCentersHead

__all__ = ["DeviceTrainLoop", "DeviceValLoop"]

Arrangement = Callable[[list[Tensor]], Tensor | list[Tensor] | dict]

# Reading a loss waits for the device, so the hooks get one in so many steps.
REPORT_INTERVAL = 20
# Images that are transformed together: all of CIFAR-100-LT's, to launch each operation once.
TRANSFORM_BATCH = 16384
EVALUATION_BATCH = 2048


@LOOPS.register_module()
class DeviceTrainLoop(EpochBasedTrainLoop):
    """``EpochBasedTrainLoop`` for views of small images, all of them on the device.

    The views of an epoch are made at its start, by the batched forms of the pipeline's own
    transforms. Forward and backward pass run in bfloat16 autocast and channels-last; on a GPU they
    are captured in a CUDA graph after a few steps and replayed from then on. Sampler, optimizer,
    schedules, hooks and checkpoints are the config's.

    One process only. The pipeline must be a :class:`ContrastViews`, or transforms and then
    ``PackInputs``. The head must be a :class:`ClassCentersHead` (:class:`PaCoHead` is one), which
    takes a batch's labels as one tensor. The dataloader must drop the last batch if it is smaller.
    Each batch is one step of a plain ``OptimWrapper``, and no images are mixed. Hooks see the
    losses of every 20th step. With the toolbox's ``compile=True`` in the config, backbones are
    compiled for training: a minute, then 13 to 17 % less time on a CPU.

    The arguments are those of :class:`mmengine.runner.EpochBasedTrainLoop`.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if get_world_size() > 1:
            raise RuntimeError(f"DeviceTrainLoop: one process only, got {get_world_size()}")
        if not self.dataloader.drop_last:
            raise ValueError("DeviceTrainLoop: the dataloader must have drop_last=True")
        self.pipelines, self.arrange = _views_of(self.dataloader)

    def run(self) -> nn.Module:
        # The runner builds it after the loop.
        wrapper = self.runner.optim_wrapper
        if type(wrapper) is not OptimWrapper:
            raise TypeError(
                "DeviceTrainLoop: optim_wrapper.type must be OptimWrapper (a step is in bfloat16 "
                f"as it is), got {type(wrapper).__name__}"
            )
        if (batches := compat.accumulated_batches(wrapper)) != 1:
            raise ValueError(
                f"DeviceTrainLoop: optim_wrapper.accumulative_counts must be 1, got {batches}"
            )
        model = self.runner.model.to(memory_format=torch.channels_last)
        if not isinstance(model.head, ClassCentersHead):
            raise TypeError(
                "DeviceTrainLoop: head must be a ClassCentersHead (with prior=False a plain linear "
                f"one) or a PaCoHead, got {type(model.head).__name__}"
            )
        if getattr(model.data_preprocessor, "batch_augments", None) is not None:
            # A graph would repeat the draws of the step that was captured.
            raise ValueError("DeviceTrainLoop: images cannot be mixed (batch_augments)")
        if self.runner.cfg.get("compile", False):  # the runner's own way compiles train_step
            compile_backbones(model)
        device = next(model.parameters()).device
        self.images, self.labels = _load(self.dataloader, device)
        batch_size = self.dataloader.batch_size
        self.step = Step(
            model,
            torch.Size([len(self.pipelines), batch_size, *self.images.shape[1:]]),
            self.arrange,
        )
        return super().run()

    def run_epoch(self) -> None:
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        batches = torch.tensor(list(self.dataloader.batch_sampler)).to(self.images.device)
        for idx, (views, labels) in enumerate(self._epoch_of(batches)):
            self.run_iter(idx, (views, labels))
        self.runner.call_hook("after_train_epoch")
        compat.count_epoch(self)

    def run_iter(self, idx: int, data_batch: tuple[Tensor, Tensor]) -> None:
        self.runner.call_hook("before_train_iter", batch_idx=idx, data_batch=None)
        log_vars = self.step(*data_batch)
        self.runner.optim_wrapper.step()
        reports = idx % REPORT_INTERVAL == 0
        self.runner.call_hook(
            "after_train_iter",
            batch_idx=idx,
            data_batch=None,
            outputs=dict(log_vars) if reports else None,
        )
        compat.count_iteration(self)

    def _epoch_of(self, batches: Tensor) -> zip:
        """Views [V, B, C, H, W] and labels [B] of each batch, whose images ``batches`` numbers."""
        chunks = self.images[batches.flatten()].split(TRANSFORM_BATCH)
        views = [
            torch.cat([transform_batch(pipeline, chunk) for chunk in chunks])
            for pipeline in self.pipelines
        ]
        by_batch = torch.stack([view.unflatten(0, batches.shape) for view in views], 1)
        return zip(by_batch, self.labels[batches], strict=True)


class Step:
    """Forward and backward pass of one batch, without a change of the parameters."""

    # Steps before the capture, in which libraries choose their kernels and allocate what they keep.
    WARM_UP = 3

    def __init__(self, model: nn.Module, shape: torch.Size, arrange: Arrangement) -> None:
        """For views of this shape, [V, B, C, H, W], which ``arrange`` makes the model's inputs."""
        self.model = model
        self.arrange = arrange
        self.device = next(model.parameters()).device
        # A graph reads and writes the same memory each time.
        self.views = torch.zeros(shape, dtype=torch.uint8, device=self.device)
        self.labels = torch.zeros(shape[1], dtype=torch.int64, device=self.device)
        self.num_steps = 0
        # The capture runs on it, and so do the steps before.
        self.stream = torch.cuda.Stream() if self.device.type == "cuda" else None
        self.graph: torch.cuda.CUDAGraph | None = None
        self.log_vars: dict[str, Tensor] = {}

    def __call__(self, views: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Leaves the gradients of the batch, and returns what the model logs."""
        self.views.copy_(views)
        self.labels.copy_(labels)
        if self.stream is not None and self.num_steps == self.WARM_UP:
            self._capture()
        if self.graph is not None:
            self.graph.replay()
        else:
            self._warm_up()
        self.num_steps += 1
        return self.log_vars

    def _warm_up(self) -> None:
        """A step like all others, where a capture could follow it: not on the default stream."""
        self.model.zero_grad()
        if self.stream is None:
            self._forward_and_backward()
            return
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            self._forward_and_backward()
        torch.cuda.current_stream().wait_stream(self.stream)

    def _capture(self) -> None:
        # Gradients that a backward pass makes afresh are made in the graph: replays overwrite them.
        self.model.zero_grad()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, stream=self.stream):
            self._forward_and_backward()

    def _forward_and_backward(self) -> None:
        data = dict(inputs=self.arrange(list(self.views)), data_samples=self.labels)
        # Weights are cast in every step, and not once for all that a graph does.
        with torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False):
            data = self.model.data_preprocessor(data, training=True)
            losses = self.model(**data, mode="loss")
            loss, log_vars = self.model.parse_losses(losses)
        # The log is detached: the autograd graph would live into the next step, or the capture.
        self.log_vars = {name: value.detach() for name, value in log_vars.items()}
        loss.backward()


@LOOPS.register_module()
class DeviceValLoop(ValLoop):
    """``ValLoop`` for small images, all of them on the device; the pipeline is ``PackInputs``.

    The arguments are those of :class:`mmengine.runner.ValLoop`.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        pipeline = self.dataloader.dataset.pipeline.transforms
        if [type(transform) for transform in pipeline] != [PackInputs]:
            raise ValueError(f"DeviceValLoop: the pipeline must be PackInputs, got {pipeline}")
        self.images: Tensor | None = None

    @torch.no_grad()
    def run(self) -> dict:
        self.runner.call_hook("before_val")
        self.runner.call_hook("before_val_epoch")
        model = self.runner.model.eval()
        if self.images is None:
            self.images, self.labels = _load(self.dataloader, next(model.parameters()).device)
        parts = (x.split(EVALUATION_BATCH) for x in (self.images, self.labels))
        for images, labels in zip(*parts, strict=True):
            inputs = model.data_preprocessor(dict(inputs=images))["inputs"]
            # A graph that is compiled for training would be compiled anew for each size.
            with torch.compiler.set_stance("force_eager"):
                features = model.extract_feat(inputs)
            scores = model.head(features).softmax(dim=1)
            self.evaluator.process(
                [
                    dict(pred_score=score, gt_label=label)
                    for score, label in zip(scores.cpu(), labels.cpu().split(1), strict=True)
                ]
            )
        metrics = self.evaluator.evaluate(len(self.images))
        self.runner.call_hook("after_val_epoch", metrics=metrics)
        self.runner.call_hook("after_val")
        return metrics


def compile_backbones(model: nn.Module) -> None:
    """Has the model's backbones, the key encoder's too, compiled at their next calls."""
    for module in model.modules():
        if isinstance(module, BaseBackbone):
            module.compile()


def _views_of(dataloader: DataLoader) -> tuple[list[Compose], Arrangement]:
    """The transforms that make each of an image's views, and how a dataloader hands these over."""
    if not hasattr(dataloader.dataset, "pipeline"):
        raise ValueError(
            "DeviceTrainLoop: the training set must have a pipeline of its own, got a "
            f"{type(dataloader.dataset).__name__}"
        )
    pipeline = dataloader.dataset.pipeline.transforms
    types = [type(transform) for transform in pipeline]
    if types == [ContrastViews]:
        return pipeline[0].transforms, pipeline[0].arrange
    if types[-1:] == [PackInputs] and MultiView not in types:
        return [Compose(pipeline[:-1])], operator.itemgetter(0)
    raise ValueError(
        "DeviceTrainLoop: the pipeline must be one ContrastViews, or transforms and then "
        f"PackInputs, got {pipeline}"
    )


def _load(dataloader: DataLoader, device: torch.device) -> tuple[Tensor, Tensor]:
    """The images of a data set, uint8 [N, C, H, W], and their labels [N]."""
    data = [dataloader.dataset.get_data_info(i) for i in range(len(dataloader.dataset))]
    images = torch.stack([torch.from_numpy(info["img"].copy()) for info in data])
    labels = torch.tensor([info["gt_label"] for info in data])
    return images.permute(0, 3, 1, 2).contiguous().to(device), labels.to(device)
