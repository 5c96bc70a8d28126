"""Export for C++: the classifier, which needs libtorch alone, and the training step with libpaco.

A file says what it is: how an image becomes its input, the names of its classes, and where it comes
from are kept inside it as texts by name, those of :func:`paco.image_metadata.image_metadata` among
them, which ``paco-classify`` reads.

TorchScript warns of its deprecation since torch 2.10, with a FutureWarning since 2.14, while C++
still loads it without a word. The warnings are silenced here, where the format is chosen, and
nowhere else.
"""

import contextlib
import copy
import importlib
import io
import os
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ._files import archive_damage, whole_file
from ._library import __version__
from .nn import TrainingStep

__all__ = ["Classifier", "export_classifier", "export_training_step", "load"]

LARGEST_TEXT = 16 << 20  # bytes; paco-classify refuses larger ones

_ANY_BATCH = (
    "the model's forward must do the same for every value and number of images; a number of images "
    "that it takes by len() or int(), and not as x.shape[0], is a constant in every format"
)


def export_classifier(
    model: nn.Module,
    example: Tensor,
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
    dtype: torch.dtype | None = None,
) -> float:
    """Writes a classifier to a file, and makes sure that the file works.

    The suffix of ``path`` chooses the format:

    - ``.pt``: TorchScript, for any machine;
    - ``.pt2``: compiled by AOTInductor for this machine's processor, which takes a C++ compiler
      now and none later;
    - ``.onnx``: ONNX, which needs the packages onnx, onnxscript and onnxruntime.

    The file takes any number of images. It holds no operator of libpaco, so libtorch alone serves
    it. It is read back and must give the model's logits on ``example``, on its first image and on
    twice as many; only then it appears at ``path``. A UserWarning says where a .pt file does not
    survive ``torch.jit.optimize_for_inference``.

    Args:
        model: images to logits, the prior left out (backbone and
            :meth:`paco.nn.ClassCenters.predict`). It is exported in evaluation mode; its own mode
            is left as it was.
        example: a batch such as the model will see, [N, ...], on the model's device.
        path: file to write.
        metadata: texts to keep in the file, by name, such as those of
            :func:`paco.image_metadata.image_metadata`;
            "paco_version", "torch_version", "dtype", "input_dtype" and "input_shape" (of one
            sample, "3,224,224") are added.
        dtype: torch.bfloat16 to compute in it. Images and logits stay float32. Not for ONNX,
            whose runtime lacks it on CPUs.

    Returns:
        The largest difference of the file's logits from the model's, relative to the largest logit.

    Raises:
        ValueError: for a suffix or a dtype that is none of these, a text of more than 16 MB, and
            weights that are NaN.
        ImportError: if ONNX is asked for and not installed.
        RuntimeError: if the file does not do what the model does, or needs libpaco.
        OSError: if the file cannot be written.
    """
    suffix = Path(path).suffix
    writers = {".pt": _write_torchscript, ".pt2": _write_aoti, ".onnx": _write_onnx}
    if suffix not in writers:
        raise ValueError(f"export_classifier: path must end in {', '.join(writers)}, got {path}")
    if dtype not in (None, torch.bfloat16) or (dtype and suffix == ".onnx"):
        raise ValueError(
            f"export_classifier: dtype must be bfloat16, for .pt and .pt2, or None; got {dtype} "
            f"for {suffix}"
        )
    nan = [name for name, x in model.state_dict().items() if bool(x.isnan().any())]
    if nan:
        raise ValueError(
            f"export_classifier: {len(nan)} tensors of the model hold NaN, as after training that "
            f"diverged: {', '.join(nan[:3])}{', ...' if len(nan) > 3 else ''}"
        )
    other_size = torch.cat([example.flip(0), example])
    batches = [example, other_size, example[:1]]
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            expected = [model(x) for x in batches]
            texts = {
                **(metadata or {}),
                "input_shape": ",".join(map(str, example.shape[1:])),
                "input_dtype": _name_of(example.dtype),
                "dtype": _name_of(dtype or expected[0].dtype),
                **_versions(),
            }
            _require_short(texts)
            exported = _InDtype(model, dtype) if dtype else model
            limit = torch.finfo(dtype or expected[0].dtype).eps ** 0.5
            largest = 0.0
            with whole_file(path) as file:
                # At least two samples: torch.export takes one for a constant.
                writers[suffix](exported, other_size, file, texts)
                written, _ = load(file, example.device)
                for x, y in zip(batches, expected, strict=True):
                    difference = _require_same_logits(written, x, y, limit, Path(path))
                    largest = max(largest, difference)
            if suffix == ".pt":
                _warn_unless_optimized_alike(path, other_size, expected[1], limit)
    finally:
        model.train(was_training)
    return largest


def export_training_step(
    step: TrainingStep,
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Scripts a training step, with its methods ``forward`` and ``predict``, into a file.

    C++ loads it with libpaco linked and finds the centers among the module's parameters, the queue
    among its buffers. The file is read back and must take a step as ``step`` would, which itself is
    left as it is.

    Args:
        step: the training step, saved in the state it is in.
        path: file to write.
        metadata: texts to keep in the file, by name; "paco_version" and "torch_version" are added.

    Raises:
        RuntimeError: if the file does not do what the step does.
    """
    texts = {**(metadata or {}), **_versions()}
    _require_short(texts)
    with _torchscript():
        scripted = torch.jit.script(step)
    with whole_file(path) as file:
        _save_torchscript(scripted, file, texts)
        _require_same_step(step, _load_torchscript(file, step.queue.features.device)[0], path)


def _require_same_logits(
    written: Callable[..., Tensor], images: Tensor, expected: Tensor, limit: float, path: Path
) -> float:
    """The relative difference of a file's logits, or a RuntimeError where it is too large."""
    try:
        difference = _relative_difference(written(images), expected)
    except RuntimeError as error:
        complaint = f"fails: {str(error).strip().splitlines()[-1]}"
    else:
        if difference <= limit:
            return difference
        complaint = f"gives logits that differ from the model's by {difference:g} of the largest"
    raise RuntimeError(
        f"export_classifier: {path} for a batch {list(images.shape)} {complaint}; {_ANY_BATCH}"
    )


def _require_same_step(
    step: TrainingStep, loaded: torch.jit.ScriptModule, path: str | os.PathLike[str]
) -> None:
    weight, queue = step.centers.weight, step.queue.features
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randn(4, n, generator=generator) for n in (queue.size(1),) * 2 + weight.shape[1:]]
    labels = torch.randint(weight.size(0), (4,), generator=generator)
    batch = [*(x.to(queue) for x in rows), labels.to(queue.device)]
    results = []
    for module in (copy.deepcopy(step), loaded):
        loss = module(*batch)
        gradients = torch.autograd.grad(loss, list(module.parameters()))
        results.append([loss, *gradients, *module.buffers(), module.predict(batch[2])])
    for value, expected in zip(*results, strict=True):
        if not torch.allclose(value, expected):
            raise RuntimeError(
                f"export_training_step: a step of {path} gives {value}, and one of the module "
                f"itself {expected}"
            )


class Classifier:
    """A classifier from a file, which takes images of the file's shape and dtype alone.

    Compiled code reads memory as it lies, and tells neither of another layout nor of another shape
    or dtype: the images are checked, and made contiguous.

    Args:
        model: contiguous images to logits.
        texts: those of the file.

    Attributes:
        model: what it was made of; for a .pt file a ``torch.jit.ScriptModule``.
    """

    def __init__(self, model: Callable[..., Tensor], texts: Mapping[str, str]) -> None:
        self.model = model
        self.shape = [int(n) for n in texts["input_shape"].split(",")]
        self.dtype = getattr(torch, texts.get("input_dtype", "float32"))

    def __call__(self, images: Tensor) -> Tensor:
        """Logits [N, C] of images [N, ...], or a ValueError for images that are others."""
        if list(images.shape[1:]) != self.shape or images.dtype != self.dtype:
            raise ValueError(
                f"the classifier takes {_name_of(self.dtype)} images "
                f"[N, {', '.join(map(str, self.shape))}], got {list(images.shape)} of "
                f"{_name_of(images.dtype)}"
            )
        return self.model(images.contiguous())


def load(
    path: str | os.PathLike[str], device: str | torch.device = "cpu"
) -> tuple[Callable[..., Tensor], dict[str, str]]:
    """Reads a file that this module wrote.

    Args:
        path: the file.
        device: where its parameters and buffers go; a .pt2 stays on the device it was compiled
            for, ONNX runs on the CPU.

    Returns:
        A :class:`Classifier`, or a training step as a ``torch.jit.ScriptModule``, and the texts
        kept in the file.

    Raises:
        ValueError: for a .pt or .pt2 file that is damaged, or another kind of file.
    """
    suffix = Path(path).suffix
    if suffix != ".onnx":
        _require_sound(path)
    model: Callable[..., Tensor]
    if suffix == ".pt2":
        package = torch._inductor.aoti_load_package(os.fspath(path))
        model, texts = package, package.get_metadata()
    elif suffix == ".onnx":
        session = _import_onnx("onnxruntime").InferenceSession(
            os.fspath(path), providers=["CPUExecutionProvider"]
        )
        name = session.get_inputs()[0].name
        texts = session.get_modelmeta().custom_metadata_map

        def model(x: Tensor) -> Tensor:
            return torch.from_numpy(session.run(None, {name: x.numpy(force=True)})[0])
    else:
        model, texts = _load_torchscript(path, device)
    return (Classifier(model, texts) if "input_shape" in texts else model), texts


def _require_sound(path: str | os.PathLike[str]) -> None:
    with open(path, "rb") as file:  # or it is missing
        is_archive = zipfile.is_zipfile(file)
    if not is_archive:
        raise ValueError(f"{path} is no file that paco.deploy wrote, or it is cut off")
    if damage := archive_damage(path, LARGEST_TEXT):
        raise ValueError(f"{path} is damaged: {damage}")


def _load_torchscript(
    path: str | os.PathLike[str], device: str | torch.device
) -> tuple[torch.jit.ScriptModule, dict[str, str]]:
    with zipfile.ZipFile(path) as archive:
        names = [name.split("/extra/", 1)[1] for name in archive.namelist() if "/extra/" in name]
    files: dict[str, Any] = dict.fromkeys(names, "")
    with _torchscript():
        module = torch.jit.load(os.fspath(path), map_location=device, _extra_files=files)
    return module, {name: text.decode() for name, text in files.items()}


class _InDtype(nn.Module):
    """A copy of a model that computes in another dtype between float32 images and logits."""

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).to(dtype)
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x.to(self.dtype)).float()


def _write_torchscript(
    model: nn.Module, example: Tensor, path: str | os.PathLike[str], texts: dict[str, str]
) -> None:
    with _torchscript():
        traced = torch.jit.trace(model, example, check_trace=False)
    _require_no_operator_of_ours(str(traced.inlined_graph))
    _save_torchscript(traced, path, texts)


def _write_aoti(
    model: nn.Module, example: Tensor, path: str | os.PathLike[str], texts: dict[str, str]
) -> None:
    # A convolution of fewer than 16 images has branches of its own in PyTorch. The compiler takes
    # the branch of its example for a bound of the batch, and 2 for another, both of which hold for
    # AOTI_RUNTIME_CHECK_INPUTS alone: the code is right for any batch.
    images = example[torch.arange(max(16, len(example))) % len(example)]
    torch._inductor.aoti_compile_and_package(
        _exported_program(model, images),
        package_path=(package := io.BytesIO()),
        inductor_configs={
            "aot_inductor.metadata": texts,
            "aot_inductor.check_lowerbound": False,
            # The threads of the process that loads it, not those of this one.
            "cpp.dynamic_threads": True,
        },
    )
    Path(path).write_bytes(package.getvalue())


def _write_onnx(
    model: nn.Module, example: Tensor, path: str | os.PathLike[str], texts: dict[str, str]
) -> None:
    for package in ("onnx", "onnxscript"):
        _import_onnx(package)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torch's own code
        program = torch.onnx.export(
            _exported_program(model, example),
            input_names=["images"],
            output_names=["logits"],
            verbose=False,
        )
    assert program is not None  # none is only given with fallback
    program.model.metadata_props.update(texts)
    program.save(os.fspath(path))


def _exported_program(model: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    batch = {0: torch.export.Dim("batch", min=1)}
    try:
        program = torch.export.export(model, (example,), dynamic_shapes=(batch,))
    except torch._dynamo.exc.UserError as error:
        if "Constraints violated" not in str(error):
            raise
        raise RuntimeError(f"export_classifier: {_ANY_BATCH}") from error
    _require_no_operator_of_ours(str(program.graph))
    return program


def _require_no_operator_of_ours(graph: str) -> None:
    if "paco::" in graph or "ops.paco." in graph:
        raise RuntimeError(
            "export_classifier: the model needs libpaco to run; ClassCenters.predict, in the "
            "model's forward, does not"
        )


def _import_onnx(package: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(
            f"export to ONNX needs {package}: pip install onnx onnxscript onnxruntime"
        ) from error


def _save_torchscript(
    module: torch.jit.ScriptModule, path: str | os.PathLike[str], texts: Mapping[str, str]
) -> None:
    content = io.BytesIO()
    with _torchscript():
        torch.jit.save(module, content, _extra_files=dict(texts))
    Path(path).write_bytes(content.getvalue())


def _warn_unless_optimized_alike(
    path: str | os.PathLike[str], images: Tensor, expected: Tensor, limit: float
) -> None:
    """Tries what programs do with a TorchScript file: freeze it, and fold BatchNorm away."""
    module, _ = _load_torchscript(path, images.device)
    try:
        with _torchscript():
            difference = _relative_difference(
                torch.jit.optimize_for_inference(module)(images), expected
            )
        if difference <= limit:
            return
        reason = f"its logits would differ by {difference:g} of the largest"
    except Exception as error:  # whatever PyTorch fails with
        reason = str(error).strip().splitlines()[-1]
    warnings.warn(
        f"{path} is right as it is, but PyTorch's optimize_for_inference fails with it ({reason}): "
        "programs must do without, as paco-classify does",
        stacklevel=3,
    )


def _require_short(texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        if (size := len(text.encode())) > LARGEST_TEXT:
            raise ValueError(
                f"the text {name!r} of a file must be of {LARGEST_TEXT} bytes at most, got {size}"
            )


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _versions() -> dict[str, str]:
    return {"paco_version": __version__, "torch_version": torch.__version__}


def _relative_difference(value: Tensor, expected: Tensor) -> float:
    # A class of probability 0 has -inf in both.
    difference = (value.to(expected) - expected).masked_fill(value.to(expected) == expected, 0)
    largest = expected.masked_fill(expected.isneginf(), 0).abs().max()
    return (difference.abs().max() / largest).item()


@contextlib.contextmanager
def _torchscript() -> Iterator[None]:
    if sys.version_info >= (3, 14):
        raise RuntimeError(
            "PyTorch's TorchScript does not run on Python 3.14: export a .pt2 or .onnx file, or "
            "use Python 3.10 to 3.13"
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit")
        yield
