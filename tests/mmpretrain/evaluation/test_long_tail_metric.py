import math

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmpretrain.registry import METRICS

from paco import metrics as paco_metrics


def evaluate(scores, labels, class_counts) -> dict[str, float]:
    """Through the toolbox's evaluator, in batches, as dictionaries of a model's results."""
    evaluator = Evaluator(METRICS.build(dict(type="LongTailMetric", class_counts=class_counts)))
    samples = [
        dict(pred_score=score, gt_label=label[None])
        for score, label in zip(scores, labels, strict=True)
    ]
    for start in range(0, len(samples), 7):
        evaluator.process(data_samples=samples[start : start + 7])
    return evaluator.evaluate(len(samples))


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values) if values else math.nan


def test_against_the_definition(rng):
    num_classes = 9
    counts = [rng.choice([1, 19, 20, 50, 100, 101, 500]) for _ in range(num_classes)]
    labels = torch.randint(num_classes, (200,))
    scores = torch.randn(200, num_classes).softmax(dim=1)
    metrics = evaluate(scores, labels, counts)

    right = [s.argmax().item() == y for s, y in zip(scores, labels.tolist(), strict=True)]
    rank = [
        sorted(s.tolist(), reverse=True).index(s[y].item())
        for s, y in zip(scores, labels, strict=True)
    ]
    accuracy = {
        c: mean(r for r, y in zip(right, labels.tolist(), strict=True) if y == c)
        for c in set(labels.tolist())
    }
    expected = {
        "top1": mean(right),
        "top5": mean(r < 5 for r in rank),
        "mean": mean(accuracy.values()),
        "many": mean(a for c, a in accuracy.items() if counts[c] > 100),
        "medium": mean(a for c, a in accuracy.items() if 20 <= counts[c] <= 100),
        "few": mean(a for c, a in accuracy.items() if counts[c] < 20),
        "calibration_error": paco_metrics.expected_calibration_error(scores, labels),
    }
    assert metrics.keys() == {f"long_tail/{name}" for name in expected}
    for name, value in expected.items():
        assert metrics[f"long_tail/{name}"] == pytest.approx(100 * value, nan_ok=True), name


def test_an_empty_group_is_nan_and_five_classes_have_no_top5():
    metrics = evaluate(torch.eye(5), torch.arange(5), [200, 150, 120, 5, 5])
    assert math.isnan(metrics.pop("long_tail/medium"))
    assert metrics.pop("long_tail/calibration_error") == 0
    assert metrics == {f"long_tail/{name}": 100 for name in ("top1", "mean", "many", "few")}


def test_unknown_class_counts_are_an_error():
    with pytest.raises(RuntimeError, match="ClassCountsHook"):
        evaluate(torch.eye(5), torch.arange(5), None)


@pytest.mark.parametrize("number", [4, 6])
def test_class_counts_of_other_classes_are_an_error(number):
    with pytest.raises(ValueError, match=f"class_counts must have 5 entries, .* got {number}"):
        evaluate(torch.eye(5)[:2], torch.arange(2), [10] * number)
