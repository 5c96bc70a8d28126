"""The toolbox's image transforms for whole batches, on the device that the images are on.

A transform is read from the object that the toolbox builds, so a config says once what is drawn.
Random numbers come from torch's CPU generator, whatever the device: a seed gives the same draws
everywhere. Every image has draws of its own.

Results are bytes after each transform, as the toolbox's are, and differ from those by rounding and
interpolation alone.
"""

import functools
import math
from collections.abc import Callable

import torch
from mmcv.transforms import Compose, RandomApply
from mmpretrain.datasets.transforms import GaussianBlur, NumpyToPIL, PILToNumpy
from mmpretrain.datasets.transforms.processing import TorchVisonTransformWrapper
from torch import Tensor
from torch.nn import functional as F
from torchvision import transforms as vision
from torchvision.transforms.v2 import functional as vision_functional

from .cifar10_policy import GREY, STRONGEST, CIFAR10Policy
from .square_cutout import SquareCutout

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


# ---- Choice of the images that change ------------------------------------------------------------


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


# ---- Geometry ------------------------------------------------------------------------------------


@_apply.register
def _(transform: vision.RandomCrop, images: Tensor) -> Tensor:
    if transform.pad_if_needed or transform.padding_mode != "constant" or transform.fill != 0:
        raise TypeError(f"transform_batch: only black padding has a batched form: {transform!r}")
    pad = transform.padding or 0
    padded = F.pad(images, [pad] * 4).permute(0, 2, 3, 1)
    height, width = transform.size
    top = torch.randint(padded.size(1) - height + 1, (len(images), 1))
    left = torch.randint(padded.size(2) - width + 1, (len(images), 1))
    rows = (top + torch.arange(height)).to(images.device)
    columns = (left + torch.arange(width)).to(images.device)
    each = torch.arange(len(images), device=images.device)
    crops = padded[each[:, None, None], rows[:, :, None], columns[:, None, :]]
    return crops.permute(0, 3, 1, 2).contiguous()


@_apply.register
def _(transform: vision.RandomHorizontalFlip, images: Tensor) -> Tensor:
    _change(images, _draw(images, transform.p), lambda x: x.flip(-1))
    return images


@_apply.register
def _(transform: vision.RandomResizedCrop, images: Tensor) -> Tensor:
    count, (height, width) = len(images), images.shape[-2:]
    # torchvision takes the first of ten rectangles that fits, else as much as the ratios allow.
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


def _warp(images: Tensor, backward: list[list[float]], mode: str) -> Tensor:
    """The images under an affine map, with grey borders.

    ``backward`` holds the rows of [x, y] = A [x', y', 1], from a place in the result to one in the
    image; the centre of the first pixel is at (.5, .5).
    """
    height, width = images.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)], -1) @ torch.tensor(backward).T - 0.5
    return _sample(images, pixels[None].to(images.device), mode, fill=GREY[0])


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
def _(transform: GaussianBlur, images: Tensor) -> Tensor:
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
def _(transform: SquareCutout, images: Tensor) -> Tensor:
    def inside(extent: int) -> Tensor:
        offset = torch.arange(extent) - torch.randint(extent, (len(images), 1))
        return ((-transform.size // 2 <= offset) & (offset < transform.size // 2)).to(images.device)

    rows, columns = inside(images.size(2)), inside(images.size(3))
    return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)


@_apply.register
def _(transform: CIFAR10Policy, images: Tensor) -> Tensor:
    choice = torch.randint(len(transform.policies), (len(images),))
    for i, policy in enumerate(transform.policies):
        part = (choice == i).nonzero().squeeze(1)
        for operation, probability, level in policy:
            chosen = part[_draw(part, probability)]
            negative = torch.rand(len(chosen)) < 0.5
            for sign, signed in ((1, chosen[~negative]), (-1, chosen[negative])):
                change = functools.partial(_operate, operation=operation, level=level, sign=sign)
                _change(images, signed, change)
    return images


def _operate(images: Tensor, operation: str, level: int | None, sign: int) -> Tensor:
    """The images after one of AutoAugment's operations."""
    if operation in ("AutoContrast", "Equalize", "Invert"):
        return getattr(vision_functional, operation.lower())(images)
    strength = STRONGEST[operation] * level / 9
    signed, factor = sign * strength, 1 + sign * strength
    height, width = images.shape[-2:]
    match operation:
        case "Brightness":
            return _blend(images, 0.0, factor)
        case "Color":
            return _blend(images, _grey(images), factor)
        case "Contrast":
            return _blend(images, _mean_grey(images), factor)
        case "Sharpness":
            return _blend(images, _smooth(images), factor)
        case "Posterize":
            return vision_functional.posterize(images, 8 - round(strength))
        case "Solarize":
            return torch.where(images < 256 - strength, images, 255 - images)
        case "ShearY":
            return _warp(images, [[1.0, 0.0, 0.0], [signed, 1.0, 0.0]], "bicubic")
        case "TranslateX":
            return _warp(images, [[1.0, 0.0, signed * width], [0.0, 1.0, 0.0]], "nearest")
        case "TranslateY":
            return _warp(images, [[1.0, 0.0, 0.0], [0.0, 1.0, signed * height]], "nearest")
        case "Rotate":
            cos, sin = math.cos(math.radians(strength)), math.sin(math.radians(strength))
            x, y = width / 2, height / 2
            rows = [[cos, -sin, x - cos * x + sin * y], [sin, cos, y - sin * x - cos * y]]
            return _warp(images, rows, "nearest")
    raise AssertionError(operation)


def _smooth(images: Tensor) -> Tensor:
    """Pillow's SMOOTH filter, against which it sharpens; the border stays as it is."""
    kernel = torch.ones(3, 1, 3, 3, device=images.device) / 13
    kernel[:, :, 1, 1] = 5 / 13
    smooth = images.float()
    smooth[..., 1:-1, 1:-1] = F.conv2d(images.float(), kernel, groups=3).round_()
    return smooth
