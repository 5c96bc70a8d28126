"""The toolbox's image transforms for whole batches, on the device that the images are on.

A transform is read from the object that the toolbox builds, so a config says once what is drawn.
Random numbers come from torch's CPU generator, whatever the device: a seed gives the same draws
everywhere. Every image has draws of its own.

Results are bytes after each transform, as the toolbox's are. Beyond rounding and interpolation they
differ where it takes RGB for BGR (the grey of ``ColorTransform`` and ``Contrast``), and where its
``Rotate`` fills the corners of the first channel alone.
"""

import functools
import math
from collections.abc import Callable

import torch
from mmcv.transforms import Compose, RandomApply, RandomChoice, RandomFlip
from mmpretrain.datasets.transforms import NumpyToPIL, PILToNumpy, RandomCrop
from mmpretrain.datasets.transforms import auto_augment as ops
from mmpretrain.datasets.transforms.processing import TorchVisonTransformWrapper
from torch import Tensor
from torch.nn import functional as F
from torchvision import transforms as vision
from torchvision.transforms.v2 import functional as vision_functional

__all__ = ["transform_batch"]


def transform_batch(transform: object, images: Tensor) -> Tensor:
    """The images, each transformed with draws of its own.

    Args:
        transform: A transform or a ``Compose`` that the toolbox has built.
        images: uint8 [N, 3, H, W], left as they are.

    Returns:
        uint8 [N, 3, H', W'] on the same device.

    Raises:
        TypeError: if there is no batched form of a transform.
    """
    return _apply(transform, images.clone())


@functools.singledispatch
def _apply(transform: object, images: Tensor) -> Tensor:
    """transform_batch, which may write to ``images``."""
    raise TypeError(f"transform_batch: there is no batched form of {transform!r}")


@_apply.register
def _(compose: Compose, images: Tensor) -> Tensor:
    for transform in compose:
        images = _apply(transform, images)
    return images


@_apply.register(NumpyToPIL)
@_apply.register(PILToNumpy)
def _(transform: object, images: Tensor) -> Tensor:
    return images


@_apply.register
def _(wrapper: TorchVisonTransformWrapper, images: Tensor) -> Tensor:
    return _apply(wrapper.t, images)


# ---- Which images --------------------------------------------------------------------------------


def _draw(images: Tensor, prob: float) -> Tensor:
    """Indices of images, each with this probability."""
    return (torch.rand(len(images)) < prob).nonzero().squeeze(1)


def _change(images: Tensor, index: Tensor, change: Callable[[Tensor], Tensor]) -> None:
    """Puts change(images[index]) in the place of images[index]."""
    if len(index):
        index = index.to(images.device)
        images[index] = change(images[index])


@_apply.register
def _(transform: RandomApply, images: Tensor) -> Tensor:
    chosen = _draw(images, transform.prob)
    _change(images, chosen, lambda x: _apply(transform.transforms, x))
    return images


@_apply.register
def _(transform: RandomChoice, images: Tensor) -> Tensor:
    weights = torch.tensor(transform.prob or [1.0] * len(transform.transforms))
    choice = torch.multinomial(weights, len(images), replacement=True)
    for i, pipeline in enumerate(transform.transforms):
        chosen = (choice == i).nonzero().squeeze(1)
        _change(images, chosen, lambda x, pipeline=pipeline: _apply(pipeline, x))
    return images


# ---- Where the pixels come from ------------------------------------------------------------------


@_apply.register
def _(transform: RandomCrop, images: Tensor) -> Tensor:
    if transform.pad_if_needed or transform.padding_mode != "constant":
        raise TypeError(f"transform_batch: only constant padding has a batched form: {transform!r}")
    pad = transform.padding or 0
    padded = F.pad(images, [pad] * 4, value=transform.pad_val).permute(0, 2, 3, 1)
    height, width = transform.crop_size
    top = torch.randint(padded.size(1) - height + 1, (len(images), 1))
    left = torch.randint(padded.size(2) - width + 1, (len(images), 1))
    rows = (top + torch.arange(height)).to(images.device)
    columns = (left + torch.arange(width)).to(images.device)
    each = torch.arange(len(images), device=images.device)
    crops = padded[each[:, None, None], rows[:, :, None], columns[:, None, :]]
    return crops.permute(0, 3, 1, 2).contiguous()


@_apply.register
def _(transform: RandomFlip, images: Tensor) -> Tensor:
    if transform.direction != "horizontal":
        raise TypeError(f"transform_batch: only horizontal flips have a batched form: {transform}")
    _change(images, _draw(images, transform.prob), lambda x: x.flip(-1))
    return images


@_apply.register
def _(transform: vision.RandomHorizontalFlip, images: Tensor) -> Tensor:
    _change(images, _draw(images, transform.p), lambda x: x.flip(-1))
    return images


@_apply.register
def _(transform: vision.RandomResizedCrop, images: Tensor) -> Tensor:
    count, (height, width) = len(images), images.shape[-2:]
    # As torchvision draws: the first of ten rectangles that fits, else as much as the ratios allow.
    area = height * width * torch.empty(count, 10).uniform_(*transform.scale)
    ratio = torch.empty(count, 10).uniform_(*map(math.log, transform.ratio)).exp()
    widths, heights = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    first = fits.int().argmax(1, keepdim=True)
    whole = min(max(width / height, transform.ratio[0]), transform.ratio[1])
    crop_w = torch.where(
        fits.any(1), widths.gather(1, first).squeeze(1), min(width, round(height * whole))
    )
    crop_h = torch.where(
        fits.any(1), heights.gather(1, first).squeeze(1), min(height, round(width / whole))
    )
    # Only the crop is resampled: nothing comes in from beyond its border.
    out_h, out_w = transform.size

    def places(crop: Tensor, size: int, out: int) -> Tensor:
        begin = (torch.rand(count) * (size - crop + 1)).floor()
        inside = (torch.arange(out) + 0.5) * (crop / out)[:, None] - 0.5
        return begin[:, None] + inside.clamp(min=0).minimum(crop[:, None] - 1)

    # Joined on the device: each pixel's place takes out_w times the memory of these.
    y = places(crop_h, height, out_h).to(images.device)
    x = places(crop_w, width, out_w).to(images.device)
    pixels = torch.stack(
        [x[:, None, :].expand(-1, out_h, -1), y[:, :, None].expand(-1, -1, out_w)], -1
    )
    return _sample(images, pixels, "bilinear", fill=0)


def _sample(images: Tensor, pixels: Tensor, mode: str, fill: float) -> Tensor:
    """The images at places (x, y) of [N or 1, H', W', 2], ``fill`` outside."""
    size = torch.tensor([images.size(3), images.size(2)], device=images.device)
    grid = ((2 * pixels + 1) / size - 1).expand(len(images), -1, -1, -1)
    values = F.grid_sample(images.float() - fill, grid, mode, "zeros", align_corners=False)
    return _to_bytes(values + fill)


def _warp(images: Tensor, forward: list[list[float]], mode: str, fill: float) -> Tensor:
    """The images under an affine map of pixels, given as the rows of [x', y'] = A [x, y, 1]."""
    height, width = images.shape[-2:]
    backward = torch.tensor([*forward, [0.0, 0.0, 1.0]]).inverse()
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)], -1).float() @ backward[:2].T
    return _sample(images, pixels[None].to(images.device), mode, fill)


# ---- Colours -------------------------------------------------------------------------------------


def _to_bytes(values: Tensor) -> Tensor:
    return values.round_().clamp_(0, 255).to(torch.uint8)


def _grey(images: Tensor) -> Tensor:
    weights = torch.tensor([0.299, 0.587, 0.114]).to(images.device)
    return (images.float() * weights[:, None, None]).sum(1, keepdim=True).round()


def _mean_grey(images: Tensor) -> Tensor:
    return _grey(images).mean((2, 3), keepdim=True).round()


def _blend(images: Tensor, other: Tensor | float, factor: Tensor | float) -> Tensor:
    """``factor`` of the images and the rest of ``other``."""
    return _to_bytes(images.float() * factor + other * (1 - factor))


def _shift_hue(images: Tensor, shift: Tensor) -> Tensor:
    """Colours turned by ``shift`` [N, 1, 1, 1] of a circle, at the same saturation and value."""
    value, strongest = images.float().max(1, keepdim=True)
    chroma = value - images.float().amin(1, keepdim=True)
    r, g, b = images.float().split(1, 1)
    sectors = torch.cat([g - b, b - r, r - g], 1).gather(1, strongest) / chroma.clamp(min=1)
    hue = sectors + 2 * strongest + 6 * shift
    place = (torch.tensor([5.0, 3.0, 1.0]).to(images.device)[:, None, None] + hue).remainder(6)
    return _to_bytes(value - chroma * torch.minimum(place, 4 - place).clamp(0, 1))


@_apply.register
def _(transform: vision.ColorJitter, images: Tensor) -> Tensor:
    changes = [
        (transform.brightness, lambda x, factor: _blend(x, 0.0, factor)),
        (transform.contrast, lambda x, factor: _blend(x, _mean_grey(x), factor)),
        (transform.saturation, lambda x, factor: _blend(x, _grey(x), factor)),
        (transform.hue, _shift_hue),
    ]
    order = torch.rand(len(images), len(changes)).argsort(1)
    for turn in range(len(changes)):
        for i, (bounds, change) in enumerate(changes):
            if bounds is None:
                continue
            chosen = (order[:, turn] == i).nonzero().squeeze(1)
            factor = torch.empty(len(chosen), 1, 1, 1).uniform_(*bounds).to(images.device)
            _change(images, chosen, lambda x, f=factor, change=change: change(x, f))
    return images


@_apply.register
def _(transform: vision.RandomGrayscale, images: Tensor) -> Tensor:
    chosen = _draw(images, transform.p)
    _change(images, chosen, lambda x: _grey(x).to(torch.uint8).expand_as(x))
    return images


@_apply.register
def _(transform: ops.GaussianBlur, images: Tensor) -> Tensor:
    chosen = _draw(images, transform.prob)
    if transform.radius is None:
        if transform.magnitude_std != "inf":
            raise TypeError(
                f"transform_batch: only magnitude_std='inf' has a batched form: {transform!r}"
            )
        low, high = transform.magnitude_range
    else:
        low = high = transform.radius
    sigma = torch.empty(len(chosen), 1).uniform_(low, high)
    reach = math.ceil(3 * high)
    weights = torch.softmax(-(torch.arange(-reach, reach + 1) ** 2) / (2 * sigma**2), 1)
    weights = weights.to(images.device)

    def blur(x: Tensor, dim: int) -> Tensor:
        pad = [reach, reach, 0, 0] if dim == 3 else [0, 0, reach, reach]
        padded = F.pad(x, pad, mode="replicate")
        shifted = (padded.narrow(dim, i, x.size(dim)) for i in range(2 * reach + 1))
        return sum(w[:, None, None, None] * s for w, s in zip(weights.T, shifted, strict=True))

    _change(images, chosen, lambda x: _to_bytes(blur(blur(x.float(), 3), 2)))
    return images


@_apply.register
def _(transform: ops.Cutout, images: Tensor) -> Tensor:
    size = (transform.shape,) * 2 if isinstance(transform.shape, int) else transform.shape
    chosen = _draw(images, transform.prob)

    def inside(extent: int, cut: int) -> Tensor:
        begin = (extent * torch.rand(len(chosen), 1) - cut / 2).clamp(min=0).floor()
        place = torch.arange(extent)
        return ((place >= begin) & (place < begin + cut)).to(images.device)

    rows, columns = (inside(images.size(2 + i), cut) for i, cut in enumerate(size))
    hole = (rows[:, :, None] & columns[:, None, :])[:, None]
    _change(images, chosen, lambda x: x.masked_fill(hole, transform.pad_val))
    return images


# ---- The operations of AutoAugment, each of one magnitude and either sign ------------------------


@_apply.register
def _(transform: ops.BaseAugTransform, images: Tensor) -> Tensor:
    chosen = _draw(images, transform.prob)
    negative = torch.rand(len(chosen)) < transform.random_negative_prob
    for sign, part in ((1, chosen[~negative]), (-1, chosen[negative])):
        _change(images, part, lambda x, sign=sign: _operate(transform, x, sign))
    return images


@functools.singledispatch
def _operate(transform: object, images: Tensor, sign: int) -> Tensor:
    raise TypeError(f"transform_batch: there is no batched form of {transform!r}")


@_operate.register
def _(transform: ops.Shear, images: Tensor, sign: int) -> Tensor:
    slope = sign * transform.magnitude
    horizontal = transform.direction == "horizontal"
    forward = [[1, slope, 0], [0, 1, 0]] if horizontal else [[1, 0, 0], [slope, 1, 0]]
    return _warp(images, forward, transform.interpolation, transform.pad_val)


@_operate.register
def _(transform: ops.Translate, images: Tensor, sign: int) -> Tensor:
    height, width = images.shape[-2:]
    x, y = (width, 0) if transform.direction == "horizontal" else (0, height)
    by = sign * transform.magnitude
    return _warp(
        images, [[1, 0, by * x], [0, 1, by * y]], transform.interpolation, transform.pad_val
    )


@_operate.register
def _(transform: ops.Rotate, images: Tensor, sign: int) -> Tensor:
    angle = math.radians(sign * transform.angle)
    cos, sin = math.cos(angle), math.sin(angle)
    x, y = (images.size(3) - 1) / 2, (images.size(2) - 1) / 2
    forward = [[cos, -sin, x - cos * x + sin * y], [sin, cos, y - sin * x - cos * y]]
    return _warp(images, forward, transform.interpolation, transform.pad_val)


@_operate.register
def _(transform: ops.AutoContrast, images: Tensor, sign: int) -> Tensor:
    return vision_functional.autocontrast(images)


@_operate.register
def _(transform: ops.Invert, images: Tensor, sign: int) -> Tensor:
    return vision_functional.invert(images)


@_operate.register
def _(transform: ops.Equalize, images: Tensor, sign: int) -> Tensor:
    return vision_functional.equalize(images)


@_operate.register
def _(transform: ops.Solarize, images: Tensor, sign: int) -> Tensor:
    return torch.where(images < transform.thr, images, 255 - images)


@_operate.register
def _(transform: ops.Posterize, images: Tensor, sign: int) -> Tensor:
    return vision_functional.posterize(images, math.ceil(transform.bits))


@_operate.register
def _(transform: ops.Contrast, images: Tensor, sign: int) -> Tensor:
    return _blend(images, _mean_grey(images), 1 + sign * transform.magnitude)


@_operate.register
def _(transform: ops.ColorTransform, images: Tensor, sign: int) -> Tensor:
    return _blend(images, _grey(images), 1 + sign * transform.magnitude)


@_operate.register
def _(transform: ops.Brightness, images: Tensor, sign: int) -> Tensor:
    return _blend(images, 0.0, 1 + sign * transform.magnitude)


@_operate.register
def _(transform: ops.Sharpness, images: Tensor, sign: int) -> Tensor:
    kernel = torch.ones(3, 1, 3, 3, device=images.device) / 13
    kernel[:, :, 1, 1] = 5 / 13
    padded = F.pad(images.float(), [1] * 4, mode="reflect")
    return _blend(
        images, F.conv2d(padded, kernel, groups=3).round_(), 1 + sign * transform.magnitude
    )
