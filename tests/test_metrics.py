import math

import pytest
import torch

from paco import metrics

# ---- Accuracy ------------------------------------------------------------------------------------


def test_per_class_accuracy(rng):
    labels = torch.randint(5, (200,))
    predictions = torch.where(torch.rand(200) < 0.4, labels, torch.randint(7, (200,)))
    accuracy = metrics.per_class_accuracy(predictions, labels, 6)
    for c in range(5):
        expected = (predictions[labels == c] == c).double().mean()
        assert accuracy[c].item() == pytest.approx(expected.item())
    assert accuracy[5].isnan()


def test_per_class_accuracy_of_unequal_lengths_is_an_error():
    with pytest.raises(ValueError, match=r"predictions.*\[3\].*\[2\]"):
        metrics.per_class_accuracy(torch.zeros(2).long(), torch.zeros(3).long(), 2)


def test_grouped_accuracy():
    counts = [500, 200, 50, 5, 3]
    labels = torch.tensor([0, 0, 0, 0, 1, 2, 2, 3])
    predictions = torch.tensor([0, 0, 0, 1, 1, 2, 0, 0])
    # Per class 3/4, 1, 1/2, 0; class 4 has no test sample.
    accuracy = metrics.grouped_accuracy(predictions, labels, counts)
    assert accuracy == pytest.approx(
        {"all": 2.25 / 4, "many": 1.75 / 2, "medium": 0.5, "few": 0.0}, abs=1e-12
    )


def test_an_empty_group_is_nan_not_zero():
    labels = torch.tensor([0, 1])
    accuracy = metrics.grouped_accuracy(labels, labels, [500, 300])
    assert accuracy["all"] == accuracy["many"] == 1
    assert math.isnan(accuracy["medium"])
    assert math.isnan(accuracy["few"])
    # A group whose classes have no test sample has no accuracy either.
    accuracy = metrics.grouped_accuracy(labels, labels, [500, 300, 2])
    assert math.isnan(accuracy["few"])


# ---- Calibration ---------------------------------------------------------------------------------


def test_calibration_error_by_hand():
    probabilities = torch.tensor([[0.9, 0.1], [0.92, 0.08], [0.55, 0.45], [0.35, 0.65]])
    labels = torch.tensor([0, 1, 0, 0])
    # 0.9 and 0.92 share one of 15 bins: one right of two. 0.55 and 0.65 share none.
    expected = (abs(1 - 1.82) + abs(1 - 0.55) + abs(0 - 0.65)) / 4
    assert metrics.expected_calibration_error(probabilities, labels) == pytest.approx(expected)
    # A single bin compares the means.
    one_bin = abs(2 - (0.9 + 0.92 + 0.55 + 0.65)) / 4
    assert metrics.expected_calibration_error(probabilities, labels, 1) == pytest.approx(one_bin)


def test_calibration_error_of_the_sure():
    probabilities = torch.eye(3)
    assert metrics.expected_calibration_error(probabilities, torch.arange(3)) == 0
    assert metrics.expected_calibration_error(probabilities, torch.tensor([1, 2, 0])) == 1
    assert math.isnan(metrics.expected_calibration_error(torch.ones(0, 3), torch.ones(0).long()))


def test_calibration_error_of_the_calibrated_is_small():
    # Labels drawn from the probabilities themselves.
    probabilities = torch.randn(100_000, 4).mul(2).softmax(1)
    labels = torch.multinomial(probabilities, 1).flatten()
    assert metrics.expected_calibration_error(probabilities, labels) < 0.02


def test_calibration_error_of_unequal_lengths_is_an_error():
    with pytest.raises(ValueError, match=r"\[2, 3\].*\[4\]"):
        metrics.expected_calibration_error(torch.ones(2, 3), torch.zeros(4).long())


@pytest.mark.parametrize("row", [[0.4, 0.5, -0.2], [0.2, 0.2, 0.2], [math.nan, 0.5, 0.5]])
def test_logits_have_no_calibration_error(row):
    probabilities = torch.tensor([[0.2, 0.3, 0.5], row])
    with pytest.raises(ValueError, match="must have rows that sum to 1, got"):
        metrics.expected_calibration_error(probabilities, torch.tensor([0, 1]))


def test_calibration_error_takes_a_softmax_in_bfloat16():
    probabilities = torch.randn(50, 1000).bfloat16().softmax(1)
    assert 0 <= metrics.expected_calibration_error(probabilities, torch.randint(1000, (50,))) <= 1


def test_calibration_bins_against_a_loop(rng):
    confidence = torch.rand(300, dtype=torch.float64)
    confidence[:3] = torch.tensor([0.0, 0.2, 1.0])
    correct = torch.rand(300) < 0.7
    bins = metrics.calibration_bins(confidence, correct, 5)
    assert bins.counts.sum() == 300
    for k in range(5):
        # 0 has no bin of its own, and 0.2 and 1 close theirs.
        low = -1 if k == 0 else k / 5
        members = (confidence > low) & (confidence <= (k + 1) / 5)
        assert bins.counts[k] == members.sum()
        assert bins.confidence[k].item() == pytest.approx(confidence[members].mean().item())
        assert bins.accuracy[k].item() == pytest.approx(correct[members].double().mean().item())


def test_an_empty_calibration_bin_is_nan_and_leaves_the_error_alone():
    bins = metrics.calibration_bins(torch.tensor([0.9, 0.8]), torch.tensor([True, False]), 2)
    assert bins.counts.tolist() == [0, 2]
    assert bins.confidence[0].isnan() and bins.accuracy[0].isnan()
    assert bins.expected_error() == pytest.approx(0.35)


@pytest.mark.parametrize("confidence", [-0.1, 1.1, math.nan, math.inf])
def test_a_confidence_that_is_no_probability_is_an_error(confidence):
    with pytest.raises(ValueError, match=rf"confidence must lie in \[0, 1\], got {confidence}"):
        metrics.calibration_bins(torch.tensor([0.5, confidence]), torch.tensor([True, True]))


# ---- Comparison of two runs ----------------------------------------------------------------------


def two_runs(num_images: int, num_classes: int, better: float):
    """Labels and the predictions of two runs, the second wrong on this share of the images more."""
    labels = torch.randint(num_classes, (num_images,))
    wrong = (labels + 1) % num_classes
    both_wrong = torch.rand(num_images) < 0.2
    baseline_wrong = both_wrong | (torch.rand(num_images) < better)
    return (
        torch.where(both_wrong, wrong, labels),
        torch.where(baseline_wrong, wrong, labels),
        labels,
    )


def test_differences_are_those_of_the_grouped_accuracies():
    counts = [500, 101, 50, 19, 5]
    first, second, labels = two_runs(400, 5, 0.3)
    differences = metrics.paired_difference(first, second, labels, counts, num_resamples=100)
    accuracy, baseline = (metrics.grouped_accuracy(p, labels, counts) for p in (first, second))
    assert list(differences) == ["top1", "all", "many", "medium", "few"]
    for name, value in accuracy.items():
        assert differences[name].value == pytest.approx(value - baseline[name])
        assert differences[name].low <= differences[name].value <= differences[name].high
    top1 = (first == labels).double().mean() - (second == labels).double().mean()
    assert differences["top1"].value == pytest.approx(top1.item())


def test_the_interval_is_about_the_normal_one():
    first, second, labels = two_runs(4000, 4, 0.1)
    difference = metrics.paired_difference(first, second, labels, [200] * 4)["all"]
    gain = (first == labels).double() - (second == labels).double()
    # Classes are drawn separately, so the variances of their means add up.
    variance = sum(gain[labels == c].var() / (labels == c).sum() for c in range(4)) / 16
    assert difference.high - difference.low == pytest.approx(
        2 * 1.96 * variance.sqrt().item(), rel=0.1
    )


def test_runs_are_compared_image_by_image():
    # 10 of 100 images tell the runs apart, always in one's favour: unpaired, two runs of 50 and 60
    # right images could not be told apart.
    labels = torch.zeros(100, dtype=torch.int64)
    predictions, baseline = labels.clone(), labels.clone()
    predictions[60:] = baseline[50:] = 1
    difference = metrics.paired_difference(predictions, baseline, labels, [200, 200])["all"]
    assert difference.value == pytest.approx(0.1)
    assert 0 < difference.low < 0.1 < difference.high < 0.2


def test_a_run_compared_with_itself_and_groups_without_images():
    predictions = torch.tensor([0, 1, 1])
    differences = metrics.paired_difference(
        predictions, predictions, torch.tensor([0, 0, 1]), [500, 300, 5], num_resamples=50
    )
    assert differences["all"] == differences["many"] == (0, 0, 0)
    assert all(math.isnan(x) for x in (*differences["medium"], *differences["few"]))


def test_the_interval_depends_on_the_seed_alone():
    first, second, labels = two_runs(100, 3, 0.2)
    expected = metrics.paired_difference(first, second, labels, [9] * 3, 200, seed=3)["all"]
    torch.manual_seed(5)
    assert metrics.paired_difference(first, second, labels, [9] * 3, 200, seed=3)["all"] == expected
    assert metrics.paired_difference(first, second, labels, [9] * 3, 200, seed=4)["all"] != expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(baseline=torch.zeros(2).long()), r"\[3\], \[2\] and \[3\]"),
        (dict(labels=torch.tensor([0, 1, 2])), r"labels must lie in \[0, 2\)"),
        (dict(level=1.0), r"level must lie in \(0, 1\), got 1.0"),
        (dict(num_resamples=0), "num_resamples must be at least 1, got 0"),
    ],
)
def test_bad_comparison(change, message):
    zeros = torch.zeros(3).long()
    arguments = dict(
        predictions=zeros, baseline=zeros, labels=zeros, train_class_counts=[5, 5], num_resamples=9
    )
    with pytest.raises(ValueError, match=message):
        metrics.paired_difference(**(arguments | change))
