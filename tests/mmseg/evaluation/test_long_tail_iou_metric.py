import pytest
import torch
from mmseg.evaluation import IoUMetric

from paco.mmseg import LongTailIoUMetric, read_class_pixels


def evaluate(metric, pairs):
    metric.dataset_meta = {"classes": list("abcd")}
    for prediction, label in pairs:
        sample = {"pred_sem_seg": {"data": prediction[None]}, "gt_sem_seg": {"data": label[None]}}
        metric.process({}, [sample])
    return metric.compute_metrics(metric.results)


def draw():
    labels = torch.randint(4, (3, 8, 8))
    labels[:, :2] = 255
    return [(torch.randint(4, (8, 8)), label) for label in labels]


def test_groups_are_by_the_share_of_training_pixels():
    pairs = draw()
    pixels = [9000, 500, 60, 5]  # 94 %, 5 %, .6 %, .05 %
    metrics = evaluate(LongTailIoUMetric(class_pixels=pixels), pairs)
    plain = evaluate(IoUMetric(), pairs)
    assert {name: metrics[name] for name in plain} == plain
    iou = []
    for c in range(4):
        both = sum(((p == c) & (y == c)).sum() for p, y in pairs)
        either = sum((((p == c) | (y == c)) & (y != 255)).sum() for p, y in pairs)
        iou.append(100 * both / either)
    assert metrics["mIoU_many"] == pytest.approx(float(iou[0] + iou[1]) / 2, abs=0.01)
    assert metrics["mIoU_medium"] == pytest.approx(float(iou[2]), abs=0.01)
    assert metrics["mIoU_few"] == pytest.approx(float(iou[3]), abs=0.01)


def test_group_without_a_class_is_nan():
    metrics = evaluate(LongTailIoUMetric(class_pixels=[1, 1, 1, 1]), draw())
    assert metrics["mIoU_few"] != metrics["mIoU_few"]
    assert metrics["mIoU_many"] == pytest.approx(metrics["mIoU"], abs=0.02)


def test_class_that_occurs_nowhere_does_not_count():
    zeros, ones = torch.zeros(8, 8).long(), torch.ones(8, 8).long()
    metric = LongTailIoUMetric(class_pixels=[10, 10, 0, 0])
    metrics = evaluate(metric, [(zeros, zeros), (ones, ones)])
    assert metrics["mIoU_many"] == 100
    assert metrics["mIoU_few"] != metrics["mIoU_few"]


def test_class_pixels_come_from_a_file_too(tmp_path):
    path = tmp_path / "pixels.txt"
    path.write_text("9000\n500\n60\n5\n")
    assert read_class_pixels(str(path)) == [9000, 500, 60, 5]
    pairs = draw()
    of_file = evaluate(LongTailIoUMetric(class_pixels=str(path)), pairs)
    of_list = evaluate(LongTailIoUMetric(class_pixels=[9000, 500, 60, 5]), pairs)
    assert of_file == of_list
    path.write_text("9000\nmany\n")
    with pytest.raises(ValueError, match=r"pixels.txt:2: expected a number of pixels, got 'many"):
        LongTailIoUMetric(class_pixels=str(path))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(class_pixels=[1, -1]), r"class_pixels must be >= 0 .* \[1, -1\]"),
        (dict(class_pixels=[0, 0]), "not all 0"),
        (dict(class_pixels=[1, 2], few=0.1, many=0.01), "0 <= few <= many, got 0.1 and 0.01"),
    ],
)
def test_bad_settings_are_an_error(settings, message):
    with pytest.raises(ValueError, match=f"LongTailIoUMetric: .*{message}"):
        LongTailIoUMetric(**settings)


def test_counts_of_other_classes_are_an_error():
    with pytest.raises(ValueError, match="class_pixels must have 4 entries, one a class, got 2"):
        evaluate(LongTailIoUMetric(class_pixels=[1, 2]), draw())
