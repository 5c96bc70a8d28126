import pytest
import torch
from mmpretrain.models.utils import ClsDataPreprocessor
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

MEAN, STD = [10.0, 20.0, 30.0], [1.0, 2.0, 4.0]


def preprocessor(to_rgb: bool):
    return MODELS.build(dict(type="ViewsDataPreprocessor", mean=MEAN, std=STD, to_rgb=to_rgb))


def images(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8)


def normalised(view: torch.Tensor, to_rgb: bool) -> torch.Tensor:
    """The definition, pixel plane by pixel plane."""
    planes = []
    for channel in range(3):
        plane = view[:, 2 - channel if to_rgb else channel].float()
        planes.append((plane - MEAN[channel]) / STD[channel])
    return torch.stack(planes, 1)


@pytest.mark.parametrize("to_rgb", [True, False])
@pytest.mark.parametrize("num_views", [2, 3])
def test_views_are_normalised_and_follow_each_other(to_rgb, num_views):
    views = [images(4, 3, 5, 6) for _ in range(num_views)]
    samples = [DataSample().set_gt_label(i) for i in range(4)]
    data = preprocessor(to_rgb)(dict(inputs=views, data_samples=samples), training=True)
    expected = torch.cat([normalised(view, to_rgb) for view in views])
    torch.testing.assert_close(data["inputs"], expected)
    assert [sample.gt_label.item() for sample in data["data_samples"]] == [0, 1, 2, 3]


def test_the_classification_view_stays_apart():
    *views, own = (images(4, 3, 5, 6) for _ in range(3))
    samples = [DataSample().set_gt_label(i) for i in range(4)]
    inputs = dict(contrast=views, classification=own)
    data = preprocessor(True)(dict(inputs=inputs, data_samples=samples), training=True)
    assert data["inputs"].keys() == {"contrast", "classification"}
    expected = torch.cat([normalised(view, True) for view in views])
    torch.testing.assert_close(data["inputs"]["contrast"], expected)
    torch.testing.assert_close(data["inputs"]["classification"], normalised(own, True))
    assert data["data_samples"] is samples


def test_one_view_is_the_toolbox_s_affair():
    toolbox = ClsDataPreprocessor(mean=MEAN, std=STD, to_rgb=True)
    for inputs in (images(4, 3, 5, 6), list(images(2, 3, 5, 6))):
        expected = toolbox(dict(inputs=inputs))["inputs"]
        assert torch.equal(preprocessor(True)(dict(inputs=inputs))["inputs"], expected)


def test_views_that_are_not_stacked_are_an_error():
    views = [list(images(2, 3, 5, 6)), list(images(2, 3, 5, 6))]
    with pytest.raises(TypeError, match="default_collate"):
        preprocessor(True)(dict(inputs=views), training=True)


def test_views_of_several_sizes_are_an_error():
    views = [images(2, 3, 5, 6), images(2, 3, 4, 4)]
    message = r"one shape, got \[\[2, 3, 5, 6\], \[2, 3, 4, 4\]\]"
    for inputs in (views, dict(contrast=views[:1], classification=views[1])):
        with pytest.raises(ValueError, match=message):
            preprocessor(True)(dict(inputs=inputs), training=True)
