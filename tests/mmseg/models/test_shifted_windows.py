"""Windows of mmsegmentation's Swin transformer are those of mmpretrain's, which computes alike."""

import pytest
import torch
from mmpretrain.models.utils import ShiftWindowMSA as Expected
from mmseg.models.backbones.swin import ShiftWindowMSA
from mmseg.models.decode_heads.psp_head import PPM
from torch import nn

from paco import deploy
from paco.mmseg.models.shifted_windows import attend
from paco.segmentation import export_segmentor


@pytest.mark.parametrize("shift", [0, 2, 3])
@pytest.mark.parametrize("size", [(3, 5), (7, 7), (14, 21), (8, 13), (15, 7), (23, 30)])
def test_attention_is_the_toolbox_s(size, shift):
    settings = dict(embed_dims=12, num_heads=3, window_size=7, shift_size=shift)
    module = ShiftWindowMSA(**settings).double()
    assert ShiftWindowMSA.forward is attend
    expected = Expected(**settings, pad_small_map=True).double()
    nn.init.normal_(module.w_msa.relative_position_bias_table)
    expected.load_state_dict(module.state_dict())
    x = torch.randn(2, size[0] * size[1], 12, dtype=torch.float64, requires_grad=True)
    actual = module(x, size)
    grad = torch.randn_like(actual)
    torch.testing.assert_close(actual, expected(x, size))
    torch.testing.assert_close(
        torch.autograd.grad(actual, x, grad)[0],
        torch.autograd.grad(expected(x, size), x, grad)[0],
    )


class WindowsAndPools(nn.Module):
    """What UPerNet on a Swin transformer computes with heights and widths, and little else."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 16, 16)
        self.windows = ShiftWindowMSA(12, 3, 7, shift_size=3)
        nn.init.normal_(self.windows.w_msa.relative_position_bias_table)
        self.pools = PPM((1, 2, 3, 6), 12, 4, None, None, dict(type="ReLU"), False)
        self.classify = nn.Conv2d(16, 5, 1)

    def forward(self, images):
        x = self.stem(images)
        x = self.windows(x.flatten(2).mT, x.shape[2:]).mT.reshape(x.shape)
        logits = self.classify(torch.cat(self.pools(x), 1))
        return nn.functional.interpolate(logits, size=images.shape[2:], mode="bilinear")


def test_a_compiled_file_takes_windows_of_any_number(tmp_path):
    """Of an example that is one window, torch.export would take all pixels for one."""
    model = WindowsAndPools()
    path = tmp_path / "segmentor.pt2"
    assert export_segmentor(model, torch.randn(1, 3, 64, 96), path) < 1e-5
    written, _ = deploy.load(path)
    for shape in ((1, 3, 64, 64), (2, 3, 224, 128), (1, 3, 480, 352)):
        images = torch.randn(shape)
        with torch.no_grad():
            torch.testing.assert_close(written(images), model(images), rtol=1e-4, atol=1e-5)
