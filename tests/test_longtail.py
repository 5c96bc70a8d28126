import math

import pytest
import torch
from helpers.modules import script

import paco
from paco import longtail

# ---- Counts and priors ---------------------------------------------------------------------------


def test_class_counts(rng):
    labels = torch.randint(7, (100,))
    expected = [(labels == c).sum().item() for c in range(9)]
    assert longtail.class_counts(labels, 9).tolist() == expected
    assert script(longtail.class_counts)(labels, 9).tolist() == expected
    assert longtail.class_counts(labels[:0], 3).tolist() == [0, 0, 0]


@pytest.mark.parametrize("label", [-1, 4])
def test_class_counts_of_an_unknown_class_are_an_error(label):
    with pytest.raises(ValueError, match=rf"labels must lie in \[0, 4\).*{label}"):
        longtail.class_counts(torch.tensor([0, 1, label]), 4)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.float32])
def test_log_prior(dtype):
    counts = torch.randint(0, 5000, (20,)).to(dtype)
    counts[0] = 1
    prior = paco.log_prior(counts)
    assert prior.dtype == torch.float32
    expected = [math.log(n / counts.sum().item() + 1e-9) for n in counts.tolist()]
    torch.testing.assert_close(prior, torch.tensor(expected, dtype=torch.float32))
    assert torch.equal(script(paco.log_prior)(counts), prior)


def test_log_prior_of_a_class_without_samples_is_finite():
    prior = paco.log_prior(torch.tensor([0, 10]))
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
        paco.log_prior(torch.as_tensor(counts))


def test_log_target_prior():
    q = torch.rand(20)
    q[3] = 0
    prior = longtail.log_target_prior(q, 20)
    assert prior.dtype == torch.float64
    total = math.fsum(q.tolist())
    expected = [math.log(p / total) if p else -math.inf for p in q.tolist()]
    assert prior.tolist() == pytest.approx(expected, rel=1e-14)
    assert torch.equal(script(longtail.log_target_prior)(q, 20), prior)
    # Only proportions count.
    torch.testing.assert_close(longtail.log_target_prior(1e6 * q, 20), prior, rtol=0, atol=1e-6)


BAD_TARGET_PRIORS = [
    (torch.ones(2), r"must be \[3\].*shape \[2\]"),
    (torch.ones(1), r"must be \[3\].*shape \[1\]"),
    (torch.ones(1, 3), r"must be \[3\].*shape \[1, 3\]"),
    (torch.tensor([0.5, 0.6, -0.1]), "-0.1"),
    (torch.zeros(3), r"\b0\b"),
    (torch.tensor([0.5, 0.5, math.nan]), "nan"),
    (torch.tensor([0.5, 0.5, math.inf]), "inf"),
]


@pytest.mark.parametrize(("prior", "message"), BAD_TARGET_PRIORS, ids=str)
def test_log_target_prior_of_no_probabilities_is_an_error(prior, message):
    with pytest.raises(ValueError, match=f"^log_target_prior: target_prior.*{message}"):
        longtail.log_target_prior(prior, 3)


@pytest.mark.parametrize(
    "prior", [p for p, _ in BAD_TARGET_PRIORS if p.shape == (3,)], ids=lambda p: str(p.tolist())
)
def test_compiled_log_target_prior_of_no_probabilities_is_nan(prior):
    compiled = torch.compile(longtail.log_target_prior, fullgraph=True, backend="aot_eager")
    assert compiled(prior, 3).isnan().all()


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.999999])
def test_effective_number_weights(beta):
    counts = torch.randint(1, 5000, (20,))
    counts[0] = 1
    expected = [(1 - beta) / (1 - beta**n) for n in counts.tolist()]
    mean = sum(expected) / 20
    weights = longtail.effective_number_weights(counts, beta)
    assert weights.dtype == torch.float32
    assert weights.tolist() == pytest.approx([x / mean for x in expected], rel=1e-5)
    assert torch.equal(script(longtail.effective_number_weights)(counts, beta), weights)


@pytest.mark.parametrize(
    ("counts", "beta", "message"),
    [
        ([1, 2], 1.0, r"beta must lie in \[0, 1\), got 1"),
        ([1, 0], 0.9, "class_counts .* a minimum of 0"),
        ([], 0.9, r"class_counts .*\[0\]"),
        ([1.0, math.inf], 0.9, "class_counts .*inf"),
    ],
)
def test_effective_number_weights_of_a_bad_argument_are_an_error(counts, beta, message):
    with pytest.raises(ValueError, match=f"^effective_number_weights: {message}"):
        longtail.effective_number_weights(torch.tensor(counts), beta)


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


# ---- Groups --------------------------------------------------------------------------------------


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
