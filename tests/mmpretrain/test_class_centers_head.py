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


@pytest.mark.parametrize("cosine", [False, True])
def test_it_predicts_without_the_prior(cosine):
    head = build_head(cosine=cosine)
    feats, samples, _ = batch()
    if cosine:
        logits = F.normalize(feats[0], dim=1) @ F.normalize(head.centers.weight, dim=1).T
        logits = logits + head.centers.bias
    else:
        logits = F.linear(feats[0], head.centers.weight, head.centers.bias)
    for counts in (COUNTS, COUNTS.flip(0)):
        head.set_class_counts(counts)
        torch.testing.assert_close(head(feats), logits)
        for sample, row in zip(head.predict(feats, samples), logits, strict=True):
            torch.testing.assert_close(sample.pred_score, row.softmax(0))
            assert sample.pred_label.item() == row.argmax().item()


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
