import pytest
import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch.nn import functional as F

COUNTS = torch.tensor([40, 10, 5, 1])


def build_head(**kwargs):
    return MODELS.build(dict(type="ClassCentersHead", num_classes=4, in_channels=6, **kwargs))


def batch(n: int = 9):
    samples = [DataSample().set_gt_label(y) for y in torch.randint(4, (n,)).tolist()]
    return (torch.randn(n, 6),), samples, torch.cat([sample.gt_label for sample in samples])


def test_it_trains_by_balanced_softmax():
    head = build_head()
    head.set_class_counts(COUNTS)
    feats, samples, labels = batch()
    logits = F.linear(feats[0], head.centers.weight, head.centers.bias)
    logits = logits + torch.log(COUNTS / COUNTS.sum())
    torch.testing.assert_close(head.loss(feats, samples)["loss"], F.cross_entropy(logits, labels))


def test_without_a_prior_it_trains_by_cross_entropy():
    head = build_head(prior=False)
    feats, samples, labels = batch()
    logits = F.linear(feats[0], head.centers.weight, head.centers.bias)
    torch.testing.assert_close(head.loss(feats, samples)["loss"], F.cross_entropy(logits, labels))
    head.set_class_counts(COUNTS)  # of no concern to it
    torch.testing.assert_close(head.loss(feats, samples)["loss"], F.cross_entropy(logits, labels))


@pytest.mark.parametrize("form", [{}, {"center_temperature": 0.5}, {"scale": 20.0}], ids=str)
def test_it_predicts_without_the_prior(form):
    head = build_head(**form)
    feats, samples, _ = batch()
    if "scale" in form:
        logits = 20 * F.normalize(feats[0], dim=1) @ F.normalize(head.centers.weight, dim=1).T
    else:
        logits = F.linear(feats[0], head.centers.weight, head.centers.bias)
        logits = logits / form.get("center_temperature", 1)
    for counts in (COUNTS, COUNTS.flip(0)):
        head.set_class_counts(counts)
        torch.testing.assert_close(head(feats), logits)
        for sample, row in zip(head.predict(feats, samples), logits, strict=True):
            torch.testing.assert_close(sample.pred_score, row.softmax(0))
            assert sample.pred_label.item() == row.argmax().item()


@pytest.mark.parametrize("form", [{}, {"tau": 0.5}, {"scale": 20.0}], ids=str)
def test_it_predicts_for_a_target_prior(form):
    head = build_head(**form)
    head.set_class_counts(COUNTS)
    feats, samples, _ = batch()
    plain, loss = head(feats), head.loss(feats, samples)["loss"]
    names = head.state_dict().keys()
    q = torch.tensor([0.5, 0.0, 0.25, 0.25])
    head.set_target_prior(4 * q)
    torch.testing.assert_close(head(feats), head.centers.predict(*feats, q))
    torch.testing.assert_close(head(feats), plain + q.log())
    for sample, row in zip(head.predict(feats, samples), plain + q.log(), strict=True):
        torch.testing.assert_close(sample.pred_score, row.softmax(0))
        assert sample.pred_score[1] == 0
    assert torch.equal(head.loss(feats, samples)["loss"], loss)
    assert head.state_dict().keys() == names
    head.set_target_prior(None)
    assert torch.equal(head(feats), plain)
    with pytest.raises(ValueError, match=r"target_prior must be \[4\].* got shape \[3\]"):
        head.set_target_prior(torch.ones(3))


def test_a_prior_without_class_counts_is_an_error():
    feats, samples, _ = batch()
    with pytest.raises(RuntimeError, match="ClassCountsHook"):
        build_head().loss(feats, samples)


@pytest.mark.parametrize("prior", [False, True])
@pytest.mark.parametrize("counts", [COUNTS[:3], torch.ones(5, dtype=torch.int64)], ids=len)
def test_another_number_of_classes_is_an_error_before_training(prior, counts):
    head = build_head(prior=prior)
    with pytest.raises(ValueError, match=rf"num_classes=4, and the training set {len(counts)}"):
        head.set_class_counts(counts)


@pytest.mark.parametrize("labels_alone", [False, True])
def test_the_prior_has_a_weight_and_the_accuracy_is_logged_on_request(labels_alone):
    head = build_head(tau=0.5, cal_acc=True, topk=(1, 2))
    head.set_class_counts(COUNTS)
    feats, samples, labels = batch()
    logits = F.linear(feats[0], head.centers.weight, head.centers.bias)
    logits = logits + 0.5 * torch.log(COUNTS / COUNTS.sum())
    losses = head.loss(feats, labels if labels_alone else samples)
    torch.testing.assert_close(losses["loss"], F.cross_entropy(logits, labels))
    for k in (1, 2):
        right = (logits.topk(k).indices == labels[:, None]).any(dim=1)
        (accuracy,) = losses[f"accuracy_top-{k}"]
        assert accuracy.item() == pytest.approx(100 * right.float().mean().item())


def test_mixed_labels_are_targets():
    head = build_head(loss=dict(type="CrossEntropyLoss", use_soft=True), prior=False)
    feats, samples, _ = batch()
    scores = torch.rand(len(samples), 4).softmax(dim=1)
    for sample, score in zip(samples, scores, strict=True):
        sample.set_gt_score(score)
    expected = F.cross_entropy(head(feats), scores)
    torch.testing.assert_close(head.loss(feats, samples)["loss"], expected)


@pytest.mark.parametrize(("old", "new"), [("cosine", "scale"), ("supt", "center_temperature")])
def test_an_old_argument_is_an_error_with_the_new_one(old, new):
    with pytest.raises(TypeError, match=f"{old} is now called {new}"):
        build_head(**{old: 1})


@pytest.mark.parametrize(
    ("old", "new"), [("ResNetCIFAR", "SmallImageResNet"), ("DeepResNet", "ResNet200")]
)
def test_an_old_class_is_an_error_with_the_new_one(old, new):
    with pytest.raises(TypeError, match=f"{old} is now called {new}"):
        MODELS.build(dict(type=old, depth=32))
