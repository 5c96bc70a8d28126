from typing import ClassVar

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, default_collate
from mmpretrain.registry import DATASETS, MODELS

from paco.mmpretrain import count_classes

COUNTS = (400, 20, 3)


@DATASETS.register_module()
class LabelledPixels(BaseDataset):
    """8 x 8 grey images: all pixels are 80 times the label, and the corner is the index."""

    METAINFO: ClassVar = dict(classes=tuple("abc"))

    def load_data_list(self) -> list[dict]:
        labels = torch.arange(3).repeat_interleave(torch.tensor(COUNTS)).tolist()
        return [dict(img=np.full((8, 8), 80 * label, np.uint8), gt_label=label) for label in labels]


def dataset(**settings):
    views = dict(type="ContrastViews", views=[[], []], classification=[]) | settings
    inner = dict(type="LabelledPixels", pipeline=[views])
    return DATASETS.build(dict(type="WithBalancedPartner", dataset=inner))


def preprocessor(prob: float):
    return MODELS.build(dict(type="ViewsDataPreprocessor", partner_cutmix_prob=prob, num_classes=3))


def batch(data, indices) -> dict:
    return default_collate([data[i] for i in indices])


def test_every_image_brings_a_partner_of_a_class_drawn_first():
    data = dataset()
    assert len(data) == sum(COUNTS)
    assert count_classes(data).drawn.tolist() == list(COUNTS)
    labels = []
    for i in range(0, 420, 2):
        item = data[i]
        sample, inputs = item["data_samples"], item["inputs"]
        assert sample.gt_label.item() == data.get_data_info(i)["gt_label"]
        assert inputs.keys() == {"contrast", "classification", "partner"}
        assert (inputs["partner"] == 80 * sample.partner_label).all()
        assert (inputs["classification"] == 80 * sample.gt_label).all()
        labels.append(sample.partner_label.item())
    share = torch.tensor(labels).bincount(minlength=3) / len(labels)
    assert (share - 1 / 3).abs().max() < 0.15
    torch.manual_seed(3)
    first = [data[5]["data_samples"].partner_label.item() for _ in range(20)]
    torch.manual_seed(3)
    assert [data[5]["data_samples"].partner_label.item() for _ in range(20)] == first


def test_cutmix_puts_a_part_of_the_partner_into_the_view_and_into_the_target():
    data, model = dataset(), preprocessor(1.0)
    for _ in range(10):
        inputs = batch(data, [0, 100, 405, 421, 422])
        others = torch.cat([sample.partner_label for sample in inputs["data_samples"]])
        contrast = torch.cat(inputs["inputs"]["contrast"]).float()
        result = model(inputs, training=True)
        assert torch.equal(result["inputs"]["contrast"], contrast)
        assert "partner" not in result["inputs"]
        labels = torch.cat([sample.gt_label for sample in result["data_samples"]])
        assert labels.tolist() == [0, 0, 1, 2, 2]
        scores = torch.stack([sample.gt_score for sample in result["data_samples"]])
        torch.testing.assert_close(scores.sum(1), torch.ones(5))
        views = result["inputs"]["classification"][:, 0]
        boxes = []
        for view, label, other, score in zip(views, labels, others, scores, strict=True):
            if label == other:
                assert score[label] == 1 and (view == 80 * label).all()
                continue
            inside = view == 80 * other
            assert ((view == 80 * label) | inside).all()
            assert score[other].item() == pytest.approx(inside.float().mean().item(), abs=1e-6)
            boxes.append(inside)
        # One rectangle for all.
        assert all(torch.equal(box, boxes[0]) for box in boxes)


def test_a_half_of_the_batches_is_mixed():
    data, model = dataset(), preprocessor(0.5)
    inputs = [batch(data, [0, 405]) for _ in range(200)]
    mixed = sum("gt_score" in model(x, training=True)["data_samples"][0] for x in inputs)
    assert 60 < mixed < 140
    never = batch(data, [0, 405])
    assert "gt_score" not in model(never, training=False)["data_samples"][0]


@pytest.mark.parametrize("prob", [-0.1, 1.1])
def test_a_bad_probability_is_an_error(prob):
    with pytest.raises(ValueError, match=rf"partner_cutmix_prob must lie in \[0, 1\], got {prob}"):
        preprocessor(prob)


def test_a_pipeline_without_a_classification_view_is_an_error():
    with pytest.raises(ValueError, match=r"one ContrastViews with a classification view, got \["):
        dataset(classification=None)
