import torch
from mmpretrain.registry import MODELS


def test_it_is_three_convolutions():
    model = MODELS.build(dict(type="SmallConvNet", in_channels=2))
    x = torch.randn(3, 2, 8, 12)
    (features,) = model(x)
    assert features.shape == (3, 128, 2, 3)
    assert features.min() >= 0
    expected = 9 * (2 * 32 + 32 * 64 + 64 * 128) + 2 * (32 + 64 + 128)
    assert sum(p.numel() for p in model.parameters()) == expected
