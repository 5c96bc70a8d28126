import torch
from mmpretrain.registry import MODELS


def test_200_layers():
    backbone = MODELS.build(dict(type="ResNet200", stem_channels=2, base_channels=2))
    blocks = [len(getattr(backbone, f"layer{i}")) for i in (1, 2, 3, 4)]
    # Three convolutions a block, the stem, and the classifier that a depth counts.
    assert 3 * sum(blocks) + 2 == 200
    assert blocks == [3, 24, 36, 3]
    (features,) = backbone(torch.randn(2, 3, 64, 64))
    assert features.shape == (2, 64, 2, 2)
