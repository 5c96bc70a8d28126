import pytest
import torch
from helpers.queues import assert_equal, clone, empty_queue

import paco
from paco import reference

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("queue_dtype", DTYPES, ids=str)
@pytest.mark.parametrize("key_dtype", DTYPES, ids=str)
def test_is_one_row_after_another(rng, device, queue_dtype, key_dtype):
    size, dim = rng.randint(1, 60), rng.randint(1, 70)
    fast = empty_queue(size, dim, queue_dtype, device)
    slow = empty_queue(size, dim, queue_dtype)
    for _ in range(12):
        batch = rng.choice([0, 1, rng.randint(1, size), size, rng.randint(size, 4 * size)])
        keys, labels = torch.randn(batch, dim).to(key_dtype), torch.randint(9, (batch,))
        paco.queue_enqueue_(*fast, keys.to(device), labels.to(device))
        reference.queue_enqueue_(*slow, keys.to(queue_dtype), labels)
        assert_equal(fast, slow)


def test_many_rows(device):
    fast = empty_queue(5000, 256, torch.float32, device)
    slow = empty_queue(5000, 256, torch.float32)
    for _ in range(2):
        keys, labels = torch.randn(3000, 256), torch.randint(1000, (3000,))
        paco.queue_enqueue_(*fast, keys.to(device), labels.to(device))
        reference.queue_enqueue_(*slow, keys, labels)
    assert_equal(fast, slow)


@pytest.mark.parametrize("contiguous", [True, False])
def test_label_vectors_go_where_their_keys_go(rng, device, contiguous):
    size, classes = rng.randint(1, 40), rng.randint(1, 20)

    def empty(place: torch.device | str) -> tuple[torch.Tensor, ...]:
        labels = torch.zeros(size, classes, dtype=torch.bool, device=place)
        if not contiguous:
            labels = torch.zeros(classes, 2 * size, dtype=torch.bool, device=place).T[::2]
        features, _, state = empty_queue(size, 3, torch.float32, place)
        return features, labels, state

    fast, slow = empty(device), empty("cpu")
    for _ in range(12):
        batch = rng.choice([0, 1, rng.randint(1, size), size, rng.randint(size, 4 * size)])
        keys, labels = torch.randn(batch, 3), torch.rand(batch, classes) < 0.3
        paco.queue_enqueue_(*fast, keys.to(device), labels.to(device))
        reference.queue_enqueue_(*slow, keys, labels)
        assert_equal(fast, slow)


@pytest.mark.parametrize(
    ("index", "message", "change"),
    [
        (1, r"queue_labels must be bool.*got Float", torch.Tensor.float),
        (1, r"queue_labels must be \[rows, C\].*got \[5, 2\]", lambda x: x[:5]),
        (1, r"queue_labels must not overlap itself", lambda x: x[:1].expand(6, 2)),
        (4, r"labels must be bool.*got Long", torch.Tensor.long),
        (4, r"labels must be \[rows, C\] with C = 2.*got \[3, 1\]", lambda x: x[:, 1:]),
        (4, r"labels must be \[rows, C\] with C = 2.*got \[3\]", lambda x: torch.arange(3)),
        (4, r"labels must be on the device of keys", lambda x: x.to("meta")),
    ],
)
def test_bad_label_vectors_change_nothing(index, message, change):
    features, _, state = empty_queue(6, 4)
    arguments = [features, torch.zeros(6, 2).bool(), state, torch.randn(3, 4), torch.ones(3, 2) > 0]
    paco.queue_enqueue_(*clone(arguments))
    before = clone(arguments)
    called = list(arguments)
    called[index] = change(arguments[index])
    with pytest.raises(ValueError, match=f"^queue_enqueue_: {message}"):
        paco.queue_enqueue_(*called)
    assert_equal(arguments, before)


def test_without_features_labels_are_written(device):
    queue = empty_queue(4, 0, torch.float32, device)
    paco.queue_enqueue_(*queue, torch.zeros(3, 0, device=device), torch.arange(3, device=device))
    assert queue[1].tolist() == [0, 1, 2, -1]
    assert queue[2].tolist() == [3, 3]


def test_wraps_around_and_counts_up_to_its_size():
    queue = empty_queue(4, 1)
    states = []
    for start in (0, 3, 6):
        keys = torch.arange(start, start + 3, dtype=torch.float64)[:, None]
        paco.queue_enqueue_(*queue, keys, torch.arange(start, start + 3))
        states.append(queue[2].tolist())
    assert states == [[3, 3], [2, 4], [1, 4]]
    assert queue[0].flatten().tolist() == queue[1].tolist() == [8, 5, 6, 7]


def test_the_last_rows_of_too_large_a_batch_stay():
    queue = empty_queue(3, 1)
    paco.queue_enqueue_(*queue, torch.arange(8.0)[:, None], torch.arange(8))
    assert sorted(queue[1].tolist()) == [5, 6, 7]
    assert queue[2].tolist() == [8 % 3, 3]


def test_keeps_no_gradient():
    queue = empty_queue(5, 3)
    keys = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    paco.queue_enqueue_(*queue, 2 * keys, torch.tensor([1, 0]))
    assert not queue[0].requires_grad
    assert queue[0].grad_fn is None
    assert torch.equal(queue[0][:2], 2 * keys.detach())


def test_a_backward_pass_after_the_enqueue_is_that_of_the_queue_before(rng):
    features = torch.randn(6, 4, dtype=torch.float64)
    features = (features / features.norm(dim=1, keepdim=True)).requires_grad_()
    labels = torch.randint(3, (6,))
    queue = empty_queue(8, 4)
    paco.queue_enqueue_(*queue, features[:5], labels[:5])
    before = clone(queue)

    def loss(function, queue):
        return function(
            features,
            labels,
            None,
            *queue[:2],
            queue[2][1],
            alpha=1.0,
            temperature=0.5,
        )

    fast = loss(paco.paco_loss, queue)
    paco.queue_enqueue_(*queue, features, labels)
    (actual,) = torch.autograd.grad(fast, features)
    (expected,) = torch.autograd.grad(loss(reference.paco_loss, before), features)
    torch.testing.assert_close(actual, expected)


def test_a_backward_pass_that_saved_the_queue_notices_the_enqueue():
    queue = empty_queue(4, 2)
    x = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    product = x @ queue[0].T
    paco.queue_enqueue_(*queue, x, torch.tensor([0, 1, 2]))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.sum().backward()


def test_non_contiguous_tensors(device):
    slow = empty_queue(7, 3, torch.float32)
    fast = (
        torch.zeros(3, 14, device=device).T[::2],
        torch.full((14,), -1, device=device)[::2],
        torch.zeros(4, dtype=torch.int64, device=device)[::2],
    )
    for _ in range(3):
        keys, labels = torch.randn(3, 4).T, torch.randint(5, (8,))[::2]
        paco.queue_enqueue_(*fast, keys.to(device), labels.to(device))
        reference.queue_enqueue_(*slow, keys, labels)
    assert_equal(fast, slow)


def test_inference_mode():
    outside = empty_queue(4, 2)
    with torch.inference_mode():
        inside = empty_queue(4, 2)
        keys, labels = torch.randn(3, 2, dtype=torch.float64), torch.tensor([0, 1, 2])
        paco.queue_enqueue_(*inside, keys, labels)
        paco.queue_enqueue_(*outside, keys, labels)
    assert_equal(inside, outside)
    assert outside[2].tolist() == [3, 3]


def test_opcheck(device):
    keys, labels = torch.randn(3, 2, device=device), torch.tensor([0, 1, 2], device=device)
    queue = empty_queue(4, 2, torch.float32, device)
    op = torch.ops.paco.queue_enqueue_.default
    torch.library.opcheck(op, (*queue, keys, labels))
    torch.library.opcheck(op, (*queue, keys.requires_grad_(), labels))


def test_compiled_is_eager(rng):
    def enqueue(queue, queue_labels, queue_state, keys, labels):
        paco.queue_enqueue_(queue, queue_labels, queue_state, keys, labels)
        return queue_state[1] + queue_labels.sum()

    compiled = torch.compile(enqueue, fullgraph=True, dynamic=True, backend="aot_eager")
    fast = empty_queue(9, 4)
    slow = clone(fast)
    for batch in (5, 7, 20):
        keys, labels = torch.randn(batch, 4, dtype=torch.float64), torch.randint(5, (batch,))
        assert torch.equal(compiled(*fast, keys, labels), enqueue(*slow, keys, labels))
        assert_equal(fast, slow)


# The good call has K = 6, D = 4, B = 3. The numbers are of its arguments in their order.
BAD_INPUTS = {
    "queue 1-d": (0, r"queue\b.*\[24\]", torch.flatten),
    "queue without rows": (0, r"queue\b.*\[0, 4\]", lambda x: x[:0]),
    "queue of integers": (0, r"queue\b.*Int", torch.Tensor.int),
    "queue to learn": (0, r"queue\b.*grad", lambda x: x.clone().requires_grad_()),
    "queue labels too few": (1, r"queue_labels\b.*\[5\]", lambda x: x[:5]),
    "queue labels int32": (1, r"queue_labels\b.*Int", torch.Tensor.int),
    "queue labels elsewhere": (1, r"queue_labels\b.*meta", lambda x: x.to("meta")),
    "queue state of three": (2, r"queue_state\b.*\[3\]", lambda x: torch.zeros(3).long()),
    "queue state int32": (2, r"queue_state\b.*Int", torch.Tensor.int),
    "queue expanded": (0, r"queue\b.*overlap.*\[0, 1\]", lambda x: x[:1].expand(6, 4)),
    "queue of windows": (0, r"queue\b.*overlap", lambda x: x.flatten().unfold(0, 4, 1)[:6]),
    "queue sparse": (0, r"queue\b.*[Ss]parse", torch.Tensor.to_sparse),
    "queue labels expanded": (1, r"queue_labels\b.*overlap", lambda x: x[:1].expand(6)),
    "queue labels sparse": (1, r"queue_labels\b.*[Ss]parse", torch.Tensor.to_sparse),
    "queue state expanded": (2, r"queue_state\b.*overlap", lambda x: x[:1].expand(2)),
    "queue state sparse": (2, r"queue_state\b.*[Ss]parse", torch.Tensor.to_sparse),
    "keys sparse": (3, r"keys\b.*[Ss]parse", torch.Tensor.to_sparse),
    "keys sparse by rows": (3, r"keys\b.*[Ss]parse", torch.Tensor.to_sparse_csr),
    "labels sparse": (4, r"labels\b.*[Ss]parse", torch.Tensor.to_sparse),
    "keys 1-d": (3, r"keys\b.*\[12\]", torch.flatten),
    "keys of another width": (3, r"keys\b.*\[3, 3\]", lambda x: x[:, :3]),
    "keys of integers": (3, r"keys\b.*Int", torch.Tensor.int),
    "keys elsewhere": (3, r"keys\b.*meta", lambda x: x.to("meta")),
    "labels too few": (4, r"labels\b.*\[2\]", lambda x: x[:2]),
    "labels 2-d": (4, r"labels\b.*\[3, 1\]", lambda x: x[:, None]),
    "labels int32": (4, r"labels\b.*Int", torch.Tensor.int),
}


@pytest.mark.parametrize(("index", "message", "change"), BAD_INPUTS.values(), ids=BAD_INPUTS.keys())
def test_bad_input_changes_nothing(index, message, change):
    arguments = [*empty_queue(6, 4), torch.randn(3, 4), torch.tensor([2, 0, 1])]
    arguments[2].copy_(torch.tensor([4, 5]))
    before = clone(arguments)
    called = list(arguments)
    called[index] = change(arguments[index])
    with pytest.raises(ValueError, match=f"^queue_enqueue_: .*{message}"):
        paco.queue_enqueue_(*called)
    assert_equal(arguments, before)


def test_expanded_keys_and_labels_are_as_good_as_copies():
    queue = empty_queue(5, 4, torch.float32)
    paco.queue_enqueue_(*queue, torch.arange(4.0).expand(3, 4), torch.tensor([7]).expand(3))
    assert torch.equal(queue[0][:3], torch.arange(4.0).repeat(3, 1))
    assert queue[1].tolist() == [7, 7, 7, -1, -1]


def test_keys_from_the_queue_itself_are_as_good_as_copies(rng, device):
    fast = empty_queue(60, 3, torch.float32, device)
    paco.queue_enqueue_(*fast, torch.randn(77, 3, device=device), torch.arange(77, device=device))
    slow = clone(fast)
    for first in (0, 5, 30):
        rows = slice(first, first + 30)
        paco.queue_enqueue_(*fast, fast[0][rows], fast[1][rows])
        paco.queue_enqueue_(*slow, slow[0][rows].clone(), slow[1][rows].clone())
        assert_equal(fast, slow)


@pytest.mark.parametrize("key_requires_grad", [False, True])
def test_bad_labels_leave_even_a_gradient_run_unchanged(key_requires_grad):
    queue = empty_queue(6, 4)
    before = clone(queue)
    keys = torch.randn(3, 4, dtype=torch.float64, requires_grad=key_requires_grad)
    with pytest.raises(ValueError, match=r"labels\b.*\[5\]"):
        paco.queue_enqueue_(*queue, keys, torch.arange(5))
    assert_equal(queue, before)
