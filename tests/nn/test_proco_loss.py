import copy

import pytest
import torch
from helpers.problems import unit_rows
from torch import nn
from torch.nn import functional as F

import paco
from paco import reference
from paco.nn import ProCoLoss


def batch_of(batch=6, dim=5, classes=4, views=2, dtype=torch.float32):
    return unit_rows(views * batch, dim, dtype), torch.randint(classes, (batch,))


def plain_loss(state, features, labels, temperature, log_prior):
    """The loss of losses.md with the definitions; ``state`` is moved on."""
    losses = []
    for view in features.split(len(labels)):
        for name in ("older", "younger"):
            mean, count = state[f"{name}_mean"], state[f"{name}_count"]
            reference.class_mean_update_(mean, count, view, labels)
        mean = state["older_mean"]
        length = mean.norm(dim=1)
        kappa = mean.size(1) * length / (1 - length**2)
        kappa[(length >= 1) | (kappa > 1e5)] = 1e5
        direction = mean / length[:, None]
        s = reference.vmf_logits(view, direction, kappa, temperature)
        losses.append(F.cross_entropy(s + log_prior, labels))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("views", [1, 2, 3])
def test_is_the_definition_over_epochs(views):
    loss = ProCoLoss(4, 5, temperature=0.3).double()
    counts = torch.tensor([70, 20, 9, 1])
    loss.set_class_counts(counts)
    state = {k: v.clone() for k, v in loss.state_dict().items()}
    prior = paco.log_prior(counts).double()
    for _ in range(2):
        for _ in range(4):
            features, labels = batch_of(views=views, dtype=torch.float64)
            features.requires_grad_()
            actual, expected = (
                loss(features, labels),
                plain_loss(state, features, labels, 0.3, prior),
            )
            torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)
            torch.testing.assert_close(
                torch.autograd.grad(actual, features),
                torch.autograd.grad(expected, features),
                rtol=1e-7,
                atol=1e-9,
            )
        loss.start_epoch()
        state["older_mean"], state["older_count"] = state["younger_mean"], state["younger_count"]
        state["younger_mean"] = loss.younger_mean.clone()
        state["younger_count"] = torch.zeros_like(loss.younger_count)
        torch.testing.assert_close(loss.older_mean, state["older_mean"])
        assert torch.equal(loss.older_count, state["older_count"])


def test_starts_at_random_directions_of_length_nine_tenths():
    loss = ProCoLoss(6, 7, 0.1)
    for mean, count in (
        (loss.older_mean, loss.older_count),
        (loss.younger_mean, loss.younger_count),
    ):
        torch.testing.assert_close(mean.norm(dim=1), torch.full((6,), 0.9))
        assert not count.any()
    assert not torch.equal(loss.older_mean, loss.younger_mean)
    before = loss.younger_mean.clone()
    loss.start_epoch()
    assert torch.equal(loss.older_mean, before)
    assert not torch.equal(loss.younger_mean, before)
    torch.testing.assert_close(loss.younger_mean.norm(dim=1), torch.full((6,), 0.9))


def test_classes_never_seen_seen_once_and_without_direction():
    loss = ProCoLoss(4, 8, 0.1)
    feature = unit_rows(1, 8, torch.float32)
    s = loss.logits(feature, torch.tensor([1]))
    kappa = 8 * 0.9 / (1 - 0.81)
    never = loss.older_mean[0] / 0.9
    torch.testing.assert_close(
        s[:, :2],
        paco.vmf_logits(feature, torch.stack([never, feature[0]]), torch.tensor([kappa, 1e5]), 0.1),
        rtol=1e-4,
        atol=1e-4,
    )
    opposite = unit_rows(1, 8, torch.float32)
    s = loss.logits(torch.cat([opposite, -opposite]), torch.tensor([2, 2]))
    assert not loss.older_mean[2].any()
    uniform = paco.vmf_logits(opposite, torch.zeros(1, 8), torch.zeros(1), 0.1)
    torch.testing.assert_close(s[:1, 2:3], uniform)
    assert s.isfinite().all()


def test_counts_of_zero_leave_the_prior_finite():
    loss = ProCoLoss(3, 4, 0.1)
    loss.set_class_counts(torch.tensor([5, 0, 3]))
    assert loss.log_prior.isfinite().all()
    assert loss(*batch_of(dim=4, classes=3)).isfinite()


def test_in_evaluation_nothing_is_added():
    loss = ProCoLoss(4, 5, 0.1)
    loss(*batch_of())
    loss.eval()
    before = copy.deepcopy(loss.state_dict())
    loss(*batch_of())
    torch.testing.assert_close(loss.state_dict(), before, rtol=0, atol=0)


def test_a_resumed_epoch_continues_bit_for_bit():
    loss = ProCoLoss(4, 5, 0.1)
    loss.set_class_counts(torch.tensor([9, 4, 2, 1]))
    for _ in range(2):
        loss(*batch_of())
        loss.start_epoch()
    other = ProCoLoss(4, 5, 0.1)
    other.load_state_dict(loss.state_dict())
    features, labels = batch_of()
    values = []
    for module in (loss, other):
        torch.manual_seed(3)
        values.append([module(features, labels), module.start_epoch(), module(features, labels)])
    assert values[0][0] == values[1][0]
    assert values[0][2] == values[1][2]
    torch.testing.assert_close(loss.state_dict(), other.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_statistics_stay_float32_in_a_half_precision_model(dtype):
    model = nn.ModuleDict({"loss": ProCoLoss(4, 5, 0.1), "other": nn.Linear(2, 2)})
    model["loss"](*batch_of())
    before = copy.deepcopy(model["loss"].state_dict())
    model.to(dtype)
    assert model["other"].weight.dtype == dtype
    torch.testing.assert_close(model["loss"].state_dict(), before, rtol=0, atol=0)
    features, labels = batch_of(dtype=dtype)
    features.requires_grad_()
    loss = model["loss"](features, labels)
    assert loss.dtype == torch.float32
    loss.backward()
    assert features.grad.dtype == dtype
    assert model.double()["loss"].older_mean.dtype == torch.float64
    assert model["loss"].log_prior.dtype == torch.float32


def test_scripted_and_compiled_are_eager():
    loss = ProCoLoss(4, 5, 0.1)
    modules = [
        loss,
        torch.jit.script(copy.deepcopy(loss)),
        torch.compile(copy.deepcopy(loss), fullgraph=True, backend="aot_eager"),
    ]
    for _ in range(2):
        features, labels = batch_of()
        values = [module(features, labels) for module in modules]
        assert torch.equal(values[0], values[1])
        assert torch.equal(values[0], values[2])
        for module in modules:
            torch.manual_seed(5)
            module.start_epoch()
    modules[1].set_class_counts(torch.tensor([1, 2, 3, 4]))


def test_reset_after_to_empty():
    with torch.device("meta"):
        loss = ProCoLoss(4, 5, 0.1)
    loss.to_empty(device="cpu")
    loss.reset_parameters()
    torch.testing.assert_close(loss.older_mean.norm(dim=1), torch.full((4,), 0.9))
    assert loss(*batch_of()).isfinite()


def test_autocast_leaves_the_loss_in_float32():
    loss, other = ProCoLoss(4, 5, 0.1), None
    other = copy.deepcopy(loss)
    features, labels = batch_of()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = loss(features.bfloat16(), labels)
    assert torch.equal(actual, other(features.bfloat16().float(), labels))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 5, 0.1), "num_classes must be at least 1, got 0"),
        ((4, 1, 0.1), "dim must be at least 2, got 1"),
        ((4, 5, 0.0), "temperature must be finite and > 0, got 0"),
        ((4, 5, float("nan")), "temperature must be finite and > 0, got nan"),
    ],
)
def test_bad_settings(arguments, message):
    with pytest.raises(ValueError, match=message):
        ProCoLoss(*arguments)


def test_bad_input():
    loss = ProCoLoss(4, 5, 0.1)
    before = copy.deepcopy(loss.state_dict())
    features, labels = batch_of()
    for bad, of, message in [
        (features[:-1], labels, "a row for each label and view, got 11 rows and 6 labels"),
        (features[:0], labels, "got 0 rows"),
        (features[:0], labels[:0], "got 0 rows and 0 labels"),
        (features[:, :4], labels, r"class_mean_update_: features must be \[N, D\]"),
        (features, labels + 4, r"class_mean_update_: labels must lie in \[0, C\)"),
        (features, labels.int(), "class_mean_update_: labels must be int64"),
    ]:
        with pytest.raises(ValueError, match=message):
            loss(bad, of)
    with pytest.raises(ValueError, match="must have 4 entries, one a class, got 2"):
        loss.set_class_counts(torch.ones(2))
    torch.testing.assert_close(loss.state_dict(), before, rtol=0, atol=0)


def test_features_that_are_nan_are_an_error_and_no_number():
    loss = ProCoLoss(4, 5, 0.1)
    features, labels = batch_of()
    features[0, 1] = float("nan")
    with pytest.raises(ValueError, match="mean_direction must have rows of length 1 or 0, got nan"):
        loss(features, labels)


def take_steps(rank, features, labels):
    torch.manual_seed(rank)  # each process draws other directions
    loss = ProCoLoss(4, 5, 0.1)
    torch.manual_seed(9)
    loss.reset_parameters()
    torch.manual_seed(rank)
    share = slice(0, 4) if rank == 0 else slice(4, 6)
    loss.start_epoch()
    value = loss(features[share], labels[share])
    return value, loss.state_dict()


def test_processes_share_the_estimates(on_two_processes):
    features, labels = unit_rows(6, 5, torch.float32), torch.randint(4, (6,))
    results = on_two_processes(take_steps, features, labels)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=0, atol=0)
    one = ProCoLoss(4, 5, 0.1)
    torch.manual_seed(9)
    one.reset_parameters()
    torch.manual_seed(0)
    one.start_epoch()
    value = one(features, labels)
    torch.testing.assert_close(one.state_dict(), results[0][1], rtol=0, atol=0)
    torch.testing.assert_close(value, (4 * results[0][0] + 2 * results[1][0]) / 6)
