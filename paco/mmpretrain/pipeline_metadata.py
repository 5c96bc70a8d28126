"""A config's test pipeline as texts for the file of an exported classifier."""

from collections.abc import Mapping, Sequence

from mmpretrain.models import ImageClassifier
from mmpretrain.models.utils import ClsDataPreprocessor

from paco.image_metadata import image_metadata as texts_of

from . import compat

__all__ = ["image_metadata"]

# The settings of each transform that are understood; one with a value here must have that value.
_UNDERSTOOD = {
    "LoadImageFromFile": dict(
        color_type=None, imdecode_backend="cv2", to_float32=False, ignore_empty=False
    ),
    "ResizeEdge": dict(scale=None, edge=None, backend=None, interpolation=None),
    "Resize": dict(scale=None, keep_ratio=None, backend=None, interpolation=None),
    "EfficientNetCenterCrop": dict(
        crop_size=None, crop_padding=None, backend=None, interpolation=None
    ),
    "CenterCrop": dict(crop_size=None, auto_pad=False),
}


def image_metadata(pipeline: Sequence[Mapping], model: ImageClassifier) -> dict[str, str]:
    """:func:`paco.image_metadata.image_metadata` of a test pipeline and a model's preprocessor.

    A pipeline without a ``LoadImageFromFile`` gets its images from the data set. Those of the
    toolbox's data sets are RGB, or grey where the mean is one number.

    Args:
        pipeline: The transforms of ``test_dataloader.dataset``: at most ``LoadImageFromFile``,
            one of ``ResizeEdge``, ``Resize`` and ``EfficientNetCenterCrop``, ``CenterCrop`` and
            ``PackInputs``, in this order.
        model: The classifier; class names and counts come from its checkpoint.

    Raises:
        ValueError: For a pipeline or a preprocessor that does more, which names what it is.
    """
    pixels = model.data_preprocessor
    if not isinstance(pixels, ClsDataPreprocessor) or pixels.pad_size_divisor > 1:
        raise _unknown(f"its {type(pixels).__name__}, which pads or is none for classification")
    if not compat.normalises(pixels):
        raise _unknown("a data preprocessor without mean and std")
    mean, std = (x.flatten().tolist() for x in (pixels.mean, pixels.std))
    steps = dict(_settings(step) for step in pipeline if _name(step) != "PackInputs")
    order = [name for name in _UNDERSTOOD if name in steps]
    if list(steps) != order or len(steps) < sum(_name(s) != "PackInputs" for s in pipeline):
        raise _unknown(f"the steps {', '.join(map(_name, pipeline))} in this order")
    resizes = steps.keys() & {"ResizeEdge", "Resize", "EfficientNetCenterCrop"}
    if len(resizes) > 1:
        raise _unknown("two steps that resize")

    load = steps.get("LoadImageFromFile")
    color_type = load.get("color_type", "color") if load else None
    color, _, ignore_orientation = (color_type or "").partition("_")
    if color not in ("", "color", "grayscale"):
        raise _unknown(f"LoadImageFromFile with color_type={color_type!r}")
    if color == "grayscale" or (load is None and len(mean) == 1):
        channels = "GRAY"
    else:
        # Files are read as BGR; to_rgb exchanges the first channel and the last, whatever they are.
        channels = "BGR" if (load is not None) != pixels.to_rgb else "RGB"

    texts = dict(ignore_orientation=bool(ignore_orientation))
    if resizes:
        (name,) = resizes
        texts.update(_resize(name, steps[name]))
    if crop := steps.get("CenterCrop"):
        size = crop["crop_size"]
        texts["crop"] = (size, size) if isinstance(size, int) else (size[1], size[0])
    if not (classes := compat.class_names(model)):
        raise _unknown("a checkpoint without class names")
    texts["class_counts"] = compat.class_counts(model)
    return texts_of(classes, mean=mean, std=std, channels=channels, **texts)


def _resize(name: str, settings: Mapping) -> dict:
    """A transform that resizes as arguments of :func:`paco.image_metadata.image_metadata`."""
    backend = settings.get("backend", "cv2")
    if name == "EfficientNetCenterCrop":
        size = settings["crop_size"]
        return dict(
            resize=(size, size),
            crop_padding=settings.get("crop_padding", 32),
            resize_backend=backend,
            interpolation=settings.get("interpolation", "bicubic"),
        )
    scale = settings["scale"]
    if name == "Resize":
        scale = (scale, scale) if isinstance(scale, int) else (scale[1], scale[0])
        if min(scale) < 1:
            raise _unknown(f"Resize with scale={settings['scale']!r}")
    return dict(
        resize=scale,
        resize_edge=settings.get("edge", "short"),
        keep_ratio=settings.get("keep_ratio", False),
        resize_backend=backend,
        interpolation=settings.get("interpolation", "bilinear"),
    )


def _name(step: Mapping) -> str:
    """A transform's name without its scope: 'mmpretrain.CenterCrop' and the class are the same."""
    kind = step["type"]
    return (kind if isinstance(kind, str) else kind.__name__).rsplit(".", 1)[-1]


def _settings(step: Mapping) -> tuple[str, dict]:
    name = _name(step)
    if name not in _UNDERSTOOD:
        raise _unknown(f"the step {name}")
    settings = {key: value for key, value in step.items() if key != "type"}
    for key, value in settings.items():
        if key not in _UNDERSTOOD[name] or _UNDERSTOOD[name][key] not in (None, value):
            raise _unknown(f"{name} with {key}={value!r}")
    return name, settings


def _unknown(what: str) -> ValueError:
    return ValueError(f"paco-classify cannot do what the test pipeline does: {what}")
