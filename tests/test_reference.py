"""The oracle against loops over the formulas, and against torch's own losses where they meet."""

import math

import pytest
import torch
from helpers.bcl_problems import draw_bcl
from helpers.problems import assert_results_close, draw_loss, value_and_gradients
from torch.nn import functional as F

from paco import reference


def by_hand(
    features,
    labels,
    center_logits=None,
    queue=None,
    queue_labels=None,
    num_valid=None,
    anchor_weight=None,
    num_anchors=None,
    beta=1.0,
    gamma=1.0,
    base_temperature=None,
    label_smoothing=0.0,
    soft_targets=None,
    *,
    alpha,
    temperature,
):
    """One term after another, in Python's floats."""
    rows, classes = features.tolist(), labels.tolist()
    if queue is not None:
        n = len(queue) if num_valid is None else int(num_valid)
        rows, classes = rows + queue[:n].tolist(), classes + queue_labels[:n].tolist()
    base_temperature = base_temperature or temperature
    total = 0.0
    for i in range(num_anchors):
        p = {
            j: sum(x * y for x, y in zip(rows[i], rows[j], strict=True)) / temperature
            for j in range(len(rows))
            if j != i
        }
        positives = [j for j in p if classes[j] == classes[i]]
        s = [] if center_logits is None else center_logits[i].tolist()
        b = beta if s else 0.0
        weight = b + alpha * len(positives)
        if weight == 0:
            continue
        log_partition = math.log(
            sum(math.exp(x) for x in s) + gamma * sum(math.exp(x) for x in p.values())
        )
        bracket = alpha * sum(p[j] - log_partition for j in positives)
        for c, logit in enumerate(s):
            t = 1 - label_smoothing if c == classes[i] else label_smoothing / max(len(s) - 1, 1)
            if soft_targets is not None:
                t = soft_targets[i, c].item()
            bracket += b * t * (logit - log_partition)
        loss = -temperature / base_temperature * bracket / weight
        total += loss * (1 if anchor_weight is None else anchor_weight[i].item())
    return total / num_anchors


@pytest.mark.parametrize("case", range(30))
def test_loss_is_the_formula(rng, case):
    problem = draw_loss(rng, rows=rng.randint(1, 8), queue=rng.choice([None, rng.randint(1, 9)]))
    actual = reference.paco_loss(**problem).item()
    assert actual == pytest.approx(by_hand(**problem), rel=1e-9, abs=1e-11)


@pytest.mark.parametrize("case", range(20))
def test_bcl_is_the_formula(rng, case):
    problem = draw_bcl(rng, rows=rng.randint(1, 8), queue=rng.choice([None, rng.randint(1, 9)]))
    rows, classes = problem["features"].tolist(), problem["labels"].tolist()
    num_anchors = len(rows)
    rows += problem["prototypes"].tolist()
    classes += range(len(problem["prototypes"]))
    if "queue" in problem:
        valid = int(problem.get("num_valid", torch.tensor(len(problem["queue"]))))
        rows += problem["queue"][:valid].tolist()
        classes += problem["queue_labels"][:valid].tolist()
    total = 0.0
    for i in range(num_anchors):
        p = {
            j: sum(x * y for x, y in zip(rows[i], rows[j], strict=True)) / problem["temperature"]
            for j in range(len(rows))
            if j != i
        }
        # The mean of each class over its rows but i, and the sum over the classes.
        denominator = 0.0
        for c in set(classes):
            of_class = [math.exp(x) for j, x in p.items() if classes[j] == c]
            denominator += sum(of_class) / len(of_class)
        positives = [x for j, x in p.items() if classes[j] == classes[i]]
        total -= sum(x - math.log(denominator) for x in positives) / len(positives)
    expected = pytest.approx(total / num_anchors, rel=1e-9, abs=1e-11)
    assert reference.bcl_loss(**problem).item() == expected


def test_loss_without_contrast_is_cross_entropy(rng):
    problem = draw_loss(
        rng, centers=True, classes=6, alpha=0.0, beta=1.0, gamma=0.0, weighted=False, soft=False
    )
    problem["base_temperature"] = problem["temperature"]
    # torch spreads epsilon over all classes, the paper over the others.
    epsilon = problem["label_smoothing"] = 0.1
    expected = F.cross_entropy(
        problem["center_logits"],
        problem["labels"][: problem["num_anchors"]],
        label_smoothing=epsilon * 6 / 5,
    )
    torch.testing.assert_close(reference.paco_loss(**problem), expected)


def test_loss_of_soft_targets_without_contrast_is_cross_entropy(rng):
    problem = draw_loss(
        rng, centers=True, classes=6, alpha=0.0, beta=1.0, gamma=0.0, weighted=False, soft=True
    )
    problem["base_temperature"] = problem["temperature"]
    expected = F.cross_entropy(problem["center_logits"], problem["soft_targets"])
    torch.testing.assert_close(reference.paco_loss(**problem), expected)


def test_anchors_without_a_positive_have_no_gradient():
    # SupCon: the classes 1 and 2 are alone.
    features = F.normalize(torch.randn(4, 3, dtype=torch.float64), dim=1)
    problem = {
        "features": features,
        "labels": torch.tensor([0, 0, 1, 2]),
        "alpha": 1.0,
        "temperature": 0.5,
    }
    for num_anchors, share in [(4, 2 / 4), (2, 2 / 2)]:
        problem["num_anchors"] = num_anchors
        result = value_and_gradients(reference.paco_loss, problem)
        # The first two anchors' mean, over all anchors.
        paired = value_and_gradients(reference.paco_loss, {**problem, "num_anchors": 2})
        expected = {name: share * value for name, value in paired.items()}
        assert_results_close(result, expected, problem, 1e-12)


def test_every_anchor_without_a_positive_is_zero():
    problem = {
        "features": F.normalize(torch.randn(3, 4, dtype=torch.float64), dim=1),
        "labels": torch.arange(3),
        "num_anchors": 3,
        "alpha": 1.0,
        "temperature": 0.5,
    }
    result = value_and_gradients(reference.paco_loss, problem)
    assert result["loss"] == 0
    assert result["features"].eq(0).all()


def test_center_logits_are_the_formula():
    x, weight = torch.randn(3, 5), torch.randn(4, 5)
    bias, prior = torch.randn(4), torch.rand(4).log()
    linear = reference.center_logits(x, weight, bias, prior, center_temperature=0.5, tau=2.0)
    cosine = reference.center_logits(x, weight, log_prior=prior, tau=2.0, scale=7.0)
    for i in range(3):
        for c in range(4):
            product = (x[i] * weight[c]).sum()
            expected = (product + bias[c]) / 0.5 + 2 * prior[c]
            torch.testing.assert_close(linear[i, c], expected)
            expected = 7 * product / x[i].norm() / weight[c].norm() + 2 * prior[c]
            torch.testing.assert_close(cosine[i, c], expected)


def test_queue_keeps_the_last_rows(rng):
    size = rng.randint(1, 6)
    queue = torch.zeros(size, 1), torch.full((size,), -1), torch.zeros(2, dtype=torch.int64)
    written = []
    for _ in range(5):
        batch = rng.randint(0, 9)
        labels = torch.arange(len(written), len(written) + batch)
        reference.queue_enqueue_(*queue, labels[:, None].float(), labels)
        written += labels.tolist()
        kept = written[-size:]
        assert sorted(queue[1].tolist()) == sorted([-1] * (size - len(kept)) + kept)
        assert queue[2].tolist() == [len(written) % size, len(kept)]
        # The oldest row is the next to go.
        if len(written) >= size:
            assert queue[1][queue[2][0]] == kept[0]
