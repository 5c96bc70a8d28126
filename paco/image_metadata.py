"""How an image file becomes the input of a classifier, as texts that ``paco-classify`` reads."""

from collections.abc import Sequence

__all__ = ["image_metadata"]

# The ways to resize that paco-classify has, by the library that they are the same as.
_INTERPOLATIONS = {
    "cv2": ("nearest", "bilinear", "bicubic", "area", "lanczos"),
    "pillow": ("bilinear", "bicubic"),
}


def image_metadata(
    classes: Sequence[str],
    *,
    mean: Sequence[float],
    std: Sequence[float],
    channels: str = "RGB",
    resize: int | tuple[int, int] | None = None,
    interpolation: str = "bilinear",
    resize_backend: str = "cv2",
    crop: tuple[int, int] | None = None,
) -> dict[str, str]:
    """How an image file becomes the input of a classifier, as texts for its file.

    The steps are those of every test pipeline: decode to 8 bits a channel, resize, cut out the
    center, then (x - mean) / std.

    Args:
        classes: the names, in the order of the logits.
        mean: one number a channel, of pixels in 0..255.
        std: likewise.
        channels: "RGB", "BGR" or "GRAY".
        resize: the shorter edge, which keeps the proportions, or (height, width).
        interpolation: "bilinear", "bicubic"; for cv2 also "nearest", "area", "lanczos".
        resize_backend: "cv2", which interpolates between the nearest pixels, or "pillow", which
            averages over what a new pixel covers. Training and inference have to use the same.
        crop: (height, width) of the center; an image smaller than that is an error.

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
    if interpolation not in _INTERPOLATIONS.get(resize_backend, ()):
        raise ValueError(
            "image_metadata: resize_backend and interpolation must be of "
            f"{_INTERPOLATIONS}, got {resize_backend!r} and {interpolation!r}"
        )
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
    if crop is not None:
        texts["crop"] = _integers(crop)
    return texts


def _integers(values: Sequence[int]) -> str:
    return ",".join(str(int(n)) for n in values)
