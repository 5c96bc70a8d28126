"""Export for C++: the classifier, which needs libtorch alone, and the training step with libpaco.

TorchScript warns of its deprecation since torch 2.10, while C++ still loads it without a word. The
warnings are silenced here, where the format is chosen, and nowhere else.
"""

import contextlib
import os
import warnings
import zipfile
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._library import __version__
from .nn import ClassCenters, FeatureQueue, PaCoLoss

__all__ = ["TrainingStep", "export_classifier", "export_training_step", "load"]


def export_classifier(
    model: nn.Module,
    example: Tensor,
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Traces a classifier into a TorchScript file, and makes sure that the file works.

    The file is read back and must give the model's logits on ``example`` and on a batch of another
    size. It holds no operator of libpaco, so libtorch alone serves it.

    Args:
        model: images to logits, the prior left out (backbone and :meth:`ClassCenters.predict`).
            It is exported in evaluation mode; its own mode is left as it was.
        example: a batch such as the model will see, [N, ...], on the model's device.
        path: file to write.
        metadata: texts to keep in the file, by name, such as the class names; "paco_version",
            "torch_version" and "input_shape" (of one sample, "3,224,224") are added.

    Raises:
        RuntimeError: if the file does not do what the model does, or needs libpaco.
    """
    other_size = torch.cat([example.flip(0), example])
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), _torchscript():
            expected = [model(example), model(other_size)]
            traced = torch.jit.trace(model, example, check_trace=False)
    finally:
        model.train(was_training)
    input_shape = ",".join(str(n) for n in example.shape[1:])
    _save(traced, path, {**(metadata or {}), "input_shape": input_shape})

    loaded, _ = load(path, example.device)
    if "paco::" in str(loaded.inlined_graph):
        raise RuntimeError(
            f"export_classifier: {path} needs libpaco to run; ClassCenters.predict, in the model's "
            "forward, does not"
        )
    for x, y in zip([example, other_size], expected, strict=True):
        with torch.no_grad():
            difference = _relative_difference(loaded(x), y)
        if not difference <= torch.finfo(y.dtype).eps ** 0.5:
            raise RuntimeError(
                f"export_classifier: the logits of {path} for a batch {list(x.shape)} differ from "
                f"the model's by {difference:g} of the largest; the model's forward must do the "
                "same for every value and number of images"
            )


class TrainingStep(nn.Module):
    """Loss, queue and centers of one PaCo step, for a trainer that brings the two encoders.

    Args:
        loss: the loss.
        queue: the queue of keys.
        centers: the class centers; their parameters are to be trained along.
    """

    def __init__(self, loss: PaCoLoss, queue: FeatureQueue, centers: ClassCenters) -> None:
        super().__init__()
        self.loss = loss
        self.queue = queue
        self.centers = centers

    def forward(self, queries: Tensor, keys: Tensor, pooled: Tensor, labels: Tensor) -> Tensor:
        """The loss of a batch; afterwards the keys are in the queue.

        Args:
            queries: [B, D], the query encoder's projections, of any length.
            keys: [B, D], the key encoder's; no gradient flows to them.
            pooled: [B, F], the query encoder's pooled features.
            labels: int64 [B].

        Returns:
            A scalar.
        """
        queries = F.normalize(queries, dim=1)
        keys = F.normalize(keys.detach(), dim=1)
        loss = self.loss(
            torch.cat([queries, keys]),
            torch.cat([labels, labels]),
            self.centers(pooled),
            self.queue.features,
            self.queue.labels,
            num_anchors=queries.size(0),
            queue_size=self.queue.num_valid,
        )
        self.queue.enqueue(keys, labels)
        return loss

    @torch.jit.export
    def predict(self, pooled: Tensor) -> Tensor:
        """Inference logits [B, C] of pooled features [B, F]."""
        return self.centers.predict(pooled)


def export_training_step(
    step: TrainingStep,
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Scripts a training step, with its methods ``forward`` and ``predict``, into a file.

    C++ loads it with libpaco linked and finds the centers among the module's parameters, the queue
    among its buffers.

    Args:
        step: the training step, saved in the state it is in.
        path: file to write.
        metadata: texts to keep in the file, by name; "paco_version" and "torch_version" are added.
    """
    with _torchscript():
        scripted = torch.jit.script(step)
    _save(scripted, path, metadata or {})


def load(
    path: str | os.PathLike[str], device: str | torch.device = "cpu"
) -> tuple[torch.jit.ScriptModule, dict[str, str]]:
    """Reads a file that this module wrote.

    Args:
        path: the file.
        device: where its parameters and buffers go.

    Returns:
        The module, and the texts kept beside it by name.
    """
    with zipfile.ZipFile(path) as archive:
        names = [name.split("/extra/", 1)[1] for name in archive.namelist() if "/extra/" in name]
    files = dict.fromkeys(names, "")
    with _torchscript():
        module = torch.jit.load(os.fspath(path), map_location=device, _extra_files=files)
    return module, {name: text.decode() for name, text in files.items()}


def _save(
    module: torch.jit.ScriptModule, path: str | os.PathLike[str], metadata: Mapping[str, str]
) -> None:
    files = {**metadata, "paco_version": __version__, "torch_version": torch.__version__}
    with _torchscript():
        torch.jit.save(module, os.fspath(path), _extra_files=files)


def _relative_difference(value: Tensor, expected: Tensor) -> float:
    return ((value - expected).abs().max() / expected.abs().max()).item()


@contextlib.contextmanager
def _torchscript() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        yield
