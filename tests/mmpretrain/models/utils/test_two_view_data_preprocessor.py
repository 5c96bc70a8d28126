import pytest
import torch
from mmpretrain.models.utils import ClsDataPreprocessor
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

MEAN, STD = [10.0, 20.0, 30.0], [1.0, 2.0, 4.0]


def preprocessor(to_rgb: bool):
    return MODELS.build(dict(type="TwoViewDataPreprocessor", mean=MEAN, std=STD, to_rgb=to_rgb))


def images(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8)


@pytest.mark.parametrize("to_rgb", [True, False])
def test_two_views_are_normalised_and_follow_each_other(to_rgb):
    views = [images(4, 3, 5, 6), images(4, 3, 5, 6)]
    samples = [DataSample().set_gt_label(i) for i in range(4)]
    data = preprocessor(to_rgb)(dict(inputs=views, data_samples=samples), training=True)
    expected = torch.empty(8, 3, 5, 6)
    for i in range(8):
        for channel in range(3):
            source = 2 - channel if to_rgb else channel
            pixels = views[i // 4][i % 4, source].float()
            expected[i, channel] = (pixels - MEAN[channel]) / STD[channel]
    torch.testing.assert_close(data["inputs"], expected)
    assert [sample.gt_label.item() for sample in data["data_samples"]] == [0, 1, 2, 3]


def test_one_view_is_the_toolbox_s_affair():
    toolbox = ClsDataPreprocessor(mean=MEAN, std=STD, to_rgb=True)
    for inputs in (images(4, 3, 5, 6), list(images(2, 3, 5, 6))):
        expected = toolbox(dict(inputs=inputs))["inputs"]
        assert torch.equal(preprocessor(True)(dict(inputs=inputs))["inputs"], expected)


def test_views_that_are_not_stacked_are_an_error():
    views = [list(images(2, 3, 5, 6)), list(images(2, 3, 5, 6))]
    with pytest.raises(TypeError, match="default_collate"):
        preprocessor(True)(dict(inputs=views), training=True)
