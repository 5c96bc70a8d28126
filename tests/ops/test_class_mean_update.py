import math

import pytest
import torch
from helpers.queues import assert_equal, clone

import paco
from paco import reference

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def new_means(classes, dim, dtype=torch.float64, device="cpu"):
    mean = torch.nn.functional.normalize(torch.randn(classes, dim)).to(dtype)
    return mean.to(device), torch.zeros(classes, dtype=torch.int64, device=device)


@pytest.mark.parametrize("dtype", DTYPES[:2], ids=str)
@pytest.mark.parametrize("feature_dtype", DTYPES, ids=str)
def test_is_the_mean_of_all_features_so_far(rng, device, dtype, feature_dtype):
    classes, dim = rng.randint(1, 20), rng.randint(1, 300)
    fast = new_means(classes, dim, dtype)
    slow = (fast[0].double(), fast[1].clone())
    fast = tuple(x.to(device) for x in fast)
    for _ in range(5):
        batch = rng.choice([0, 1, rng.randint(1, 100)])
        features, labels = (
            torch.randn(batch, dim).to(feature_dtype),
            torch.randint(classes, (batch,)),
        )
        paco.class_mean_update_(*fast, features.to(device), labels.to(device))
        reference.class_mean_update_(*slow, features, labels)
    assert torch.equal(fast[1].cpu(), slow[1])
    tolerance = 1e-12 if dtype == torch.float64 else 1e-6
    torch.testing.assert_close(fast[0].cpu().double(), slow[0], rtol=0, atol=tolerance)


def test_the_mean_of_many_features_does_not_drift(device):
    mean, count = (x.to(device) for x in new_means(2, 3, torch.float32))
    total = torch.zeros(2, 3, dtype=torch.float64)
    for _ in range(300):
        features, labels = torch.rand(500, 3) + 1, torch.randint(2, (500,))
        paco.class_mean_update_(mean, count, features.to(device), labels.to(device))
        total.index_add_(0, labels, features.double())
    assert count.sum() == 150_000
    torch.testing.assert_close(mean.cpu().double(), total / count.cpu()[:, None], rtol=3e-6, atol=0)


def test_the_first_feature_takes_the_place_of_what_was_there(device):
    mean, count = new_means(3, 4, torch.float32, device)
    mean[1] = math.nan
    before = mean[[0, 2]].clone()
    feature = torch.randn(1, 4, device=device)
    paco.class_mean_update_(mean, count, feature, torch.tensor([1], device=device))
    assert torch.equal(mean[1:2], feature)
    assert torch.equal(mean[[0, 2]], before)
    assert count.tolist() == [0, 1, 0]


def test_a_feature_that_is_not_finite_spoils_its_class_alone(device):
    mean, count = new_means(2, 4, torch.float32, device)
    features = torch.randn(4, 4, device=device)
    features[1, 2] = math.nan
    labels = torch.tensor([0, 1, 0, 1], device=device)
    paco.class_mean_update_(mean, count, features, labels)
    assert mean[0].isfinite().all()
    assert mean[1].isnan().any()


def test_equal_inputs_give_equal_bits_on_any_number_of_threads(device):
    features = torch.randn(3000, 70, device=device)
    labels = torch.randint(5, (3000,), device=device)
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (before, 1, 3):
            torch.set_num_threads(threads)
            mean = torch.zeros(5, 70, device=device)
            count = torch.ones(5, dtype=torch.int64, device=device)
            paco.class_mean_update_(mean, count, features, labels)
            results.append((mean, count))
    finally:
        torch.set_num_threads(before)
    for result in results[1:]:
        assert_equal(result, results[0])


def test_keeps_no_gradient():
    mean, count = new_means(2, 3)
    features = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    paco.class_mean_update_(mean, count, 2 * features, torch.tensor([1, 0]))
    assert mean.grad_fn is None
    torch.testing.assert_close(mean, 2 * features.detach()[[1, 0]])


def test_a_backward_pass_that_saved_the_means_notices_the_update():
    mean, count = new_means(4, 2)
    x = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    product = x @ mean.T
    paco.class_mean_update_(mean, count, x, torch.tensor([0, 1, 2]))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.sum().backward()


def test_non_contiguous_tensors(rng, device):
    slow = new_means(5, 3, torch.float32)
    fast = (
        torch.zeros(3, 10, device=device).T[::2],
        torch.zeros(10, dtype=torch.int64, device=device)[::2],
    )
    fast[0].copy_(slow[0])
    for _ in range(3):
        features, labels = torch.randn(3, 4).T, torch.randint(5, (8,))[::2]
        paco.class_mean_update_(*fast, features.to(device), labels.to(device))
        paco.class_mean_update_(*slow, features, labels)
    assert torch.equal(fast[1].cpu(), slow[1])
    torch.testing.assert_close(fast[0].cpu(), slow[0])


def test_features_that_lie_in_the_means_are_as_good_as_copies(device):
    fast = new_means(6, 3, torch.float32, device)
    fast[1].copy_(torch.tensor([3, 1, 4, 1, 5, 2]))
    slow = clone(fast)
    paco.class_mean_update_(*fast, fast[0], fast[1])
    paco.class_mean_update_(*slow, slow[0].clone(), slow[1].clone())
    assert_equal(fast, slow)


def test_inference_mode():
    outside = new_means(4, 2)
    with torch.inference_mode():
        inside = clone(outside)
        features, labels = torch.randn(3, 2), torch.tensor([0, 1, 2])
        paco.class_mean_update_(*inside, features, labels)
        paco.class_mean_update_(*outside, features, labels)
    assert_equal(inside, outside)


def test_opcheck(device):
    features, labels = torch.randn(3, 2, device=device), torch.tensor([0, 1, 2], device=device)
    op = torch.ops.paco.class_mean_update_.default
    torch.library.opcheck(op, (*new_means(4, 2, torch.float32, device), features, labels))
    features.requires_grad_()
    torch.library.opcheck(op, (*new_means(4, 2, torch.float32, device), features, labels))


def test_compiled_is_eager(rng):
    def update(mean, count, features, labels):
        paco.class_mean_update_(mean, count, features, labels)
        return mean.sum() + count.sum()

    compiled = torch.compile(update, fullgraph=True, dynamic=True, backend="aot_eager")
    fast = new_means(9, 4)
    slow = clone(fast)
    for batch in (5, 7, 20):
        features, labels = torch.randn(batch, 4, dtype=torch.float64), torch.randint(9, (batch,))
        assert torch.equal(compiled(*fast, features, labels), update(*slow, features, labels))
        assert_equal(fast, slow)


def test_a_checkpointed_update_is_an_error():
    from torch.utils.checkpoint import checkpoint

    mean, count = new_means(2, 3)
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)

    def step(x):
        paco.class_mean_update_(mean, count, x, torch.tensor([0, 1]))
        return (x**2).sum()

    loss = checkpoint(step, x, use_reentrant=False)
    with pytest.raises(ValueError, match=r"^class_mean_update_: .*backward pass"):
        loss.backward()
    assert count.tolist() == [1, 1]


# The good call has C = 6, D = 4, N = 3. The numbers are of its arguments in their order.
BAD_INPUTS = {
    "means 1-d": (0, r"class_mean\b.*\[24\]", torch.flatten),
    "means of no class": (0, r"class_mean\b.*\[0, 4\]", lambda x: x[:0]),
    "means in float16": (0, r"class_mean\b.*Half", torch.Tensor.half),
    "means of integers": (0, r"class_mean\b.*Int", torch.Tensor.int),
    "means to learn": (0, r"class_mean\b.*grad", lambda x: x.clone().requires_grad_()),
    "means expanded": (0, r"class_mean\b.*overlap.*\[0, 1\]", lambda x: x[:1].expand(6, 4)),
    "means sparse": (0, r"class_mean\b.*[Ss]parse", torch.Tensor.to_sparse),
    "counts too few": (1, r"class_count\b.*\[5\]", lambda x: x[:5]),
    "counts int32": (1, r"class_count\b.*Int", torch.Tensor.int),
    "counts elsewhere": (1, r"class_count\b.*meta", lambda x: x.to("meta")),
    "counts expanded": (1, r"class_count\b.*overlap", lambda x: x[:1].expand(6)),
    "counts sparse": (1, r"class_count\b.*[Ss]parse", torch.Tensor.to_sparse),
    "a count below 0": (1, r"class_count\b.*got -1 at 0", lambda x: x - 1),
    "features 1-d": (2, r"features\b.*\[12\]", torch.flatten),
    "features of another width": (2, r"features\b.*\[3, 3\]", lambda x: x[:, :3]),
    "features of integers": (2, r"features\b.*Int", torch.Tensor.int),
    "features sparse": (2, r"features\b.*[Ss]parse", torch.Tensor.to_sparse),
    "features elsewhere": (2, r"features\b.*meta", lambda x: x.to("meta")),
    "labels too few": (3, r"labels\b.*\[2\]", lambda x: x[:2]),
    "labels 2-d": (3, r"labels\b.*\[3, 1\]", lambda x: x[:, None]),
    "labels int32": (3, r"labels\b.*Int", torch.Tensor.int),
    "labels sparse": (3, r"labels\b.*[Ss]parse", torch.Tensor.to_sparse),
    "a label too large": (3, r"labels\b.*got 6 at 0 with C = 6", lambda x: x + 4),
    "a label below 0": (3, r"labels\b.*got -1 at 1", lambda x: x - 1),
}


@pytest.mark.parametrize(("index", "message", "change"), BAD_INPUTS.values(), ids=BAD_INPUTS.keys())
def test_bad_input_changes_nothing(index, message, change):
    arguments = [*new_means(6, 4, torch.float32), torch.randn(3, 4), torch.tensor([2, 0, 1])]
    before = clone(arguments)
    called = list(arguments)
    called[index] = change(arguments[index])
    with pytest.raises(ValueError, match=f"^class_mean_update_: .*{message}"):
        paco.class_mean_update_(*called)
    assert_equal(arguments, before)
