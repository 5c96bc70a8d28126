"""The toolbox's attention in shifted windows, in a form that is exported for images of any size."""

import torch
from mmseg.models.backbones.swin import ShiftWindowMSA
from torch import Tensor
from torch.nn import functional as F

__all__ = ["attend"]


def attend(self: ShiftWindowMSA, query: Tensor, hw_shape: tuple[int, int]) -> Tensor:
    """Attention within windows of features [N, H W, C]: the toolbox's numbers.

    The toolbox computes the number of images as a Python integer, branches on whether there is
    padding, and writes the regions of shifted windows into a mask one after another. Tracing and
    torch.export take the first two for constants; the third makes AOTInductor nest nine conditions
    in each element of the attention, which is megabytes of C++.

    Args:
        self: the toolbox's module.
        query: the features.
        hw_shape: H and W.

    Returns:
        [N, H W, C].
    """
    window, shift = self.window_size, self.shift_size
    channels = query.shape[-1]
    height, width = ((n + window - 1) // window * window for n in hw_shape)
    x = query.view(-1, *hw_shape, channels)
    x = F.pad(x, (0, 0, 0, width - hw_shape[1], 0, height - hw_shape[0]))
    mask = None
    if shift:
        x = x.roll((-shift, -shift), (1, 2))
        # The last window of a row holds what was rolled in from its start: a region of its own.
        rows, columns = (
            (i >= n - window).int() + (i >= n - shift)
            for n in (height, width)
            for i in (torch.arange(n, device=x.device),)
        )
        regions = self.window_partition((3 * rows[:, None] + columns)[None, :, :, None])
        regions = regions.view(-1, window**2)
        mask = torch.where(regions[:, None] == regions[:, :, None], 0.0, -100.0)
    windows = self.w_msa(self.window_partition(x).view(-1, window**2, channels), mask=mask)
    x = windows.view(-1, height // window, width // window, window, window, channels)
    x = x.transpose(2, 3).reshape(-1, height, width, channels)
    if shift:
        x = x.roll((shift, shift), (1, 2))
    return self.drop(x[:, : hw_shape[0], : hw_shape[1]].reshape(query.shape))
