import copy
import inspect
import io
import math
import warnings

import pytest
import torch
from helpers.bcl_problems import draw_bcl
from helpers.modules import new_step, saved_and_loaded, script, step_batch
from helpers.problems import draw_loss, identical, unit_rows, value_and_gradients
from torch import nn
from torch.utils.checkpoint import checkpoint

import paco
from paco import reference
from paco.nn import (
    BCLLoss,
    ClassCenters,
    FeatureQueue,
    MomentumEncoder,
    PaCoLoss,
    PixelPaCoLoss,
    ProCoLoss,
    TrainingStep,
    momentum_update_,
)

# ---- TorchScript ---------------------------------------------------------------------------------

MODULES = {
    "BCLLoss": lambda: BCLLoss(0.1),
    "ClassCenters": lambda: ClassCenters(6, 4),
    "FeatureQueue": lambda: FeatureQueue(7, 3),
    "MomentumEncoder": lambda: MomentumEncoder(nn.Linear(3, 2)),
    "PaCoLoss": lambda: PaCoLoss(0.05, 0.2),
    "PixelPaCoLoss": lambda: PixelPaCoLoss(0.01, 0.07),
    "ProCoLoss": lambda: ProCoLoss(4, 5, 0.1),
    "TrainingStep": lambda: new_step(),
}
# The methods of Python alone; TorchScript takes no module as an argument and knows one process.
UNSCRIPTED = {"across_processes", "extra_repr", "reset_parameters", "update"}


def test_every_module_is_here():
    public = {name: getattr(paco.nn, name) for name in paco.nn.__all__}
    modules = {n for n, x in public.items() if inspect.isclass(x) and issubclass(x, nn.Module)}
    assert modules == set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_every_method_scripts(name):
    module = MODULES[name]()
    methods = {n for n, x in vars(type(module)).items() if callable(x) and n[0] != "_"}
    scripted = script(module)
    assert {n for n in methods if scripted._c._has_method(n)} == methods - UNSCRIPTED


@pytest.mark.parametrize(
    "function",
    [
        *(getattr(module, name) for module in (paco.ops, reference) for name in module.__all__),
        paco.longtail.class_counts,
        paco.longtail.log_prior,
        paco.longtail.log_target_prior,
        paco.longtail.effective_number_weights,
        momentum_update_,
    ],
    ids=lambda function: f"{function.__module__}.{function.__name__}",
)
def test_every_function_scripts(function):
    script(function)


def test_saved_code_holds_the_operators_alone():
    def loss(x: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return paco.paco_loss(x, labels, paco.center_logits(x, weight), alpha=0.1, temperature=0.2)

    file = io.BytesIO()
    torch.jit.save(script(loss), file)
    file.seek(0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit")
        loaded = torch.jit.load(file)
    assert "ops.paco.paco_loss" in loaded.code and "ops.paco.center_logits" in loaded.code
    arguments = torch.randn(4, 3), torch.randn(2, 3), torch.tensor([0, 1, 1, 0])
    assert torch.equal(loaded(*arguments), loss(*arguments))


@pytest.mark.parametrize("name", paco.ops.__all__)
def test_reference_is_called_as_the_operator_is(name):
    of_operator, of_reference = (
        inspect.signature(getattr(module, name)) for module in (paco.ops, reference)
    )
    assert of_operator == of_reference
    schema = getattr(torch.ops.paco, name).default._schema
    assert [a.name for a in schema.arguments] == list(of_operator.parameters)


# ---- PaCoLoss ------------------------------------------------------------------------------------


def split(problem):
    """The loss module of a problem, and the arguments of its call."""
    problem = dict(problem)
    names = ["alpha", "temperature", "beta", "gamma", "base_temperature", "label_smoothing"]
    loss = PaCoLoss(**{name: problem.pop(name) for name in names if name in problem})
    return loss, problem


@pytest.mark.parametrize(
    "form", [lambda m: m, script, copy.deepcopy], ids=["eager", "scripted", "copy"]
)
@pytest.mark.parametrize("case", range(5))
def test_loss_is_the_operator(rng, form, case):
    problem = draw_loss(rng, torch.float32, detach_keys=rng.choice([False, True]))
    loss, arguments = split(problem)
    actual = value_and_gradients(form(loss), arguments)
    assert identical(actual, value_and_gradients(paco.paco_loss, problem))


def test_loss_takes_integers_as_hyper_parameters(rng):
    problem = draw_loss(rng, centers=True)
    problem.update(alpha=1, beta=2, gamma=1, temperature=1, base_temperature=2)
    loss, arguments = split(problem)
    torch.testing.assert_close(script(loss)(**arguments), reference.paco_loss(**problem))


@pytest.mark.parametrize("name", ["alpha", "beta", "gamma", "temperature", "base_temperature"])
@pytest.mark.parametrize("value", [-0.5, float("inf"), float("nan")])
def test_loss_of_a_bad_hyper_parameter_is_an_error(name, value):
    with pytest.raises(ValueError, match=rf"paco_loss: {name} must be finite .* got {value}"):
        PaCoLoss(**{"alpha": 0.05, "temperature": 0.2, name: value})


@pytest.mark.parametrize("name", ["temperature", "base_temperature"])
def test_loss_at_temperature_0_is_an_error(name):
    with pytest.raises(ValueError, match=rf"paco_loss: {name} must be .* > 0, got 0"):
        PaCoLoss(**{"alpha": 0.05, "temperature": 0.2, name: 0})


@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan")])
def test_loss_with_bad_label_smoothing_is_an_error(value):
    with pytest.raises(ValueError, match=rf"label_smoothing must lie in \[0, 1\), got {value:g}"):
        PaCoLoss(alpha=0.05, temperature=0.2, label_smoothing=value)


def test_loss_shows_its_hyper_parameters():
    loss = PaCoLoss(alpha=0.05, temperature=0.2, label_smoothing=0.1)
    assert "alpha=0.05, temperature=0.2" in repr(loss)
    assert "label_smoothing=0.1" in repr(loss)


# ---- BCLLoss -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form", [lambda m: m, script, copy.deepcopy], ids=["eager", "scripted", "copy"]
)
@pytest.mark.parametrize("case", range(5))
def test_bcl_loss_is_the_operator(rng, form, case):
    problem = draw_bcl(rng, torch.float32)
    arguments = {name: value for name, value in problem.items() if name != "temperature"}
    loss = BCLLoss(problem["temperature"])
    actual = value_and_gradients(lambda **problem: form(loss)(**problem), arguments)
    assert identical(actual, value_and_gradients(paco.bcl_loss, problem))


@pytest.mark.parametrize("value", [0, -0.5, float("inf"), float("nan")])
def test_bcl_loss_at_a_bad_temperature_is_an_error(value):
    with pytest.raises(ValueError, match=f"bcl_loss: temperature must be .* > 0, got {value}"):
        BCLLoss(value)


def test_bcl_loss_shows_its_temperature():
    assert repr(BCLLoss(temperature=0.1)) == "BCLLoss(temperature=0.1)"


# ---- FeatureQueue --------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [lambda m: m, script], ids=["eager", "scripted"])
@pytest.mark.parametrize("case", range(5))
def test_queue_is_a_ring_buffer(rng, form, case):
    size, dim = rng.randint(1, 20), rng.randint(1, 5)
    queue = form(FeatureQueue(size, dim, dtype=torch.float64))
    expected = FeatureQueue(size, dim, dtype=torch.float64)
    for _ in range(6):
        batch = rng.randint(0, 3 * size)
        keys, labels = torch.randn(batch, dim, dtype=torch.float64), torch.randint(9, (batch,))
        queue(keys, labels)
        reference.queue_enqueue_(expected.features, expected.labels, expected.state, keys, labels)
        assert identical(queue.state_dict(), expected.state_dict())


def test_queue_starts_empty():
    queue = FeatureQueue(7, 3)
    assert queue.features.shape == (7, 3)
    assert queue.features.dtype == torch.get_default_dtype()
    assert queue.labels.tolist() == [-1] * 7
    assert queue.state.tolist() == [0, 0]
    assert queue.num_valid.shape == ()
    assert queue.num_valid.item() == 0
    queue.enqueue(torch.randn(4, 3), torch.arange(4))
    assert queue.num_valid.item() == 4
    assert queue.labels.tolist() == [0, 1, 2, 3, -1, -1, -1]


@pytest.mark.parametrize("form", [lambda m: m, script], ids=["eager", "scripted"])
def test_queue_of_keys_with_any_number_of_classes(rng, form):
    queue = form(FeatureQueue(7, 3, num_classes=5))
    assert queue.labels.shape == (7, 5)
    assert not queue.labels.any()
    labels = torch.rand(4, 5) < 0.5
    queue(torch.randn(4, 3), labels)
    assert torch.equal(queue.labels[:4], labels)
    assert "num_classes=5" in repr(FeatureQueue(7, 3, num_classes=5))
    with pytest.raises(ValueError, match="labels must be bool"):
        FeatureQueue(7, 3, num_classes=1).enqueue(torch.randn(4, 3), torch.ones(4, 1))
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        FeatureQueue(7, 3, num_classes=0)


def test_multi_label_loss_with_a_queue_of_label_vectors(rng):
    queue = FeatureQueue(9, 4, torch.float64, num_classes=3)
    for _ in range(3):
        keys, labels = unit_rows(5, 4), torch.rand(5, 3) < 0.5
        loss = paco.multi_label_paco_loss(
            keys,
            labels,
            torch.randn(5, 3).double(),
            queue.features,
            queue.labels,
            queue.num_valid,
            alpha=0.1,
            temperature=0.2,
        )
        assert loss.isfinite()
        queue.enqueue(keys, labels)
    assert queue.num_valid.item() == 9


@pytest.mark.parametrize(
    ("size", "dim", "message"), [(0, 4, "size.*0"), (-3, 4, "size.*-3"), (4, 0, "dim.*0")]
)
def test_queue_of_nothing_is_an_error(size, dim, message):
    with pytest.raises(ValueError, match=message):
        FeatureQueue(size, dim)


def test_queue_keeps_its_whole_state_in_state_dict():
    queue = FeatureQueue(5, 2)
    for batch in (3, 4):
        queue.enqueue(torch.randn(batch, 2), torch.arange(batch))
    assert set(queue.state_dict()) == {"features", "labels", "state"}
    other = FeatureQueue(5, 2)
    other.load_state_dict(saved_and_loaded(queue.state_dict()))
    for one in (queue, other):
        torch.manual_seed(0)
        one.enqueue(torch.randn(4, 2), torch.arange(4))
    assert identical(queue.state_dict(), other.state_dict())


def test_memory_that_was_never_written_is_reset():
    queues = FeatureQueue(7, 3), FeatureQueue(7, 3, num_classes=2)
    for module in (*queues, ClassCenters(6, 4)):
        fresh = {name: value.clone() for name, value in module.named_buffers()}
        made = module.to("meta").to_empty(device="cpu")
        for value in made.state_dict().values():
            value.fill_(77)  # what memory may hold
        made.reset_parameters()
        assert identical(dict(made.named_buffers()), fresh)
        assert all((value != 77).all() for value in made.state_dict().values())


def test_queue_copies_deeply():
    queue = FeatureQueue(5, 2)
    queue.enqueue(torch.randn(3, 2), torch.arange(3))
    before = saved_and_loaded(queue.state_dict())
    copied = copy.deepcopy(queue)
    assert identical(copied.state_dict(), before)
    copied.enqueue(torch.randn(3, 2), torch.arange(3))
    assert identical(queue.state_dict(), before)


def test_queue_converts_its_keys_alone():
    queue = FeatureQueue(5, 2).to(torch.bfloat16)
    assert queue.features.dtype == torch.bfloat16
    assert queue.labels.dtype == queue.state.dtype == torch.int64
    queue.enqueue(torch.randn(3, 2), torch.arange(3))
    assert queue.num_valid.item() == 3


# ---- ClassCenters --------------------------------------------------------------------------------

CENTERS = [
    dict(),
    dict(bias=False),
    dict(center_temperature=0.5),
    dict(tau=2.0),
    dict(scale=10.0),
    dict(scale=3.0, tau=0.5),
]


def draw_centers(**options):
    centers = ClassCenters(6, 4, **options)
    centers.set_class_counts(torch.tensor([500, 90, 7, 1]))
    return centers


@pytest.mark.parametrize(
    "form", [lambda m: m, script, copy.deepcopy], ids=["eager", "scripted", "copy"]
)
@pytest.mark.parametrize("options", CENTERS, ids=str)
def test_centers_are_the_operator(form, options):
    centers = draw_centers(**options)
    x = torch.randn(5, 6)
    expected = reference.center_logits(
        x,
        centers.weight,
        centers.bias,
        centers.log_prior,
        centers.center_temperature,
        centers.tau,
        centers.scale,
    )
    torch.testing.assert_close(form(centers)(x), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *[
            (dict(center_temperature=bad), f"center_temperature must be finite and > 0, got {bad}")
            for bad in (0, -0.5, float("inf"), float("nan"))
        ],
        *[(dict(tau=bad), f"tau must be finite and >= 0, got {bad}") for bad in (-1, float("nan"))],
        *[(dict(scale=bad), f"scale must be finite and > 0, got {bad}") for bad in (0, -2)],
        (dict(scale=2, bias=True), "bias must be left out with a scale"),
        (dict(scale=2, center_temperature=0.5), "center_temperature must be 1 with a scale"),
    ],
    ids=str,
)
def test_centers_of_a_bad_argument_are_an_error(options, message):
    with pytest.raises(ValueError, match=f"center_logits: {message}"):
        ClassCenters(6, 4, **options)


def test_centers_have_a_bias_unless_they_compare_directions():
    assert ClassCenters(6, 4).bias is not None
    assert ClassCenters(6, 4, bias=False).bias is None
    assert ClassCenters(6, 4, scale=10).bias is None


@pytest.mark.parametrize("options", CENTERS, ids=str)
def test_prediction_leaves_the_prior_out(options):
    centers = draw_centers(**options)
    x = torch.randn(5, 6)
    expected = centers(x) - centers.tau * centers.log_prior
    torch.testing.assert_close(centers.predict(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", [lambda m: m, script], ids=["eager", "scripted"])
@pytest.mark.parametrize("options", CENTERS, ids=str)
def test_prediction_takes_a_target_prior_whatever_tau_is(form, options):
    centers = draw_centers(**options)
    x = torch.randn(5, 6)
    q = torch.tensor([3.0, 0.0, 2.0, 5.0])
    expected = centers.predict(x) + torch.tensor([0.3, 0.0, 0.2, 0.5]).log()
    logits = form(centers).predict(x, q)
    torch.testing.assert_close(logits, expected)
    assert (logits[:, 1] == -math.inf).all()
    step = TrainingStep(PaCoLoss(0.1, 0.2), FeatureQueue(4, 5), centers)
    assert torch.equal(form(step).predict(x, q), logits)


def test_prediction_keeps_its_dtype():
    centers = draw_centers().bfloat16()
    x = torch.randn(5, 6).bfloat16()
    assert centers.predict(x, torch.rand(4, dtype=torch.float64)).dtype == torch.bfloat16


def test_prediction_for_a_bad_target_prior_is_an_error():
    with pytest.raises(ValueError, match=r"target_prior must be \[4\].* got shape \[3\]"):
        draw_centers().predict(torch.randn(5, 6), torch.rand(3))
    with pytest.raises(ValueError, match=r"target_prior .*>= 0.* got a minimum of -1"):
        draw_centers().predict(torch.randn(5, 6), torch.tensor([1.0, -1.0, 1.0, 1.0]))


@pytest.mark.parametrize("tau", [1.0, 0.5, 0.0])
def test_a_target_prior_is_bayes_rule(tau):
    """Centers that know the classes' densities predict the posterior of any prior.

    Gaussians of one covariance I and means m_c have log p(x|c) = m_c . x - |m_c|^2 / 2 + const: a
    linear classifier. Training with the prior leaves it free of the prior only for tau = 1, but
    what is added at inference is the same for every tau.
    """
    means = torch.randn(4, 6, dtype=torch.float64)
    centers = ClassCenters(6, 4, tau=tau).double()
    centers.set_class_counts(torch.tensor([50, 20, 9, 2]))
    with torch.no_grad():
        centers.weight.copy_(means)
        centers.bias.copy_(-0.5 * means.square().sum(1))
    x = means[torch.randint(4, (2000,))] + torch.randn(2000, 6, dtype=torch.float64)
    q = torch.tensor([0.1, 0.2, 0.0, 0.7], dtype=torch.float64)
    densities = torch.distributions.MultivariateNormal(means, torch.eye(6, dtype=torch.float64))
    joint = q * densities.log_prob(x[:, None]).exp()
    posterior = joint / joint.sum(1, keepdim=True)
    torch.testing.assert_close(centers.predict(x, q).softmax(1), posterior)
    assert (centers.predict(x).softmax(1) - posterior).abs().max() > 0.1


def test_a_trained_classifier_predicts_the_posterior_of_another_prior():
    """Balanced softmax on data of one prior, Bayes' rule on data of another."""
    generator = torch.Generator().manual_seed(0)
    means = torch.tensor([[0.0, 0.0], [1.5, 0.0], [0.0, 1.5]])
    counts, q = torch.tensor([30000, 6000, 1500]), torch.tensor([0.1, 0.2, 0.7])

    def draw(numbers):
        labels = torch.repeat_interleave(torch.arange(3), numbers)
        return means[labels] + torch.randn(len(labels), 2, generator=generator), labels

    x, labels = draw(counts)
    centers = ClassCenters(2, 3)
    centers.set_class_counts(counts)
    optimizer = torch.optim.LBFGS(centers.parameters(), max_iter=100)

    def closure():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(centers(x), labels)
        loss.backward()
        return loss

    optimizer.step(closure)
    x, labels = draw((20000 * q).long())
    joint = q * (-0.5 * torch.cdist(x, means).square()).exp()
    with torch.no_grad():
        logits = {None: centers.predict(x), "q": centers.predict(x, q), "train": centers(x)}
    error = (logits["q"].softmax(1) - joint / joint.sum(1, keepdim=True)).abs().mean()
    assert error < 0.01
    accuracy = {name: (s.argmax(1) == labels).float().mean() for name, s in logits.items()}
    assert accuracy["q"] > accuracy[None] + 0.01 and accuracy["q"] > accuracy["train"] + 0.05


def test_prediction_without_a_prior_is_training(rng):
    centers = ClassCenters(6, 4)
    x = torch.randn(5, 6)
    torch.testing.assert_close(centers.predict(x), centers(x))


def test_centers_start_without_a_prior():
    centers = ClassCenters(6, 4)
    assert centers.log_prior.tolist() == [0] * 4
    assert centers.log_prior.dtype == torch.float32
    bound = 6**-0.5
    for parameter in centers.parameters():
        assert 0 < parameter.abs().max() <= bound


@pytest.mark.parametrize("form", [lambda m: m, script], ids=["eager", "scripted"])
def test_class_counts_set_the_prior(form):
    centers = ClassCenters(6, 4)
    counts = torch.tensor([30, 2, 7, 1])
    form(centers).set_class_counts(counts)
    assert torch.equal(centers.log_prior, paco.log_prior(counts))


def test_equal_class_counts_are_no_prior():
    centers = draw_centers()
    centers.set_class_counts(torch.full((4,), 25))
    assert centers.log_prior.tolist() == [0] * 4


def test_class_counts_of_other_classes_are_an_error():
    centers = draw_centers()
    before = centers.log_prior.clone()
    with pytest.raises(ValueError, match=r"class_counts\b.*\b4\b.*\b3\b"):
        centers.set_class_counts(torch.tensor([1, 2, 3]))
    assert torch.equal(centers.log_prior, before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_converted_centers_keep_their_prior_in_float32(dtype):
    centers = draw_centers()
    prior = centers.log_prior.clone()
    centers.to(dtype)
    assert centers.weight.dtype == dtype
    assert centers.log_prior.dtype == torch.float32
    assert torch.equal(centers.log_prior, prior)
    assert centers(torch.randn(2, 6, dtype=dtype)).isfinite().all()
    assert set(dict(centers.named_buffers())) == {"log_prior"}


def test_centers_move_to_another_device_with_their_prior():
    centers = draw_centers().to("meta", torch.float16)
    assert centers.log_prior.device.type == "meta"
    assert centers.log_prior.dtype == torch.float32


def test_centers_keep_their_whole_state_in_state_dict():
    centers = draw_centers()
    assert set(centers.state_dict()) == {"weight", "bias", "log_prior"}
    other = ClassCenters(6, 4)
    other.load_state_dict(saved_and_loaded(centers.state_dict()))
    x = torch.randn(5, 6)
    assert torch.equal(centers(x), other(x))


def test_copied_centers_learn_on_their_own():
    centers = draw_centers()
    copied = copy.deepcopy(centers)
    with torch.no_grad():
        copied.weight.zero_()
    copied.set_class_counts(torch.tensor([1, 2, 3, 4]))
    assert centers.weight.abs().max() > 0
    assert not torch.equal(copied.log_prior, centers.log_prior)


# ---- momentum_update_ ----------------------------------------------------------------------------


@pytest.mark.parametrize("form", [lambda f: f, script], ids=["eager", "scripted"])
def test_momentum_update(rng, form):
    query = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    key = copy.deepcopy(query).requires_grad_(False)
    with torch.no_grad():
        for parameter in query.parameters():
            parameter.normal_()
    momentum = rng.uniform(0, 1)
    expected = [
        momentum * k.double() + (1 - momentum) * q.double()
        for k, q in zip(key.parameters(), query.parameters(), strict=True)
    ]
    before = saved_and_loaded(query.state_dict())
    form(momentum_update_)(list(key.parameters()), list(query.parameters()), momentum)
    for k, e in zip(key.parameters(), expected, strict=True):
        torch.testing.assert_close(k.double(), e, rtol=1e-5, atol=1e-6)
        assert not k.requires_grad
    assert identical(query.state_dict(), before)
    assert all(q.requires_grad for q in query.parameters())


def test_momentum_of_one_keeps_and_of_zero_copies():
    key, query = [torch.randn(3)], [torch.randn(3)]
    before = key[0].clone()
    momentum_update_(key, query, 1.0)
    assert torch.equal(key[0], before)
    momentum_update_(key, query, 0.0)
    assert torch.equal(key[0], query[0])


@pytest.mark.parametrize("momentum", [-0.1, 1.1, float("nan")])
def test_momentum_outside_its_range_changes_nothing(momentum):
    key = [torch.zeros(3)]
    with pytest.raises(ValueError, match=f"momentum.*{momentum}"):
        momentum_update_(key, [torch.ones(3)], momentum)
    assert key[0].tolist() == [0, 0, 0]


def test_momentum_update_of_unequal_lists_is_an_error():
    with pytest.raises(ValueError, match=r"query_parameters\b.*\b1\b.*\b2\b"):
        momentum_update_([torch.zeros(3)], [torch.ones(3), torch.ones(3)], 0.5)


@pytest.mark.parametrize("form", [lambda f: f, script], ids=["eager", "scripted"])
def test_momentum_update_of_other_shapes_changes_nothing(form):
    keys = [torch.zeros(2), torch.zeros(3)]
    # A scripted function raises torch.jit.Error.
    with pytest.raises(Exception, match=r"query_parameters\[1\].*\[3\].*\[1\]"):
        form(momentum_update_)(keys, [torch.ones(2), torch.ones(1)], 0.5)
    assert [key.tolist() for key in keys] == [[0, 0], [0, 0, 0]]


def test_momentum_update_of_no_parameters_does_nothing():
    momentum_update_([], [], 0.5)


def test_momentum_update_takes_what_parameters_gives():
    key, query = nn.Linear(3, 2), nn.Linear(3, 2)
    momentum_update_(key.parameters(), query.parameters(), 0.0)
    assert identical(key.state_dict(), query.state_dict())


# ---- MomentumEncoder -----------------------------------------------------------------------------


def test_momentum_encoder_follows_without_a_gradient():
    query = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    key = MomentumEncoder(query, momentum=0.9)
    assert identical(key.encoder.state_dict(), query.state_dict())
    assert not any(p.requires_grad for p in key.parameters())
    before = [p.clone() for p in key.parameters()]
    with torch.no_grad():
        for parameter in query.parameters():
            parameter.normal_()
    query(torch.randn(8, 4))
    key.update(query)
    for k, b, q in zip(key.parameters(), before, query.parameters(), strict=True):
        torch.testing.assert_close(k, 0.9 * b + 0.1 * q)
    # Its statistics are of what it sees itself.
    assert key.encoder[1].num_batches_tracked == 0
    assert not key(torch.randn(8, 4)).requires_grad
    assert key.encoder[1].num_batches_tracked == 1


@pytest.mark.parametrize("momentum", [-0.1, 1.1, float("nan")])
def test_momentum_encoder_of_a_bad_momentum_is_an_error(momentum):
    with pytest.raises(ValueError, match=f"MomentumEncoder: momentum must lie .* got {momentum}"):
        MomentumEncoder(nn.Linear(2, 2), momentum)


# ---- TrainingStep --------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [lambda m: m, script], ids=["eager", "scripted"])
@pytest.mark.parametrize("num_keys", [6, 18], ids=["two views", "four views"])
@pytest.mark.parametrize("paco_form", [True, False], ids=["paco", "gpaco"])
def test_step_is_the_loss_before_the_enqueue(form, num_keys, paco_form):
    step = new_step()
    step(*step_batch(7))
    queries, _, _, labels = step_batch(6)
    keys = torch.randn(num_keys, 5)
    anchors = 6 if paco_form else 6 + num_keys
    pooled = torch.randn(anchors, 6)
    leaves = [x.requires_grad_() for x in (queries, keys, pooled)]
    rows = nn.functional.normalize(torch.cat([queries, keys.detach() if paco_form else keys]))
    expected = reference.paco_loss(
        rows,
        labels.repeat(1 + num_keys // 6),
        step.centers(pooled),
        step.queue.features[:7].clone(),
        step.queue.labels[:7].clone(),
        num_anchors=anchors,
        alpha=0.05,
        temperature=0.2,
        label_smoothing=0.1,
    )
    # No gradient flows to the keys of PaCo.
    gradients = torch.autograd.grad(expected, leaves, allow_unused=True)
    assert (gradients[1] is None) == paco_form
    result = form(step).detailed(queries, keys, pooled, labels)
    torch.testing.assert_close(result.loss, expected)
    torch.testing.assert_close(result.features, rows)
    assert torch.equal(result.center_logits, step.centers(pooled))
    for actual, gradient in zip(
        torch.autograd.grad(result.loss, leaves, allow_unused=True), gradients, strict=True
    ):
        assert (actual is None) == (gradient is None)
        if actual is not None:
            torch.testing.assert_close(actual, gradient)
    # The keys of all views follow the seven rows, over the oldest where the queue ends at 16.
    places = (7 + torch.arange(num_keys))[-16:] % 16
    assert torch.equal(step.queue.features[places], rows[6:][-16:])
    assert torch.equal(step.queue.labels[places], labels.repeat(num_keys // 6)[-16:])
    assert step.queue.num_valid == min(7 + num_keys, 16)


@pytest.mark.parametrize("form", [lambda m: m, script], ids=["eager", "scripted"])
@pytest.mark.parametrize("anchors", [6, 12], ids=["paco", "gpaco"])
def test_step_of_soft_targets_is_the_loss_of_them(form, anchors):
    step = TrainingStep(PaCoLoss(0.05, 0.2), FeatureQueue(16, 5), ClassCenters(6, 4))
    queries, keys, _, labels = step_batch(6)
    pooled, targets = torch.randn(anchors, 6), torch.rand(anchors, 4).softmax(1)
    expected = reference.paco_loss(
        nn.functional.normalize(torch.cat([queries, keys])),
        labels.repeat(2),
        step.centers(pooled),
        num_anchors=anchors,
        soft_targets=targets,
        alpha=0.05,
        temperature=0.2,
    )
    torch.testing.assert_close(form(step)(queries, keys, pooled, labels, targets), expected)


@pytest.mark.parametrize("num_keys", [6, 12])
def test_step_of_many_views_compiles_whole(num_keys):
    step = new_step()
    queries, _, pooled, labels = step_batch(6)
    batch = (queries, torch.randn(num_keys, 5), pooled, labels)
    expected = copy.deepcopy(step)(*batch)
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*batch), expected)


def test_rows_of_a_step_under_autocast_have_unit_length():
    step = new_step()
    queries, keys, pooled, labels = step_batch(6)
    with torch.autocast("cpu", torch.bfloat16):
        rows = step.detailed(queries.bfloat16(), keys.bfloat16(), pooled, labels).features
    assert rows.dtype == torch.float32
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(12))


def test_step_gives_the_loss_of_its_details():
    step = new_step()
    copied = copy.deepcopy(step)
    batch = step_batch(5)
    assert torch.equal(step(*batch), copied.detailed(*batch).loss)
    assert identical(step.state_dict(), copied.state_dict())


def test_step_predicts_without_the_prior():
    step = new_step()
    pooled = torch.randn(3, 6)
    assert torch.equal(step.predict(pooled), step.centers.predict(pooled))


def test_detached_centers_learn_and_teach_the_encoder_nothing():
    step = new_step()
    detached = TrainingStep(step.loss, copy.deepcopy(step.queue), step.centers, True)
    queries, keys, pooled, labels = step_batch(6)
    pooled.requires_grad_()
    expected = step(queries, keys, pooled, labels)
    of_centers, of_pooled = torch.autograd.grad(expected, (step.centers.weight, pooled))
    assert of_pooled.any()
    loss = detached(queries, keys, pooled, labels)
    assert torch.equal(loss, expected)
    (result,) = torch.autograd.grad(loss, step.centers.weight, retain_graph=True)
    assert torch.equal(result, of_centers)
    assert torch.autograd.grad(loss, pooled, allow_unused=True) == (None,)


@pytest.mark.parametrize("reentrant", [False, True])
def test_step_that_is_checkpointed_is_an_error(reentrant):
    # The recomputation would see the queue after the enqueue, and enqueue once more.
    step = new_step()
    queries, keys, pooled, labels = step_batch(4)
    loss = checkpoint(step, queries.requires_grad_(), keys, pooled, labels, use_reentrant=reentrant)
    state = step.queue.state.clone()
    with pytest.raises(ValueError, match="checkpoint the encoders only"):
        loss.backward()
    assert torch.equal(step.queue.state, state)


def test_enqueue_that_is_checkpointed_is_an_error():
    queue = FeatureQueue(8, 3)

    def forward(x):
        queue.enqueue(x, torch.zeros(2, dtype=torch.int64))
        return x.exp().sum()

    loss = checkpoint(forward, torch.randn(2, 3, requires_grad=True), use_reentrant=True)
    with pytest.raises(ValueError, match=r"queue_enqueue_: .*checkpoint the encoders only"):
        loss.backward()


@pytest.mark.parametrize("reentrant", [False, True])
def test_step_of_checkpointed_encoders_is_the_step(reentrant):
    step = new_step()
    queries, keys, pooled, labels = step_batch(4)
    encoder = nn.Linear(queries.size(1), queries.size(1))
    gradients = []
    for again in (False, True):
        x = queries.clone().requires_grad_()
        copied = copy.deepcopy(step)
        z = checkpoint(encoder, x, use_reentrant=reentrant) if again else encoder(x)
        copied(z, keys, pooled, labels).backward()
        gradients.append(x.grad)
    assert torch.equal(*gradients)


@pytest.mark.filterwarnings("ignore:`torch.jit", "ignore::torch.jit.TracerWarning")
def test_traced_step_takes_other_batches():
    step = new_step()
    traced = torch.jit.trace(step, step_batch(4), check_trace=False)
    step = copy.deepcopy(step)  # tracing has enqueued
    for batch in (4, 6):
        arguments = step_batch(batch)
        assert torch.equal(traced(*arguments), step(*arguments))


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_traced_loss_takes_other_batches_or_says_so(rng):
    problem = draw_loss(rng, rows=8, anchors=4, centers=True, queue=None, classes=3)
    settings = dict(alpha=0.3, temperature=0.2)

    def loss(z, y, s):
        return paco.paco_loss(z, y, s, num_anchors=s.size(0), **settings)

    def supcon(z, y):
        return paco.paco_loss(z, y, num_anchors=z.size(0) // 2, **settings)

    arguments = [problem[name] for name in ("features", "labels", "center_logits")]
    traced = torch.jit.trace(loss, arguments, check_trace=False)
    fewer = [arguments[0][:5], arguments[1][:5], arguments[2][:3]]
    assert torch.equal(traced(*fewer), loss(*fewer))
    with pytest.raises(ValueError, match="num_anchors"):
        torch.jit.trace(supcon, arguments[:2], check_trace=False)


@pytest.mark.parametrize("rows", [5, 7, 13])
def test_step_of_pooled_features_that_are_no_anchors_is_an_error(rows):
    step = new_step()
    queries, keys, _, labels = step_batch(6)
    with pytest.raises(ValueError, match=rf"TrainingStep: pooled .*\b6\b.*\b12\b.*{rows}"):
        step(queries, keys, torch.randn(rows, 6), labels)
    assert step.queue.num_valid == 0


@pytest.mark.parametrize("form", [lambda m: m, script], ids=["eager", "scripted"])
@pytest.mark.parametrize("rows", [0, 5, 13])
def test_step_of_keys_that_are_no_views_is_an_error(form, rows):
    step = new_step()
    queries, _, pooled, labels = step_batch(6)
    error = ValueError if isinstance(form(step), TrainingStep) else torch.jit.Error
    with pytest.raises(error, match=rf"TrainingStep: keys must have 6 rows .*, got {rows}"):
        form(step)(queries, torch.randn(rows, 5), pooled, labels)
    assert step.queue.num_valid == 0


# ---- Together ------------------------------------------------------------------------------------


class Trainer(nn.Module):
    """PaCo's query and key encoder, and a step."""

    def __init__(self):
        super().__init__()
        self.query = nn.Linear(8, 6)
        self.key = MomentumEncoder(self.query)
        self.step = TrainingStep(PaCoLoss(0.05, 0.2), FeatureQueue(32, 6), ClassCenters(6, 4))
        self.step.centers.set_class_counts(torch.tensor([50, 20, 9, 2]))

    def forward(self, x, y):
        key, query = self.key.encoder, self.query
        momentum_update_([key.weight, key.bias], [query.weight, query.bias], 0.9)
        pooled = self.query(x)
        return self.step(pooled, self.key(x + 0.1), pooled, y)


def train(forward, optimizer, steps, seed):
    generator = torch.Generator().manual_seed(seed)
    losses = []
    for batch in steps:
        x = torch.randn(batch, 8, generator=generator)
        y = torch.randint(4, (batch,), generator=generator)
        optimizer.zero_grad()
        loss = forward(x, y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def new_trainer(state=None):
    trainer = Trainer()
    if state is not None:
        trainer.load_state_dict(state)
    return trainer, torch.optim.SGD(trainer.parameters(), lr=0.1)


def test_a_resumed_run_continues_bit_for_bit():
    trainer, optimizer = new_trainer()
    train(trainer, optimizer, [10, 10, 10, 10], seed=1)
    state = saved_and_loaded(trainer.state_dict())
    losses = train(trainer, optimizer, [10, 7, 40], seed=2)
    resumed, optimizer = new_trainer(state)
    assert train(resumed, optimizer, [10, 7, 40], seed=2) == losses
    assert identical(resumed.state_dict(), trainer.state_dict())


@pytest.mark.parametrize("form", ["compiled", "scripted"])
def test_a_compiled_or_scripted_run_is_the_eager_run(form):
    state = Trainer().state_dict()
    eager, optimizer = new_trainer(state)
    steps = [10, 7, 40, 12]
    expected = train(eager, optimizer, steps, seed=3)

    trainer, optimizer = new_trainer(state)
    if form == "scripted":
        forward = script(trainer)
    else:
        torch.compiler.reset()
        forward = torch.compile(trainer, fullgraph=True, dynamic=True)
    # The compiler rounds in its own way where it fuses; TorchScript runs the same operators.
    tolerance = 1e-5 if form == "compiled" else 0
    assert train(forward, optimizer, steps, seed=3) == pytest.approx(expected, rel=tolerance)
    for name, value in trainer.state_dict().items():
        torch.testing.assert_close(value, eager.state_dict()[name], rtol=tolerance, atol=tolerance)
