"""Segmentors for C++: images to logits of every pixel, of any size, from libtorch alone."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ._files import whole_file
from .deploy.files import load, name_of, save_aoti, save_torchscript, torchscript, versions

__all__ = ["export_segmentor", "image_metadata"]


def export_segmentor(
    model: nn.Module,
    example: Tensor,
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
    size_divisor: int = 32,
    any_size: bool = True,
) -> float:
    """Writes a segmentor to a file, and makes sure that the file works.

    The suffix of ``path`` chooses the format: ``.pt`` is TorchScript, ``.pt2`` is compiled by
    AOTInductor for this machine's processor. Either takes any number of images. It is read back
    and must give the model's logits on ``example`` and on images of another number and of other
    sizes; only then it appears at ``path``.

    Args:
        model: images [N, C_in, H, W] to logits [N, C, H, W], such as
            :class:`paco.mmseg.InferenceSegmentor`. It is exported in evaluation mode; its own mode
            is left as it was.
        example: images as the model will see them, float32, of a height and width that are
            multiples of ``size_divisor``, two of it at least, and that differ for ``any_size``.
        path: file to write.
        metadata: texts to keep in the file, by name, such as those of :func:`image_metadata`,
            whose classes must then be as many as the logits;
            "size_divisor", "input_size" ("any", or "512,1024"), "input_channels", "paco_version"
            and "torch_version" are added.
        size_divisor: heights and widths that the file takes are multiples of it, two of it at
            least. A .pt of a network that computes with no size in Python takes every size that
            the network takes; its text "size_divisor" is "1" then.
        any_size: whether the file takes images of other sizes than the example's. Some networks
            cannot be exported so.

    Returns:
        The largest difference of the file's logits from the model's, relative to the largest logit.

    Raises:
        ValueError: for a bad argument, and for a model whose logits are not finite, not of the
            images' size, or not as many as the classes.
        RuntimeError: if the file does not do what the model does.
        OSError: if the file cannot be written.
    """
    suffix = Path(path).suffix
    if suffix not in (".pt", ".pt2"):
        raise ValueError(f"export_segmentor: path must end in .pt or .pt2, got {path}")
    if size_divisor < 1:
        raise ValueError(f"export_segmentor: size_divisor must be at least 1, got {size_divisor}")
    if (
        example.dim() != 4
        or example.size(0) == 0
        or any(n % size_divisor or n < 2 * size_divisor for n in example.shape[2:])
        or (any_size and example.size(2) == example.size(3))
        or example.dtype != torch.float32
    ):
        raise ValueError(
            "export_segmentor: example must be float32 [N, C, H, W] with H and W multiples of "
            f"{size_divisor}, at least {2 * size_divisor}, and different for any_size, got "
            f"{name_of(example.dtype)} {list(example.shape)}"
        )
    images = torch.cat([example, example.flip(0)])  # torch.export takes one image for a constant
    others = [example[:1]]
    if any_size:
        h, w = (n + 3 * size_divisor for n in example.shape[2:])
        sizes = [(w, h), (2 * size_divisor, 5 * size_divisor)]
        sizes += [(7 * size_divisor, 14 * size_divisor)]  # at which windows of 7 need no padding
        others += [nn.functional.interpolate(example, size=size) for size in sizes]
    texts = {
        **(metadata or {}),
        "size_divisor": str(size_divisor),
        "input_size": "any" if any_size else ",".join(map(str, example.shape[2:])),
        "input_channels": str(example.size(1)),
        **versions(),
    }
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), whole_file(path) as file:
            _require_logits(model(images), images, metadata)
            if suffix == ".pt":
                with torchscript():
                    traced = torch.jit.trace(model, images, check_trace=False)
                if any_size and _takes_odd_sizes(traced, model, example, size_divisor):
                    texts["size_divisor"] = "1"
                save_torchscript(traced, file, texts)
            else:
                program = _exported_program(model, images, size_divisor if any_size else None)
                save_aoti(program, file, texts)
            written, _ = load(file, example.device)
            return max(_difference(written, model, x, path) for x in [images, *others])
    finally:
        model.train(was_training)


def _takes_odd_sizes(
    traced: torch.jit.ScriptModule, model: nn.Module, example: Tensor, size_divisor: int
) -> bool:
    """Whether sizes that are no multiples are right too: tracing keeps paddings as they were."""
    for size in ((3 * size_divisor + 5, 2 * size_divisor + 9), (2 * size_divisor + 1,) * 2):
        images = nn.functional.interpolate(example, size=size)
        expected = model(images)
        try:
            if not torch.allclose(traced(images), expected, rtol=1e-4, atol=1e-5):
                return False
        except RuntimeError:
            return False
    return True


def _exported_program(
    model: nn.Module, images: Tensor, size_divisor: int | None
) -> torch.export.ExportedProgram:
    """For any number of images, and of any size that is a multiple of ``size_divisor`` if given."""
    sizes = {0: torch.export.Dim("batch", min=1)}
    if size_divisor is not None:
        # torch.export takes what holds of its example's sizes for a rule: where one has a window of
        # attention alone, all pixels would be of one window. Of this one no two numbers agree, and
        # nothing is computed on it.
        images = images.new_zeros(3, images.size(1), 17 * size_divisor, 31 * size_divisor)
        for dim, name in ((2, "height"), (3, "width")):
            sizes[dim] = size_divisor * torch.export.Dim(name, min=2)
    try:
        program = torch.export.export(model, (images,), dynamic_shapes=(sizes,))
    except Exception as error:  # whatever torch.export fails with
        if size_divisor is None:
            raise
        raise RuntimeError(f"export_segmentor: {_NOT_ANY_SIZE} ({error})") from error
    if size_divisor is not None:
        # AOTInductor's own takes the example's height and width for constants.
        pool = torch.ops.aten.adaptive_avg_pool2d.default
        program = program.run_decompositions({pool: _adaptive_avg_pool2d})
    return program


def _adaptive_avg_pool2d(images: Tensor, output_size: Sequence[int]) -> Tensor:
    """Means of windows as two products, whose heights and widths may be symbols."""
    rows, columns = (
        _windows(size, count, images)
        for size, count in zip(images.shape[-2:], output_size, strict=True)
    )
    return rows @ images @ columns.t()


def _windows(size: int, count: int, images: Tensor) -> Tensor:
    """[count, size]: what an adaptive window weighs each pixel with; windows may overlap."""
    pixel = torch.arange(size, device=images.device)
    window = torch.arange(count, device=images.device)[:, None]
    begin, end = window * size // count, ((window + 1) * size + count - 1) // count
    return ((pixel >= begin) & (pixel < end)).to(images.dtype) / (end - begin)


_NOT_ANY_SIZE = (
    "the model cannot be exported for images of any size; any_size=False exports it for the "
    "example's size alone"
)


def _require_logits(logits: Tensor, images: Tensor, metadata: Mapping[str, str] | None) -> None:
    if logits.dim() != 4 or logits.shape[2:] != images.shape[2:]:
        raise ValueError(
            f"export_segmentor: model must give logits of the images' size {list(images.shape[2:])}"
            f", got {list(logits.shape)}"
        )
    if not logits.isfinite().all():
        raise ValueError(
            "export_segmentor: model must give finite logits, got NaN or infinite ones, as after "
            "training that diverged"
        )
    if metadata and "classes" in metadata:
        names = metadata["classes"].split("\n")
        if len(names) != logits.size(1):
            raise ValueError(
                f"export_segmentor: metadata must name the {logits.size(1)} classes of the model's "
                f"logits, got {len(names)} names"
            )


def _difference(
    written: Callable[..., Tensor], model: nn.Module, images: Tensor, path: str | os.PathLike[str]
) -> float:
    expected = model(images)
    try:
        difference = (written(images) - expected).abs().max() / expected.abs().max()
    except RuntimeError as error:
        raise RuntimeError(
            f"export_segmentor: {path} fails for images {list(images.shape)}: {_NOT_ANY_SIZE} "
            f"({str(error).strip().splitlines()[-1]})"
        ) from error
    if not difference <= torch.finfo(torch.float32).eps ** 0.5:
        raise RuntimeError(
            f"export_segmentor: the logits of {path} for images {list(images.shape)} differ from "
            f"the model's by {difference.item():g} of the largest: {_NOT_ANY_SIZE}"
        )
    return difference.item()


def image_metadata(
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    *,
    mean: Sequence[float],
    std: Sequence[float],
    channels: str = "RGB",
) -> dict[str, str]:
    """How an image becomes the input of a segmentor, and labels a mask, as texts for its file.

    Args:
        classes: the names, in the order of the logits.
        palette: a colour of each class, red, green and blue in 0..255.
        mean: one number a channel, of pixels in 0..255.
        std: likewise.
        channels: "RGB" or "BGR".

    Raises:
        ValueError: for an argument that is none of these, or lengths that differ.
    """
    if len(palette) != len(classes) or any(
        len(colour) != 3 or not all(0 <= x <= 255 for x in colour) for colour in palette
    ):
        raise ValueError(
            f"image_metadata: palette must have three numbers in 0..255 for each of {len(classes)} "
            f"classes, got {palette}"
        )
    if (
        len(mean) != 3
        or len(std) != 3
        or not all(map(math.isfinite, mean))
        or not all(0 < x < math.inf for x in std)
    ):
        raise ValueError(
            "image_metadata: mean and std must have three finite numbers, std > 0, got "
            f"{mean} and {std}"
        )
    if channels not in ("RGB", "BGR"):
        raise ValueError(f"image_metadata: channels must be RGB or BGR, got {channels}")
    if any("\n" in name for name in classes):
        raise ValueError("image_metadata: classes must have no line break in their names")
    return {
        "classes": "\n".join(classes),
        "palette": "\n".join(",".join(str(int(x)) for x in colour) for colour in palette),
        "mean": ",".join(repr(float(x)) for x in mean),
        "std": ",".join(repr(float(x)) for x in std),
        "channels": channels,
    }
