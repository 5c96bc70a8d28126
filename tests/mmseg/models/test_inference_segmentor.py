import torch
from helpers.segmentation import build, load

from paco import deploy
from paco.mmseg import InferenceSegmentor
from paco.segmentation import export_segmentor


def test_a_swin_transformer_is_exported_for_any_size(tmp_path):
    model = load("ade20k/gpaco_upernet_swin_t").model
    model.backbone.update(init_cfg=None, embed_dims=24, depths=[2, 2, 2, 2])
    model.decode_head.update(channels=16, in_channels=[24, 48, 96, 192])
    model.auxiliary_head.update(channels=16, in_channels=96)
    parts = InferenceSegmentor(build(model).eval())
    export_segmentor(parts, torch.randn(1, 3, 64, 96), tmp_path / "segmentor.pt")
    written, texts = deploy.load(tmp_path / "segmentor.pt")
    assert texts["size_divisor"] == "32"  # it pads patches as the toolbox computes in Python
    for shape in ((1, 3, 96, 352), (3, 3, 448, 224)):  # with windows that fit and that do not
        images = torch.randn(shape)
        with torch.no_grad():
            torch.testing.assert_close(written(images), parts(images), rtol=1e-4, atol=1e-5)
