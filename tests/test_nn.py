import copy
import io
import warnings

import pytest
import torch
from problems import draw_loss, identical, value_and_gradients
from torch import nn
from torch.nn import functional as F

import paco
from paco import reference
from paco.nn import ClassCenters, FeatureQueue, PaCoLoss, momentum_update_


def script(module):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        return torch.jit.script(module)


def saved_and_loaded(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


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
    problem = draw_loss(rng, torch.float32)
    loss, arguments = split(problem)
    actual = value_and_gradients(form(loss), arguments)
    assert identical(actual, value_and_gradients(paco.paco_loss, problem))


def test_loss_takes_integers_as_hyper_parameters(rng):
    problem = draw_loss(rng, centers=True)
    problem.update(alpha=1, beta=2, gamma=1, temperature=1, base_temperature=2)
    loss, arguments = split(problem)
    torch.testing.assert_close(script(loss)(**arguments), reference.paco_loss(**problem))


def test_loss_needs_alpha_and_temperature_by_name():
    with pytest.raises(TypeError, match="alpha"):
        PaCoLoss(temperature=0.1)
    with pytest.raises(TypeError, match="temperature"):
        PaCoLoss(alpha=0.1)
    with pytest.raises(TypeError, match="positional"):
        PaCoLoss(0.1, 0.1)


@pytest.mark.parametrize("name", ["alpha", "beta", "gamma", "temperature", "base_temperature"])
@pytest.mark.parametrize("value", [-1.0, float("inf"), float("nan")])
def test_loss_of_a_bad_hyper_parameter_is_an_error(name, value):
    with pytest.raises(ValueError, match=rf"PaCoLoss: {name} must be finite .* got {value}"):
        PaCoLoss(**{"alpha": 0.05, "temperature": 0.2, name: value})


@pytest.mark.parametrize("name", ["temperature", "base_temperature"])
def test_loss_at_temperature_0_is_an_error(name):
    with pytest.raises(ValueError, match=rf"PaCoLoss: {name} must be .* > 0, got 0"):
        PaCoLoss(**{"alpha": 0.05, "temperature": 0.2, name: 0})


@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan")])
def test_loss_with_bad_label_smoothing_is_an_error(value):
    with pytest.raises(ValueError, match=rf"label_smoothing must lie in \[0, 1\), got {value}"):
        PaCoLoss(alpha=0.05, temperature=0.2, label_smoothing=value)


def test_loss_needs_num_anchors(rng):
    loss, arguments = split(draw_loss(rng))
    del arguments["num_anchors"]
    with pytest.raises(ValueError, match=r"num_anchors\b.*\b0\b"):
        loss(**arguments)


def test_loss_shows_its_hyper_parameters():
    loss = PaCoLoss(alpha=0.05, temperature=0.2, label_smoothing=0.1)
    assert "alpha=0.05, temperature=0.2" in repr(loss)
    assert "label_smoothing=0.1" in repr(loss)


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
    dict(supt=0.5),
    dict(cosine=True),
    dict(cosine=True, bias=False, supt=0.1),
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
        supt=centers.supt,
        cosine=centers.cosine,
    )
    torch.testing.assert_close(form(centers)(x), expected)


@pytest.mark.parametrize("supt", [0, -0.5, float("inf"), float("nan")])
def test_centers_of_a_bad_temperature_are_an_error(supt):
    with pytest.raises(ValueError, match=f"ClassCenters: supt must be finite and > 0, got {supt}"):
        ClassCenters(6, 4, supt=supt)


@pytest.mark.parametrize("options", CENTERS, ids=str)
def test_prediction_leaves_the_prior_out(options):
    centers = draw_centers(**options)
    x = torch.randn(5, 6)
    expected = centers(x) - centers.log_prior / centers.supt
    torch.testing.assert_close(centers.predict(x), expected, rtol=1e-5, atol=1e-5)


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


@pytest.mark.parametrize("counts", [[30, 2, 7, 1], torch.tensor([30, 2, 7, 1])], ids=type)
def test_class_counts_set_the_prior(counts):
    centers = ClassCenters(6, 4)
    centers.set_class_counts(counts)
    assert torch.equal(centers.log_prior, paco.log_prior(counts))


def test_equal_class_counts_are_no_prior():
    centers = draw_centers()
    centers.set_class_counts([25] * 4)
    assert centers.log_prior.tolist() == [0] * 4


def test_class_counts_of_other_classes_are_an_error():
    centers = draw_centers()
    before = centers.log_prior.clone()
    with pytest.raises(ValueError, match=r"class_counts\b.*\b4\b.*\b3\b"):
        centers.set_class_counts([1, 2, 3])
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
    copied.set_class_counts([1, 2, 3, 4])
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
    # What a scripted function raises is torch.jit.Error.
    with pytest.raises(Exception, match=r"query_parameters\[1\].*\[3\].*\[1\]"):
        form(momentum_update_)(keys, [torch.ones(2), torch.ones(1)], 0.5)
    assert [key.tolist() for key in keys] == [[0, 0], [0, 0, 0]]


def test_momentum_update_of_no_parameters_does_nothing():
    momentum_update_([], [], 0.5)


# ---- Together ------------------------------------------------------------------------------------


class Trainer(nn.Module):
    """A step of PaCo: query and key encoder, centers, queue and loss."""

    def __init__(self):
        super().__init__()
        self.query = nn.Linear(8, 6)
        self.key = copy.deepcopy(self.query).requires_grad_(False)
        self.centers = ClassCenters(6, 4)
        self.centers.set_class_counts([50, 20, 9, 2])
        self.queue = FeatureQueue(32, 6)
        self.loss = PaCoLoss(alpha=0.05, temperature=0.2)

    def forward(self, x, y):
        key, query = self.key, self.query
        momentum_update_([key.weight, key.bias], [query.weight, query.bias], 0.9)
        h = self.query(x)
        queries = F.normalize(h, dim=1)
        keys = F.normalize(self.key(x + 0.1).detach(), dim=1)
        loss = self.loss(
            torch.cat([queries, keys]),
            torch.cat([y, y]),
            self.centers(h),
            self.queue.features,
            self.queue.labels,
            num_anchors=x.size(0),
            queue_size=self.queue.num_valid,
        )
        self.queue.enqueue(keys, y)
        return loss


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


@pytest.mark.parametrize("form", ["aot_eager", "inductor", "scripted"])
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
        forward = torch.compile(trainer, fullgraph=True, dynamic=True, backend=form)
    # What inductor fuses it rounds in its own way; the others run the same operators.
    tolerance = 1e-5 if form == "inductor" else 0
    assert train(forward, optimizer, steps, seed=3) == pytest.approx(expected, rel=tolerance)
    for name, value in trainer.state_dict().items():
        torch.testing.assert_close(value, eager.state_dict()[name], rtol=tolerance, atol=tolerance)
