import math

import pytest
import torch

import paco
from paco import longtail

# ---- Counts and priors ---------------------------------------------------------------------------


def test_class_counts(rng):
    labels = torch.randint(7, (100,))
    expected = [(labels == c).sum().item() for c in range(9)]
    assert longtail.class_counts(labels, 9).tolist() == expected
    assert longtail.class_counts(labels.tolist(), 9).tolist() == expected
    assert longtail.class_counts([], 3).tolist() == [0, 0, 0]


@pytest.mark.parametrize("label", [-1, 4])
def test_class_counts_of_an_unknown_class_are_an_error(label):
    with pytest.raises(ValueError, match=rf"labels must lie in \[0, 4\).*{label}"):
        longtail.class_counts([0, 1, label], 4)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.float32])
def test_log_prior(dtype):
    counts = torch.randint(0, 5000, (20,)).to(dtype)
    counts[0] = 1
    prior = paco.log_prior(counts)
    assert prior.dtype == torch.float32
    expected = [math.log(n / counts.sum().item() + 1e-9) for n in counts.tolist()]
    torch.testing.assert_close(prior, torch.tensor(expected, dtype=torch.float32))
    assert torch.equal(paco.log_prior(counts.tolist()), prior)


def test_log_prior_of_a_class_without_samples_is_finite():
    prior = paco.log_prior([0, 10])
    assert prior.tolist() == pytest.approx([math.log(1e-9), 0], abs=1e-6)


def test_log_prior_does_not_overflow():
    # Float32 counts would lose single samples from 2^24 on.
    counts = torch.full((3,), 2**40, dtype=torch.int64)
    assert paco.log_prior(counts).tolist() == pytest.approx([-math.log(3)] * 3)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([], r"\[0\]"),
        (torch.ones(2, 2), r"\[2, 2\]"),
        ([3, -1], "-1"),
        ([0, 0], r"\b0\b"),
        ([1.0, math.nan], "nan"),
        ([1.0, math.inf], "inf"),
    ],
    ids=str,
)
def test_log_prior_of_no_counts_is_an_error(counts, message):
    with pytest.raises(ValueError, match=f"^log_prior: class_counts.*{message}"):
        paco.log_prior(counts)


# ---- Synthetic tails -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("imbalance_factor", "images"), [(100, 10847), (50, 12608), (10, 19573), (1, 50000)]
)
def test_profile_of_cifar100_lt(imbalance_factor, images):
    counts = longtail.exponential_profile(500, 100, imbalance_factor)
    assert sum(counts) == images
    assert counts[0] == 500
    assert counts[-1] == 500 // imbalance_factor
    assert counts == sorted(counts, reverse=True)


def test_profile_of_one_class():
    assert longtail.exponential_profile(30, 1, 100) == [30]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 10, 10), "max_count.*0"),
        ((5, 0, 10), "num_classes.*0"),
        ((5, 10, 0.5), r"factor.*0\.5"),
    ],
)
def test_bad_profile(arguments, message):
    with pytest.raises(ValueError, match=message):
        longtail.exponential_profile(*arguments)


def test_subset_has_the_counts_asked_for(rng):
    labels = torch.randint(5, (400,))
    counts = [40, 20, 10, 3, 0]
    indices = longtail.long_tailed_subset(labels, counts, seed=rng.randrange(1000))
    assert longtail.class_counts(labels[indices], 5).tolist() == counts
    assert indices.unique().numel() == indices.numel()
    assert torch.equal(indices, indices.sort().values)


def test_subset_depends_on_the_seed_alone():
    labels = torch.arange(3).repeat_interleave(100)
    first = longtail.long_tailed_subset(labels, [50, 20, 5], seed=7)
    torch.manual_seed(123)
    assert torch.equal(longtail.long_tailed_subset(labels.tolist(), [50, 20, 5], seed=7), first)
    assert not torch.equal(longtail.long_tailed_subset(labels, [50, 20, 5], seed=8), first)


def test_smaller_subset_lies_inside_a_larger_one(rng):
    labels = torch.randint(4, (300,))
    small = longtail.long_tailed_subset(labels, [20, 10, 3, 1], seed=3)
    large = longtail.long_tailed_subset(labels, [30, 20, 15, 10], seed=3)
    assert set(small.tolist()) < set(large.tolist())


@pytest.mark.parametrize("count", [-1, 4])
def test_subset_of_more_than_there_are_is_an_error(count):
    with pytest.raises(ValueError, match=rf"counts\[1\].*\b3\b.*{count}"):
        longtail.long_tailed_subset([0, 1, 1, 1], [1, count], seed=0)


def test_subset_of_an_unknown_class_is_an_error():
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 2\)"):
        longtail.long_tailed_subset([0, 1, 2], [1, 1], seed=0)


# ---- Metrics -------------------------------------------------------------------------------------


def test_groups_at_their_borders():
    groups = longtail.class_groups([101, 100, 20, 19, 0])
    assert groups["many"].tolist() == [True, False, False, False, False]
    assert groups["medium"].tolist() == [False, True, True, False, False]
    assert groups["few"].tolist() == [False, False, False, True, True]


def test_groups_of_cifar100_lt():
    groups = longtail.class_groups(longtail.exponential_profile(500, 100, 100))
    assert {name: members.sum().item() for name, members in groups.items()} == {
        "many": 35,
        "medium": 35,
        "few": 30,
    }


def test_per_class_accuracy(rng):
    labels = torch.randint(5, (200,))
    predictions = torch.where(torch.rand(200) < 0.4, labels, torch.randint(7, (200,)))
    accuracy = longtail.per_class_accuracy(predictions, labels, 6)
    for c in range(5):
        expected = (predictions[labels == c] == c).double().mean()
        assert accuracy[c].item() == pytest.approx(expected.item())
    assert accuracy[5].isnan()


def test_per_class_accuracy_of_unequal_lengths_is_an_error():
    with pytest.raises(ValueError, match=r"predictions.*\[3\].*\[2\]"):
        longtail.per_class_accuracy(torch.zeros(2).long(), torch.zeros(3).long(), 2)


def test_grouped_accuracy():
    counts = [500, 200, 50, 5, 3]
    labels = torch.tensor([0, 0, 0, 0, 1, 2, 2, 3])
    predictions = torch.tensor([0, 0, 0, 1, 1, 2, 0, 0])
    # Per class 3/4, 1, 1/2, 0; class 4 has no test sample.
    accuracy = longtail.grouped_accuracy(predictions, labels, counts)
    assert accuracy == pytest.approx(
        {"all": 2.25 / 4, "many": 1.75 / 2, "medium": 0.5, "few": 0.0}, abs=1e-12
    )


def test_an_empty_group_is_nan_not_zero():
    labels = torch.tensor([0, 1])
    accuracy = longtail.grouped_accuracy(labels, labels, [500, 300])
    assert accuracy["all"] == accuracy["many"] == 1
    assert math.isnan(accuracy["medium"])
    assert math.isnan(accuracy["few"])
    # Nor does a group whose classes have no test sample have an accuracy.
    accuracy = longtail.grouped_accuracy(labels, labels, [500, 300, 2])
    assert math.isnan(accuracy["few"])


def test_calibration_error_by_hand():
    probabilities = torch.tensor([[0.9, 0.1], [0.92, 0.08], [0.55, 0.45], [0.35, 0.65]])
    labels = torch.tensor([0, 1, 0, 0])
    # Of 15 bins, 0.9 and 0.92 share one: one right of two. 0.55 and 0.65 share none.
    expected = (abs(1 - 1.82) + abs(1 - 0.55) + abs(0 - 0.65)) / 4
    assert longtail.expected_calibration_error(probabilities, labels) == pytest.approx(expected)
    # A single bin compares the means.
    one_bin = abs(2 - (0.9 + 0.92 + 0.55 + 0.65)) / 4
    assert longtail.expected_calibration_error(probabilities, labels, 1) == pytest.approx(one_bin)


def test_calibration_error_of_the_sure():
    probabilities = torch.eye(3)
    assert longtail.expected_calibration_error(probabilities, torch.arange(3)) == 0
    assert longtail.expected_calibration_error(probabilities, torch.tensor([1, 2, 0])) == 1
    assert math.isnan(longtail.expected_calibration_error(torch.ones(0, 3), torch.ones(0).long()))


def test_calibration_error_of_the_calibrated_is_small():
    # Labels drawn from the probabilities themselves.
    probabilities = torch.randn(100_000, 4).mul(2).softmax(1)
    labels = torch.multinomial(probabilities, 1).flatten()
    assert longtail.expected_calibration_error(probabilities, labels) < 0.02


def test_calibration_error_of_unequal_lengths_is_an_error():
    with pytest.raises(ValueError, match=r"\[2, 3\].*\[4\]"):
        longtail.expected_calibration_error(torch.ones(2, 3), torch.zeros(4).long())


def test_calibration_bins_against_a_loop(rng):
    confidence = torch.rand(300, dtype=torch.float64)
    confidence[:3] = torch.tensor([0.0, 0.2, 1.0])
    correct = torch.rand(300) < 0.7
    bins = longtail.calibration_bins(confidence, correct, 5)
    assert bins.counts.sum() == 300
    for k in range(5):
        # 0 has no bin of its own, and 0.2 and 1 close theirs.
        low = -1 if k == 0 else k / 5
        members = (confidence > low) & (confidence <= (k + 1) / 5)
        assert bins.counts[k] == members.sum()
        assert bins.confidence[k].item() == pytest.approx(confidence[members].mean().item())
        assert bins.accuracy[k].item() == pytest.approx(correct[members].double().mean().item())


def test_an_empty_calibration_bin_is_nan_and_leaves_the_error_alone():
    bins = longtail.calibration_bins(torch.tensor([0.9, 0.8]), torch.tensor([True, False]), 2)
    assert bins.counts.tolist() == [0, 2]
    assert bins.confidence[0].isnan() and bins.accuracy[0].isnan()
    assert bins.expected_error() == pytest.approx(0.35)


@pytest.mark.parametrize("confidence", [-0.1, 1.1, math.nan, math.inf])
def test_a_confidence_that_is_no_probability_is_an_error(confidence):
    with pytest.raises(ValueError, match=rf"confidence must lie in \[0, 1\], got {confidence}"):
        longtail.calibration_bins(torch.tensor([0.5, confidence]), torch.tensor([True, True]))


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
    differences = longtail.paired_difference(first, second, labels, counts, num_resamples=100)
    accuracy, baseline = (longtail.grouped_accuracy(p, labels, counts) for p in (first, second))
    assert list(differences) == ["top1", "all", "many", "medium", "few"]
    for name, value in accuracy.items():
        assert differences[name].value == pytest.approx(value - baseline[name])
        assert differences[name].low <= differences[name].value <= differences[name].high
    top1 = (first == labels).double().mean() - (second == labels).double().mean()
    assert differences["top1"].value == pytest.approx(top1.item())


def test_the_interval_is_about_the_normal_one():
    first, second, labels = two_runs(4000, 4, 0.1)
    difference = longtail.paired_difference(first, second, labels, [200] * 4)["all"]
    gain = (first == labels).double() - (second == labels).double()
    # Of classes drawn separately: the variances of their means add up.
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
    difference = longtail.paired_difference(predictions, baseline, labels, [200, 200])["all"]
    assert difference.value == pytest.approx(0.1)
    assert 0 < difference.low < 0.1 < difference.high < 0.2


def test_a_run_compared_with_itself_and_groups_without_images():
    predictions = torch.tensor([0, 1, 1])
    differences = longtail.paired_difference(
        predictions, predictions, torch.tensor([0, 0, 1]), [500, 300, 5], num_resamples=50
    )
    assert differences["all"] == differences["many"] == (0, 0, 0)
    assert all(math.isnan(x) for x in (*differences["medium"], *differences["few"]))


def test_the_interval_depends_on_the_seed_alone():
    first, second, labels = two_runs(100, 3, 0.2)
    expected = longtail.paired_difference(first, second, labels, [9] * 3, 200, seed=3)["all"]
    torch.manual_seed(5)
    assert (
        longtail.paired_difference(first, second, labels, [9] * 3, 200, seed=3)["all"] == expected
    )
    assert (
        longtail.paired_difference(first, second, labels, [9] * 3, 200, seed=4)["all"] != expected
    )


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
        longtail.paired_difference(**(arguments | change))
