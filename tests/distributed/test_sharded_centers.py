"""Class centers that are shared out are those of one process."""

import torch
from helpers.problems import draw_loss, unit_rows
from helpers.shares import share_out
from torch import Tensor

import paco
from paco.distributed import ShardedClassCenters
from paco.nn import ClassCenters

WIDTH = 6


def new_share(whole: ClassCenters, counts: Tensor, scale: float | None) -> ShardedClassCenters:
    centers = ShardedClassCenters(WIDTH, len(whole.weight), scale=scale).double()
    centers.set_class_counts(counts)
    own = slice(centers.first_class, centers.first_class + len(centers.weight))
    with torch.no_grad():
        centers.weight.copy_(whole.weight[own])
        if scale is None:
            centers.bias.copy_(whole.bias[own])
    return centers


def solve(
    rank: int, whole: ClassCenters, counts: Tensor, pooled: list[Tensor], shares: list[dict]
) -> dict[str, Tensor]:
    centers = new_share(whole, counts, whole.scale)
    x = pooled[rank].requires_grad_()
    sizes = [share["num_anchors"] for share in shares]
    results = {}
    for name, of_all in (("eager", None), ("sizes", sizes)):
        logits = centers(x, of_all)
        loss = paco.distributed.paco_loss(
            **shares[rank],
            center_logits=logits,
            num_classes=centers.num_classes,
            anchors_per_process=of_all,
        )
        gradients = torch.autograd.grad(loss, [x, *centers.parameters()])
        results[name] = [loss.detach(), *gradients]
    assert all(torch.equal(a, b) for a, b in zip(*results.values(), strict=True))
    return dict(
        results=results["eager"],
        logits=centers.predict(x[:2]).detach(),
        first=centers.weight.new_tensor([centers.first_class, len(centers.weight)]),
        prior=centers.log_prior,
    )


def check(rng, run, processes: int, scale: float | None, soft: bool) -> None:
    classes = rng.randint(processes, 11)
    problem = draw_loss(rng, rows=17, anchors=11, classes=classes, centers=True, soft=soft)
    problem["alpha"] = problem["beta"] = 1.0
    del problem["center_logits"]
    whole = ClassCenters(WIDTH, classes, scale=scale).double()
    counts = torch.randint(1, 99, (classes,))
    whole.set_class_counts(counts)
    x = unit_rows(11, WIDTH).requires_grad_()
    shares = share_out(rng, problem, processes)
    pooled = list(x.detach().split([share["num_anchors"] for share in shares]))
    each = run(solve, whole, counts, pooled, shares)

    loss = paco.paco_loss(**problem, center_logits=whole(x))
    expected = torch.autograd.grad(loss, [x, *whole.parameters()])
    losses, of_x, *of_centers = zip(*(result["results"] for result in each), strict=True)
    close(torch.stack(losses).mean(), loss)
    close(torch.cat(of_x) / processes, expected[0])
    for actual, gradient in zip(of_centers, expected[1:], strict=True):
        close(torch.cat(actual), gradient)  # no mean: each class is on one process
    close(torch.cat([result["logits"] for result in each]), whole.predict(cat_firsts(pooled)))
    close(torch.cat([result["prior"] for result in each]), whole.log_prior)


def cat_firsts(pooled: list[Tensor]) -> Tensor:
    return torch.cat([part[:2] for part in pooled])


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected.detach(), rtol=1e-10, atol=1e-12)


def test_loss_gradients_and_predictions_are_those_of_all_centers(
    rng, on_two_processes, on_three_processes
):
    check(rng, on_two_processes, 2, None, soft=False)
    check(rng, on_two_processes, 2, 3.0, soft=True)
    check(rng, on_three_processes, 3, None, soft=True)


def draws(rank: int) -> Tensor:
    torch.manual_seed(0)  # as a toolbox seeds every process alike
    return ShardedClassCenters(WIDTH, 4).weight.detach()


def test_processes_draw_other_centers_from_the_same_seed(on_two_processes):
    first, second = on_two_processes(draws)
    assert first.shape == second.shape == (2, WIDTH)
    assert not torch.equal(first, second)


def test_one_process_has_all_classes():
    centers = ShardedClassCenters(WIDTH, 5)
    whole = ClassCenters(WIDTH, 5)
    whole.load_state_dict(centers.state_dict())
    x = unit_rows(3, WIDTH, torch.float32)
    assert torch.equal(centers(x), whole(x))
    assert torch.equal(centers.predict(x), whole.predict(x))
