"""Files of exported modules: how they are read, and the texts in them."""

import contextlib
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
from torch import Tensor

from .._files import archive_damage
from .._library import __version__

LARGEST_TEXT = 16 << 20  # bytes; paco-classify refuses larger ones


class Classifier:
    """A classifier from a file, which takes images of the file's shape and dtype alone.

    Compiled code reads memory as it lies, and tells neither of another layout nor of another shape
    or dtype: the images are checked, and made contiguous.

    Args:
        model: contiguous images to logits, or to logits and features.
        texts: those of the file.

    Attributes:
        model: what it was made of; for a .pt file a ``torch.jit.ScriptModule``.
        has_features: whether the file gives pooled features; those of libpaco 0.2.0 do not.
    """

    def __init__(self, model: Callable[..., Any], texts: Mapping[str, str]) -> None:
        self.model = model
        self.has_features = "features" in texts
        self.shape = [int(n) for n in texts["input_shape"].split(",")]
        self.dtype = getattr(torch, texts.get("input_dtype", "float32"))

    def __call__(self, images: Tensor) -> Tensor:
        """Logits [N, C] of images [N, ...], or a ValueError for images that are others."""
        result = self.model(self._checked(images))
        return result if isinstance(result, Tensor) else result[0]

    def logits_and_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [N, C] and pooled features [N, F], or a ValueError where the file has none."""
        if not self.has_features:
            raise ValueError(
                "the classifier's file has no pooled features, as no file of libpaco 0.2.0 has: "
                "export it again"
            )
        model = getattr(self.model, "with_features", self.model)
        logits, features = model(self._checked(images))
        return logits, features

    def _checked(self, images: Tensor) -> Tensor:
        if list(images.shape[1:]) != self.shape or images.dtype != self.dtype:
            raise ValueError(
                f"the classifier takes {name_of(self.dtype)} images "
                f"[N, {', '.join(map(str, self.shape))}], got {list(images.shape)} of "
                f"{name_of(images.dtype)}"
            )
        return images.contiguous()


class Segmentor:
    """A segmentor from a file, which takes images of the file's channels and sizes alone.

    At any other size the file's code gives logits too, and wrong ones.

    Args:
        model: contiguous images to logits.
        texts: those of the file.

    Attributes:
        model: what it was made of; for a .pt file a ``torch.jit.ScriptModule``.
        size: [H, W], if the file takes no other, else None.
        size_divisor: otherwise heights and widths are multiples of it, two of it at least.
    """

    def __init__(self, model: Callable[..., Any], texts: Mapping[str, str]) -> None:
        self.model = model
        self.channels = int(texts["input_channels"])
        size = texts["input_size"]
        self.size = None if size == "any" else [int(n) for n in size.split(",")]
        self.size_divisor = int(texts["size_divisor"])

    def __call__(self, images: Tensor) -> Tensor:
        """Logits [N, C, H, W] of images [N, C_in, H, W], or a ValueError if they do not fit."""
        if self.size is not None:
            height, width = map(str, self.size)
            fits = list(images.shape[2:]) == self.size
        else:
            multiple = f"a multiple of {self.size_divisor}, " if self.size_divisor > 1 else ""
            height = width = f"{multiple}at least {2 * self.size_divisor}"
            fits = all(
                n % self.size_divisor == 0 and n >= 2 * self.size_divisor for n in images.shape[2:]
            )
        if (
            images.dim() != 4
            or images.size(1) != self.channels
            or not fits
            or images.dtype != torch.float32
        ):
            raise ValueError(
                f"the segmentor takes float32 images [N, {self.channels}, H, W] with H {height} "
                f"and W {width}, got {list(images.shape)} of {name_of(images.dtype)}"
            )
        return self.model(images.contiguous())


def load(
    path: str | os.PathLike[str], device: str | torch.device = "cpu"
) -> tuple[Any, dict[str, str]]:
    """Reads a file that this module wrote.

    Args:
        path: the file.
        device: where its parameters and buffers go; a .pt2 stays on the device it was compiled
            for, ONNX runs on the CPU.

    Returns:
        A :class:`Classifier`, a :class:`Segmentor`, or a training step as a
        ``torch.jit.ScriptModule``, and the texts kept in the file.

    Raises:
        ValueError: for a .pt or .pt2 file that is damaged, or another kind of file.
    """
    suffix = Path(path).suffix
    if suffix != ".onnx":
        _require_sound(path)
    model: Callable[..., Any]
    if suffix == ".pt2":
        package = torch._inductor.aoti_load_package(os.fspath(path))
        model, texts = package, package.get_metadata()
    elif suffix == ".onnx":
        session = import_onnx("onnxruntime").InferenceSession(
            os.fspath(path), providers=["CPUExecutionProvider"]
        )
        images = session.get_inputs()[0].name
        texts = session.get_modelmeta().custom_metadata_map

        def model(x: Tensor) -> tuple[Tensor, ...]:
            return tuple(map(torch.from_numpy, session.run(None, {images: x.numpy(force=True)})))
    else:
        model, texts = load_torchscript(path, device)
    if "input_shape" in texts:
        return Classifier(model, texts), texts
    if "size_divisor" in texts:
        return Segmentor(model, texts), texts
    return model, texts


def _require_sound(path: str | os.PathLike[str]) -> None:
    with open(path, "rb") as file:  # or it is missing
        is_archive = zipfile.is_zipfile(file)
    if not is_archive:
        raise ValueError(f"{path} is no file that paco.deploy wrote, or it is cut off")
    if damage := archive_damage(path, LARGEST_TEXT):
        raise ValueError(f"{path} is damaged: {damage}")


def load_torchscript(
    path: str | os.PathLike[str], device: str | torch.device
) -> tuple[torch.jit.ScriptModule, dict[str, str]]:
    with zipfile.ZipFile(path) as archive:
        names = [name.split("/extra/", 1)[1] for name in archive.namelist() if "/extra/" in name]
    files: dict[str, Any] = dict.fromkeys(names, "")
    with torchscript():
        module = torch.jit.load(os.fspath(path), map_location=device, _extra_files=files)
    return module, {name: text.decode() for name, text in files.items()}


def save_torchscript(
    module: torch.jit.ScriptModule, path: str | os.PathLike[str], texts: Mapping[str, str]
) -> None:
    content = io.BytesIO()
    with torchscript():
        torch.jit.save(module, content, _extra_files=dict(texts))
    Path(path).write_bytes(content.getvalue())


def save_aoti(
    program: torch.export.ExportedProgram,
    path: str | os.PathLike[str],
    texts: Mapping[str, str],
    **options: object,
) -> None:
    """Compiles a program for this machine's processor; ``options`` are further ones of Inductor."""
    content = io.BytesIO()
    torch._inductor.aoti_compile_and_package(
        program,
        package_path=content,
        inductor_configs={
            "aot_inductor.metadata": dict(texts),
            # The threads of the process that loads it, not those of this one.
            "cpp.dynamic_threads": True,
            **options,
        },
    )
    Path(path).write_bytes(content.getvalue())


def import_onnx(package: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(
            f"export to ONNX needs {package}: pip install onnx onnxscript onnxruntime"
        ) from error


def require_short(texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        if (size := len(text.encode())) > LARGEST_TEXT:
            raise ValueError(
                f"the text {name!r} of a file must be of {LARGEST_TEXT} bytes at most, got {size}"
            )


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def versions() -> dict[str, str]:
    return {"paco_version": __version__, "torch_version": torch.__version__}


@contextlib.contextmanager
def torchscript() -> Iterator[None]:
    if sys.version_info >= (3, 14):
        raise RuntimeError(
            "PyTorch's TorchScript does not run on Python 3.14: export a .pt2 or .onnx file, or "
            "use Python 3.10 to 3.13"
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit")
        yield
