import math
import operator
import resource

import pytest
import torch
from helpers.modules import script
from helpers.problems import unit_rows
from torch.nn import functional as F

from paco import reference
from paco.nn import FeatureQueue, PaCoLoss, PixelPaCoLoss

OPTIONS = ["num_pixels", "ignore_index", "across_images", "beta", "gamma", "base_temperature"]


def draw(rng, dtype=torch.float64, **fixed):
    """Arguments of reference.pixel_paco_loss."""
    n, c, d = rng.randint(1, 3), rng.randint(1, 6), rng.randint(1, 20)
    h, w = rng.randint(1, 9), rng.randint(1, 9)
    stride = rng.choice([(h, w), (4 * h, 4 * w), (rng.randint(1, 30), rng.randint(1, 30))])
    ignore = rng.choice([255, -100, c, rng.randrange(c)])
    labels = torch.randint(c, (n, *stride))
    labels[torch.rand(labels.shape) < rng.choice([0, 0.3, 0.9])] = ignore
    if rng.random() < 0.3:
        labels[rng.randrange(n)] = ignore
    problem = {
        "embeddings": 3 * torch.randn(n, d, h, w, dtype=dtype),
        "seg_logits": 3 * torch.randn(n, c, h, w, dtype=dtype),
        "labels": labels,
        "num_pixels": rng.choice([None, 8192, rng.randint(1, h * w)]),
        "ignore_index": ignore,
        "across_images": rng.random() < 0.4,
        "alpha": 10 ** rng.uniform(-2, 0.3),
        "beta": rng.choice([1.0, rng.uniform(0.1, 2)]),
        "gamma": rng.choice([1.0, rng.uniform(0.1, 2)]),
        "temperature": 10 ** rng.uniform(-1.3, 0),
        "base_temperature": rng.choice([None, 0.5]),
    }
    if rng.random() < 0.4:
        size = rng.randint(1, 60)
        problem["queue"] = unit_rows(size, d, dtype)
        problem["queue_labels"] = torch.randint(c + 1, (size,))  # ignored pixels among them
        problem["num_valid"] = rng.choice([None, torch.tensor(rng.randint(0, size))])
    return {**problem, **fixed}


def loss_and_arguments(problem):
    """The module of a problem, and the arguments of its call."""
    problem = dict(problem)
    names = ["alpha", "temperature", *OPTIONS]
    return PixelPaCoLoss(**{name: problem.pop(name) for name in names}), problem


def value_and_gradients(function, arguments, device="cpu", seed=0):
    arguments = {
        name: value.to(device) if isinstance(value, torch.Tensor) else value
        for name, value in arguments.items()
    }
    leaves = [arguments[name].detach().requires_grad_() for name in ("embeddings", "seg_logits")]
    torch.manual_seed(seed)
    value = function(**{**arguments, "embeddings": leaves[0], "seg_logits": leaves[1]})
    return value.detach(), *torch.autograd.grad(value, leaves)


def in_float64(arguments):
    return {
        name: x.double() if isinstance(x, torch.Tensor) and x.is_floating_point() else x
        for name, x in arguments.items()
    }


def anchor_by_anchor(problem):
    """The loss of all pixels as a person would add it up: an image, an anchor, a pair at a time."""
    images = []
    for z, s, y in zip(
        problem["embeddings"], problem["seg_logits"], problem["labels"], strict=True
    ):
        rows = [[v / math.hypot(*x) for v in x] for x in z.flatten(1).T.tolist()]
        logits, labels = s.flatten(1).T.tolist(), y.flatten().tolist()
        losses = []
        for i, label in enumerate(labels):
            if label == problem["ignore_index"]:
                continue
            others = [j for j in range(len(rows)) if j != i]
            p = {
                j: sum(map(operator.mul, rows[i], rows[j])) / problem["temperature"] for j in others
            }
            partition = math.log(sum(map(math.exp, logits[i])) + sum(map(math.exp, p.values())))
            own = [p[j] for j in others if labels[j] == label]
            bracket = (
                logits[i][label] - partition + problem["alpha"] * sum(x - partition for x in own)
            )
            losses.append(-bracket / (1 + problem["alpha"] * len(own)))
        images.append(sum(losses) / max(len(losses), 1))
    return sum(images) / len(images)


# ---- The definition ------------------------------------------------------------------------------


@pytest.mark.parametrize("case", range(5))
def test_definition_is_the_sum_over_anchors(rng, case):
    problem = draw(
        rng, num_pixels=None, across_images=False, beta=1.0, gamma=1.0, base_temperature=None
    )
    problem = {name: x for name, x in problem.items() if not name.startswith(("queue", "num_v"))}
    size = problem["embeddings"].shape[2:]
    stride = rng.randint(1, 4)
    labels = torch.randint(problem["seg_logits"].size(1), (len(problem["labels"]), *size))
    labels[torch.rand(labels.shape) < 0.3] = problem["ignore_index"]
    expected = anchor_by_anchor({**problem, "labels": labels})
    # Nearest of a whole stride is the upper left pixel.
    problem["labels"] = torch.full(
        (len(labels), *(stride * n for n in size)), problem["ignore_index"]
    )
    problem["labels"][:, ::stride, ::stride] = labels
    assert reference.pixel_paco_loss(**problem).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("form", ["eager", "scripted"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("case", range(15))
def test_loss_and_gradients_are_the_definition_s(rng, case, dtype, form):
    problem = draw(rng, dtype)
    loss, arguments = loss_and_arguments(problem)
    actual = value_and_gradients(script(loss) if form == "scripted" else loss, arguments)
    expected = value_and_gradients(reference.pixel_paco_loss, in_float64(problem))
    tolerance = 1e-10 if dtype == torch.float64 else 2e-4
    for value, exact in zip(actual, expected, strict=True):
        assert value.dtype == dtype
        scale = max(exact.abs().max().item(), 0.05)  # far below, differences are rounding
        torch.testing.assert_close(value.double(), exact, rtol=0, atol=tolerance * scale)


def test_gradients_are_those_of_finite_differences(rng):
    loss, arguments = loss_and_arguments(draw(rng, num_pixels=None))
    rest = {name: x for name, x in arguments.items() if name not in ("embeddings", "seg_logits")}
    torch.autograd.gradcheck(
        lambda z, s: loss(z, s, **rest),
        [arguments[name].requires_grad_() for name in ("embeddings", "seg_logits")],
    )


@pytest.mark.parametrize("num_pixels", [None, 10])
def test_loss_compiles_without_a_graph_break(rng, num_pixels):
    torch.compiler.reset()
    problem = draw(rng, torch.float32, num_pixels=num_pixels)
    problem["embeddings"] = torch.randn(2, 5, 7, 6)
    problem["seg_logits"] = torch.randn(2, 4, 7, 6)
    problem["labels"] = torch.randint(4, (2, 28, 24))
    problem = {name: x for name, x in problem.items() if not name.startswith(("queue", "num_v"))}
    problem["ignore_index"] = 255
    loss, arguments = loss_and_arguments(problem)
    compiled = torch.compile(loss, fullgraph=True)
    eager = value_and_gradients(loss, arguments)
    for value, expected in zip(value_and_gradients(compiled, arguments), eager, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
    if num_pixels is None:
        arguments["labels"][1, 0, 0] = 4  # which stands for an ignored pixel inside
        with pytest.raises(ValueError, match=r"labels must lie in \[0, C\), got -1"):
            compiled(**arguments)


def test_loss_exports():
    arguments = torch.randn(2, 5, 7, 6), torch.randn(2, 4, 7, 6), torch.randint(4, (2, 28, 24))
    loss = PixelPaCoLoss(0.1, 0.2, num_pixels=None)
    program = torch.export.export(loss, arguments)
    torch.testing.assert_close(program.module()(*arguments), loss(*arguments))


def test_loss_on_a_device_is_the_definition_s(rng, device):
    problem = draw(rng, torch.float32, num_pixels=None)
    loss, arguments = loss_and_arguments(problem)
    actual = value_and_gradients(loss, arguments, device)
    expected = value_and_gradients(reference.pixel_paco_loss, in_float64(problem))
    for value, exact in zip(actual, expected, strict=True):
        scale = max(exact.abs().max().item(), 0.05)
        torch.testing.assert_close(value.cpu().double(), exact, rtol=0, atol=1e-3 * scale)


# ---- What is drawn -------------------------------------------------------------------------------


def test_pixels_are_drawn_anew_for_each_image_and_call():
    torch.manual_seed(0)
    embeddings, seg_logits = torch.randn(1, 6, 8, 8), torch.randn(1, 3, 8, 8)
    labels = torch.randint(3, (1, 8, 8))
    embeddings, seg_logits, labels = (
        torch.cat([x, x]).requires_grad_(x.is_floating_point())
        for x in (embeddings, seg_logits, labels)
    )
    loss = PixelPaCoLoss(0.1, 0.2, num_pixels=20)
    drawn = []
    for _ in range(2):
        (gradient,) = torch.autograd.grad(loss(embeddings, seg_logits, labels), embeddings)
        drawn += [x.abs().sum(0) > 0 for x in gradient]
    assert [x.sum().item() for x in drawn] == [20] * 4
    assert len({tuple(x.flatten().tolist()) for x in drawn}) == 4


def test_all_pixels_leave_the_generator_alone():
    arguments = torch.randn(2, 6, 4, 4), torch.randn(2, 3, 4, 4), torch.randint(3, (2, 8, 8))
    state = torch.get_rng_state()
    all_pixels = PixelPaCoLoss(0.1, 0.2, num_pixels=None)(*arguments)
    more_than_there_are = PixelPaCoLoss(0.1, 0.2, num_pixels=17)(*arguments)
    assert torch.equal(all_pixels, more_than_there_are)
    assert torch.equal(torch.get_rng_state(), state)


def test_images_are_one_problem_across_images():
    embeddings, seg_logits = torch.randn(3, 6, 4, 5), torch.randn(3, 4, 4, 5)
    labels = torch.randint(4, (3, 4, 5))
    whole = PixelPaCoLoss(0.3, 0.2, num_pixels=None, across_images=True)
    rows = [x.permute(0, 2, 3, 1).reshape(60, -1) for x in (embeddings, seg_logits)]
    expected = PaCoLoss(0.3, 0.2)(F.normalize(rows[0], dim=1), labels.flatten(), rows[1])
    torch.testing.assert_close(whole(embeddings, seg_logits, labels), expected)


# ---- Ignored pixels ------------------------------------------------------------------------------


def test_image_of_ignored_pixels_alone_adds_nothing():
    embeddings = torch.randn(2, 6, 4, 4, requires_grad=True)
    seg_logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    labels = torch.randint(3, (2, 4, 4))
    labels[1] = 255
    loss = PixelPaCoLoss(0.1, 0.2)
    value = loss(embeddings, seg_logits, labels)
    torch.testing.assert_close(value, loss(embeddings[:1], seg_logits[:1], labels[:1]) / 2)
    for gradient in torch.autograd.grad(value, [embeddings, seg_logits]):
        assert gradient[0].abs().sum() > 0
        assert gradient[1].abs().sum() == 0
    labels[0] = 255
    assert loss(embeddings, seg_logits, labels).item() == 0


def test_ignored_pixels_are_contrast_of_every_class():
    embeddings, seg_logits = torch.randn(1, 6, 1, 9), torch.zeros(1, 3, 1, 9)
    embeddings.requires_grad_()
    seg_logits.requires_grad_()
    labels = torch.tensor([[[0, 0, 1, 1, 2, 2, 255, 255, 255]]])
    value = PixelPaCoLoss(0.5, 0.2)(embeddings, seg_logits, labels)
    of_rows, of_logits = torch.autograd.grad(value, [embeddings, seg_logits])
    assert (of_rows[0, :, 0].abs().sum(0) > 0).all()
    assert (of_logits[0, :, 0].abs().sum(0) > 0).tolist() == [True] * 6 + [False] * 3
    others = embeddings.detach().clone()
    others[..., 6:] = torch.randn(6, 1, 3)
    assert PixelPaCoLoss(0.5, 0.2)(others, seg_logits, labels).item() != value.item()


@pytest.mark.parametrize("name", ["embeddings", "seg_logits"])
def test_nan_anywhere_is_nan(rng, name):
    loss, arguments = loss_and_arguments(draw(rng, num_pixels=None))
    arguments[name].view(-1)[rng.randrange(arguments[name].numel())] = math.nan
    assert loss(**arguments).isnan()


# ---- Precision and memory ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_normalised_in_float32(dtype):
    embeddings, seg_logits = torch.randn(2, 16, 5, 5).to(dtype), torch.randn(2, 4, 5, 5).to(dtype)
    labels = torch.randint(4, (2, 5, 5))
    loss = PixelPaCoLoss(0.1, 0.07)
    expected = loss(embeddings.float(), seg_logits.float(), labels)
    assert torch.equal(loss(embeddings, seg_logits, labels), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(loss(embeddings, seg_logits, labels), expected)


def test_memory_grows_with_the_pixels_not_with_their_square():
    pixels = 100 * 100  # one matrix of them has 400 MB
    embeddings = torch.randn(1, 4, 100, 100, requires_grad=True)
    labels = torch.randint(3, (1, 100, 100))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    PixelPaCoLoss(0.1, 0.2, num_pixels=None)(
        embeddings, torch.randn(1, 3, 100, 100), labels
    ).backward()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < pixels**2 * 4 / 10


def test_queue_of_pixels_is_contrast():
    embeddings, seg_logits = torch.randn(2, 6, 4, 4), torch.randn(2, 3, 4, 4)
    labels = torch.randint(3, (2, 4, 4))
    loss = PixelPaCoLoss(0.1, 0.2)
    queue = FeatureQueue(10, 6)

    def with_queue():
        return loss(embeddings, seg_logits, labels, queue.features, queue.labels, queue.num_valid)

    assert torch.equal(with_queue(), loss(embeddings, seg_logits, labels))
    queue(unit_rows(4, 6, torch.float32), torch.tensor([0, 1, 2, 3]))
    assert with_queue() > loss(embeddings, seg_logits, labels)


# ---- Bad input -----------------------------------------------------------------------------------

GOOD = dict(
    embeddings=torch.zeros(2, 5, 4, 3),
    seg_logits=torch.zeros(2, 7, 4, 3),
    labels=torch.zeros(2, 8, 6, dtype=torch.int64),
)


@pytest.mark.parametrize("form", [lambda m: m, script], ids=["eager", "scripted"])
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("embeddings", torch.zeros(2, 5, 12), r"embeddings must be .*\[2, 5, 12\]"),
        ("embeddings", torch.zeros(0, 5, 4, 3), r"embeddings must be .*none of them 0.*\[0, 5"),
        ("embeddings", torch.zeros(2, 5, 4, 3).long(), "embeddings must be floating-point"),
        ("seg_logits", torch.zeros(2, 7, 4, 4), r"seg_logits must be .* 2, 4, 3 .*\[2, 7, 4, 4\]"),
        ("seg_logits", torch.zeros(3, 7, 4, 3), r"seg_logits must be .*\[3, 7, 4, 3\]"),
        ("seg_logits", torch.zeros(2, 0, 4, 3), r"seg_logits must be .*\[2, 0, 4, 3\]"),
        ("labels", torch.zeros(1, 8, 6).long(), r"labels must be .* N = 2 .*\[1, 8, 6\]"),
        ("labels", torch.zeros(2, 1, 8, 6).long(), r"labels must be .*\[2, 1, 8, 6\]"),
        ("labels", torch.zeros(2, 0, 6).long(), r"labels must be .*\[2, 0, 6\]"),
        ("labels", torch.zeros(2, 8, 6), "labels must be int64"),
        ("labels", torch.full((2, 8, 6), 7), r"labels must lie in \[0, C\) with C = 7.* got 7"),
        ("labels", torch.full((2, 8, 6), -1), r"ignore_index, 255, got -1"),
        ("labels", torch.zeros(2, 8, 6, dtype=torch.int64, device="meta"), "on cpu as in embedd"),
    ],
    ids=str,
)
def test_bad_input_is_an_error(form, name, value, message):
    loss = form(PixelPaCoLoss(0.1, 0.2, num_pixels=3))
    loss(**GOOD)
    with pytest.raises((ValueError, torch.jit.Error), match=f"(?s)PixelPaCoLoss: .*{message}"):
        loss(**{**GOOD, name: value})


def test_bad_label_where_no_pixel_is_read_is_an_error():
    labels = torch.zeros(2, 8, 6, dtype=torch.int64)
    labels[1, 7, 5] = 9  # the nearest pixels are of even rows and columns
    with pytest.raises(ValueError, match="got 9"):
        PixelPaCoLoss(0.1, 0.2)(**{**GOOD, "labels": labels})


@pytest.mark.parametrize("num_pixels", [0, -5])
def test_drawing_no_pixels_is_an_error(num_pixels):
    with pytest.raises(ValueError, match=rf"PixelPaCoLoss: num_pixels must be .* got {num_pixels}"):
        PixelPaCoLoss(0.1, 0.2, num_pixels=num_pixels)


def test_bad_hyper_parameter_is_an_error():
    with pytest.raises(ValueError, match="temperature must be finite and > 0, got 0"):
        PixelPaCoLoss(0.1, 0)


def test_loss_shows_its_settings():
    shown = repr(PixelPaCoLoss(0.01, 0.07, num_pixels=None))
    assert "num_pixels=None, ignore_index=255, across_images=False" in shown
    assert "alpha=0.01, temperature=0.07" in shown
