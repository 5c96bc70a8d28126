"""The PaCo loss of pixels, for semantic segmentation."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .paco_loss import PaCoLoss


class PixelPaCoLoss(nn.Module):
    """GPaCo's loss of the pixels of a segmentation head (GPaCo, TPAMI 2023, sec. 4.4).

    A pixel is an anchor and a contrast row, and its segmentation logits are those of its class
    centers. An ignored pixel is no anchor; in the contrast it belongs to a class of its own. The
    mean is over the anchors of an image, then over the images, where one of ignored pixels alone
    counts as 0. With ``across_images`` the images are one problem. Memory grows with the number of
    pixels, not with its square.

    Args:
        alpha: weight of a same-class pair, as in :func:`paco.paco_loss`; 0.01 to 0.03 as published.
        temperature: T, > 0; 0.07 as published.
        num_pixels: how many pixels of each image are drawn, at least 1, without replacement, from
            the default generator of their device; None takes all.
        ignore_index: the label of ignored pixels.
        across_images: contrast the drawn pixels of the whole batch, instead of each image's.
        beta: weight of the class center, >= 0.
        gamma: weight of the pairs in the denominator, >= 0.
        base_temperature: T_base, > 0; T by default.

    Raises:
        ValueError: for an argument outside its range.

    Example::

        loss = PixelPaCoLoss(alpha=0.01, temperature=0.07)
        loss(projector(features), conv_seg(features), labels)
    """

    num_pixels: int | None

    def __init__(
        self,
        alpha: float,
        temperature: float,
        num_pixels: int | None = 8192,
        ignore_index: int = 255,
        across_images: bool = False,
        beta: float = 1.0,
        gamma: float = 1.0,
        base_temperature: float | None = None,
    ) -> None:
        super().__init__()
        if num_pixels is not None and num_pixels < 1:
            raise ValueError(
                f"PixelPaCoLoss: num_pixels must be at least 1, or None, got {num_pixels}"
            )
        self.num_pixels = num_pixels
        self.ignore_index = ignore_index
        self.across_images = across_images
        self.loss = PaCoLoss(alpha, temperature, beta, gamma, base_temperature)

    def forward(
        self,
        embeddings: Tensor,
        seg_logits: Tensor,
        labels: Tensor,
        queue: Tensor | None = None,
        queue_labels: Tensor | None = None,
        num_valid: Tensor | None = None,
    ) -> Tensor:
        """The scalar loss of a batch of images.

        Args:
            embeddings: [N, D, H, W], projections of the pixels, of any length; they are normalised
                in float32, or in float64 if that is their dtype.
            seg_logits: [N, C, H, W].
            labels: int64 [N, H', W'], each in [0, C) or ``ignore_index``; where the size differs
                the nearest pixel's is taken.
            queue: pixels of the past, [K, D], rows of unit length, one more part of each contrast.
            queue_labels: int64 [K], in [0, C], where C stands for an ignored pixel.
            num_valid: how many leading rows of ``queue`` are filled; see :func:`paco.paco_loss`.

        Returns:
            A scalar; float64 for float64 embeddings, else float32. The gradient flows to
            ``embeddings`` and ``seg_logits``.

        Raises:
            ValueError: for a bad argument. Values of ``labels`` are all checked on a CPU; on CUDA,
                and in a compiled loss, those of the drawn pixels are, as :func:`paco.paco_loss`
                does it.
        """
        self._check(embeddings, seg_logits, labels)
        classes = self.classes(labels, seg_logits)
        rows = [
            self._draw(embeddings[image], seg_logits[image], classes[image])
            for image in range(embeddings.size(0))
        ]
        if self.across_images:
            z, s, y = [r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows]
            rows = [(torch.cat(z), torch.cat(s), torch.cat(y))]
        losses = [self._mean(z, s, y, queue, queue_labels, num_valid) for z, s, y in rows]
        return torch.stack(losses).mean()

    def _draw(self, z: Tensor, s: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rows [M, D], logits [M, C] and classes [M] of the drawn pixels of one image."""
        z, s, y = z.flatten(1).t(), s.flatten(1).t(), y.flatten()
        num_pixels = self.num_pixels
        if num_pixels is None or num_pixels >= y.size(0):
            return z, s, y
        drawn = torch.randperm(y.size(0), device=y.device)[:num_pixels]
        return z[drawn], s[drawn], y[drawn]

    def _mean(
        self,
        z: Tensor,
        s: Tensor,
        y: Tensor,
        queue: Tensor | None,
        queue_labels: Tensor | None,
        num_valid: Tensor | None,
    ) -> Tensor:
        """The mean over the anchors of one problem: rows [M, D], logits [M, C], classes [M]."""
        dtype = torch.float64 if z.dtype == torch.float64 else torch.float32
        # Ignored pixels stay in the rows with weight 0: their number is not known without waiting
        # for a GPU. Their class, the C-th, has a center that adds exp(-1e10) = 0 to the partition.
        is_anchor = (y < s.size(1)).to(dtype)
        s = torch.cat([s.to(dtype), -1e10 * is_anchor[:, None]], 1)
        z = F.normalize(z.to(dtype), dim=1)
        loss = self.loss(z, y, s, queue, queue_labels, num_valid, is_anchor)
        return loss * (z.size(0) / is_anchor.sum().clamp(min=1))

    @torch.jit.export
    def classes(self, labels: Tensor, seg_logits: Tensor) -> Tensor:
        """Classes [N, H, W] of the pixels of ``seg_logits``: C for an ignored one."""
        num_classes = seg_logits.size(1)
        ignored = labels == self.ignore_index
        bad = ((labels < 0) | (labels >= num_classes)) & ~ignored
        compiling = not torch.jit.is_scripting() and torch.compiler.is_compiling()
        if not compiling and labels.device.type == "cpu" and bool(bad.any()):
            raise ValueError(
                f"PixelPaCoLoss: labels must lie in [0, C) with C = {num_classes}, or be "
                f"ignore_index, {self.ignore_index}, got {int(labels[bad][0])}"
            )
        # Elsewhere the operator finds -1, which no class has; C would pass for an ignored pixel.
        classes = torch.where(ignored, num_classes, torch.where(bad, -1, labels))
        if classes.shape[1:] != seg_logits.shape[2:]:
            # In float64, which holds every class: there is no interpolation of integers.
            classes = F.interpolate(
                classes[:, None].double(), size=seg_logits.shape[2:], mode="nearest"
            )[:, 0].long()
        return classes

    def _check(self, embeddings: Tensor, seg_logits: Tensor, labels: Tensor) -> None:
        if embeddings.dim() != 4 or embeddings.numel() == 0 or not embeddings.is_floating_point():
            raise ValueError(
                f"PixelPaCoLoss: embeddings must be floating-point [N, D, H, W], none of them 0, "
                f"got {embeddings.dtype} {embeddings.shape}"
            )
        n, h, w = embeddings.size(0), embeddings.size(2), embeddings.size(3)
        if (
            seg_logits.dim() != 4
            or seg_logits.size(0) != n
            or seg_logits.size(1) == 0
            or seg_logits.size(2) != h
            or seg_logits.size(3) != w
            or not seg_logits.is_floating_point()
            or seg_logits.device != embeddings.device
        ):
            raise ValueError(
                f"PixelPaCoLoss: seg_logits must be floating-point [N, C, H, W] with N, H, W = "
                f"{n}, {h}, {w} on {embeddings.device} as in embeddings, got {seg_logits.dtype} "
                f"{seg_logits.shape} on {seg_logits.device}"
            )
        if (
            labels.dim() != 3
            or labels.size(0) != n
            or labels.numel() == 0
            or labels.dtype != torch.int64
            or labels.device != embeddings.device
        ):
            raise ValueError(
                f"PixelPaCoLoss: labels must be int64 [N, H', W'] with N = {n} on "
                f"{embeddings.device} as in embeddings, got {labels.dtype} {labels.shape} on "
                f"{labels.device}"
            )

    def extra_repr(self) -> str:
        return (
            f"num_pixels={self.num_pixels}, ignore_index={self.ignore_index}, "
            f"across_images={self.across_images}"
        )
