"""How an image file becomes the input of a classifier, as texts that ``paco-classify`` reads."""

import math
from collections.abc import Sequence
from importlib import metadata

__all__ = ["image_metadata"]

# The ways to resize that paco-classify has, by the library that they are the same as.
_INTERPOLATIONS = {
    "cv2": ("nearest", "bilinear", "bicubic", "area", "lanczos"),
    "pillow": ("nearest", "box", "bilinear", "bicubic"),
}
_EDGES = ("short", "long", "width", "height")


def image_metadata(
    classes: Sequence[str],
    *,
    mean: Sequence[float],
    std: Sequence[float],
    channels: str = "RGB",
    ignore_orientation: bool = False,
    resize: int | tuple[int, int] | None = None,
    resize_edge: str = "short",
    keep_ratio: bool = False,
    interpolation: str = "bilinear",
    resize_backend: str = "cv2",
    crop_padding: int | None = None,
    crop: tuple[int, int] | None = None,
    class_counts: Sequence[int] | None = None,
) -> dict[str, str]:
    """How an image file becomes the input of a classifier, as texts for its file.

    The steps are those of every test pipeline: decode to 8 bits a channel, resize, cut out the
    center, then (x - mean) / std.

    Args:
        classes: the names, in the order of the logits.
        mean: one number a channel, of pixels in 0..255.
        std: likewise.
        channels: "RGB", "BGR" or "GRAY".
        ignore_orientation: leave an image as it is stored, not as its camera was held (EXIF).
        resize: one edge, which keeps the proportions, or (height, width).
        resize_edge: which one edge: "short", "long", "width" or "height".
        keep_ratio: keep the proportions within (height, width), or within (width, height) where
            that fits the image better.
        interpolation: "nearest", "bilinear" or "bicubic"; for cv2 also "area" and "lanczos", for
            pillow also "box".
        resize_backend: "cv2", which interpolates between the nearest pixels, or "pillow", which
            averages over what a new pixel covers. Training and inference have to use the same; of
            Pillow that is the installed version, since 13 rounds some pixels otherwise.
        crop_padding: cut a square out of the center before the resize to (size, size), with an edge
            of size / (size + crop_padding) of the image's shorter one, as EfficientNet has it.
        crop: (height, width) of the center; an image smaller than that is an error.
        class_counts: training images of each class, from which ``paco-classify`` knows the classes
            with many, a medium number of and few of them.

    Returns:
        The metadata argument of :func:`paco.deploy.export_classifier`, or a part of it.

    Raises:
        ValueError: for a bad argument.
    """
    bad = [name for name in classes if len(name.splitlines()) != 1 or name.splitlines()[0] != name]
    if not classes or bad:
        raise ValueError(
            "image_metadata: classes must be at least one name, each of one line, got "
            f"{bad[:3] or list(classes)}"
        )
    if channels not in ("RGB", "BGR", "GRAY"):
        raise ValueError(f"image_metadata: channels must be RGB, BGR or GRAY, got {channels!r}")
    for name, values in (("mean", mean), ("std", std)):
        if len(values) != (1 if channels == "GRAY" else 3):
            raise ValueError(
                f"image_metadata: {name} must have one number for each of {channels}, got "
                f"{list(values)}"
            )
    if not all(map(math.isfinite, mean)) or not all(0 < x < math.inf for x in std):
        raise ValueError(
            "image_metadata: mean and std must be finite, and std > 0, got "
            f"{list(mean)} and {list(std)}"
        )
    for name, size in (("resize", resize), ("crop", crop)):
        if size is not None and min(size if isinstance(size, tuple) else (size,)) < 1:
            raise ValueError(f"image_metadata: {name} must be at least 1, got {size!r}")
    if interpolation not in _INTERPOLATIONS.get(resize_backend, ()):
        raise ValueError(
            "image_metadata: resize_backend and interpolation must be of "
            f"{_INTERPOLATIONS}, got {resize_backend!r} and {interpolation!r}"
        )
    if resize_edge not in _EDGES:
        raise ValueError(f"image_metadata: resize_edge must be of {_EDGES}, got {resize_edge!r}")
    if keep_ratio and not isinstance(resize, tuple):
        raise ValueError(f"image_metadata: keep_ratio needs a resize to two edges, got {resize!r}")
    if crop_padding is not None and (
        crop_padding < 0 or not isinstance(resize, tuple) or resize[0] != resize[1]
    ):
        raise ValueError(
            "image_metadata: crop_padding must be at least 0, with a resize to a square, got "
            f"{crop_padding} and resize={resize!r}"
        )
    if class_counts is not None:
        if len(class_counts) != len(classes):
            raise ValueError(
                f"image_metadata: class_counts must have {len(classes)} numbers, one a class, got "
                f"{len(class_counts)}"
            )
        if min(class_counts) < 0:
            raise ValueError(f"image_metadata: class_counts must be >= 0, got {min(class_counts)}")
    texts = {
        "classes": "\n".join(classes),
        "channels": channels,
        # Nine digits tell every float32 from its neighbours.
        "mean": ",".join(f"{x:.9g}" for x in mean),
        "std": ",".join(f"{x:.9g}" for x in std),
    }
    if resize is not None:
        texts["resize"] = _integers(resize if isinstance(resize, tuple) else (resize,))
        texts["interpolation"] = interpolation
        texts["resize_backend"] = resize_backend
        if resize_backend == "pillow" and (major := _pillow_version()):
            texts["pillow"] = major
        if resize_edge != "short":
            texts["resize_edge"] = resize_edge
        if keep_ratio:
            texts["resize_keep_ratio"] = "1"
    if crop_padding is not None:
        texts["crop_padding"] = str(crop_padding)
    if ignore_orientation:
        texts["orientation"] = "ignored"
    if class_counts is not None:
        texts["class_counts"] = _integers(class_counts)
    if crop is not None:
        texts["crop"] = _integers(crop)
    return texts


def _pillow_version() -> str | None:
    """The major one, where there is a Pillow."""
    try:
        return metadata.version("pillow").split(".")[0]
    except metadata.PackageNotFoundError:
        return None


def _integers(values: Sequence[int]) -> str:
    return ",".join(str(int(n)) for n in values)
