"""Export of a classifier."""

import copy
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .._files import whole_file
from .files import (
    import_onnx,
    load,
    load_torchscript,
    name_of,
    require_short,
    save_aoti,
    save_torchscript,
    torchscript,
    versions,
)

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

    Where the model has a method ``logits_and_features(images)``, which gives both, the file gives
    the features too, to ``paco-classify --features`` for one: .pt by ``forward`` of its submodule
    ``with_features``, the others as a second output.

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
            "paco_version", "torch_version", "dtype", "input_dtype", "input_shape" (of one sample,
            "3,224,224") and "features" (their width) are added.
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
            has_features = hasattr(model, "logits_and_features")
            call: Callable[..., Any] = getattr(model, "logits_and_features", lambda x: (model(x),))
            expected = [call(x) for x in batches]
            result_dtype = expected[0][0].dtype
            texts = {
                **(metadata or {}),
                "input_shape": ",".join(map(str, example.shape[1:])),
                "input_dtype": name_of(example.dtype),
                "dtype": name_of(dtype or result_dtype),
                **({"features": str(expected[0][1].size(1))} if has_features else {}),
                **versions(),
            }
            require_short(texts)
            exported = _InDtype(model, dtype) if dtype else model
            if has_features:
                exported = _Both(exported)
            limit = torch.finfo(dtype or result_dtype).eps ** 0.5
            largest = 0.0
            with whole_file(path) as file:
                # At least two samples: torch.export takes one for a constant.
                writers[suffix](exported, other_size, file, texts)
                written, _ = load(file, example.device)
                read_back = written.logits_and_features if has_features else lambda x: (written(x),)
                for x, y in zip(batches, expected, strict=True):
                    difference = _require_same(read_back, x, y, limit, Path(path))
                    largest = max(largest, difference)
            if suffix == ".pt":
                _warn_unless_optimized_alike(path, other_size, expected[1][0], limit)
    finally:
        model.train(was_training)
    return largest


def _require_same(
    written: Callable[..., tuple[Tensor, ...]],
    images: Tensor,
    expected: tuple[Tensor, ...],
    limit: float,
    path: Path,
) -> float:
    """The relative difference of a file's logits, or a RuntimeError where any is too large."""
    try:
        results = written(images)
        differences = [_relative_difference(*pair) for pair in zip(results, expected, strict=True)]
    except RuntimeError as error:
        complaint = f"fails: {str(error).strip().splitlines()[-1]}"
    else:
        wrong = [i for i, difference in enumerate(differences) if not difference <= limit]
        if not wrong:
            return differences[0]
        complaint = (
            f"gives {('logits', 'features')[wrong[0]]} that differ from the model's by "
            f"{differences[wrong[0]]:g} of the largest"
        )
    raise RuntimeError(
        f"export_classifier: {path} for a batch {list(images.shape)} {complaint}; {_ANY_BATCH}"
    )


class _InDtype(nn.Module):
    """A copy of a model that computes in another dtype between float32 images and logits."""

    model: Any

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).to(dtype)
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x.to(self.dtype)).float()

    def logits_and_features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits, features = self.model.logits_and_features(x.to(self.dtype))
        return logits.float(), features.float()


class _Both(nn.Module):
    """A model's logits and features as its forward, because only that is exported."""

    model: Any

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.model.logits_and_features(x)


class _LogitsOfBoth(nn.Module):
    """A model that C++ calls as one without features, and whose submodule gives both."""

    def __init__(self, with_features: nn.Module) -> None:
        super().__init__()
        self.with_features = with_features

    def forward(self, x: Tensor) -> Tensor:
        return self.with_features(x)[0]


def _write_torchscript(
    model: nn.Module, example: Tensor, path: str | os.PathLike[str], texts: dict[str, str]
) -> None:
    with torchscript():
        traced = torch.jit.trace(model, example, check_trace=False)
        if isinstance(model, _Both):
            # Scripted, because a trace of both would leave out what the logits do not need.
            traced = torch.jit.script(_LogitsOfBoth(traced))
    _require_no_operator_of_ours(str(traced.inlined_graph))
    save_torchscript(traced, path, texts)


def _write_aoti(
    model: nn.Module, example: Tensor, path: str | os.PathLike[str], texts: dict[str, str]
) -> None:
    from torch._inductor import config

    # A convolution of fewer than 16 images has branches of its own in PyTorch. The compiler takes
    # the branch of its example for a bound of the batch, and 2 for another, both of which hold for
    # AOTI_RUNTIME_CHECK_INPUTS alone: the code is right for any batch, which PyTorch 2.8 cannot be
    # told.
    images = example[torch.arange(max(16, len(example))) % len(example)]
    options = {}
    if hasattr(config.aot_inductor, "check_lowerbound"):
        options["aot_inductor.check_lowerbound"] = False
    save_aoti(_exported_program(model, images), path, texts, **options)


def _write_onnx(
    model: nn.Module, example: Tensor, path: str | os.PathLike[str], texts: dict[str, str]
) -> None:
    for package in ("onnx", "onnxscript"):
        import_onnx(package)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torch's own code
        program = torch.onnx.export(
            _exported_program(model, example),
            input_names=["images"],
            output_names=["logits", "features"] if "features" in texts else ["logits"],
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


def _warn_unless_optimized_alike(
    path: str | os.PathLike[str], images: Tensor, expected: Tensor, limit: float
) -> None:
    """Tries what programs do with a TorchScript file: freeze it, and fold BatchNorm away."""
    module, _ = load_torchscript(path, images.device)
    try:
        with torchscript():
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


def _relative_difference(value: Tensor, expected: Tensor) -> float:
    # A class of probability 0 has -inf in both.
    difference = (value.to(expected) - expected).masked_fill(value.to(expected) == expected, 0)
    largest = expected.masked_fill(expected.isneginf(), 0).abs().max()
    return (difference.abs().max() / largest).item()
