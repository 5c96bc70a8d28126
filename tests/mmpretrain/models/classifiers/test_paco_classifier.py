import copy

import numpy as np
import pytest
import torch
from helpers.small_models import build, labels_of, model_config, views_of
from mmengine.runner.checkpoint import load_state_dict
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch.nn import functional as F

from paco.mmpretrain import EncodedViews, PaCoClassifier, ViewsDataPreprocessor
from paco.mmpretrain.models.heads import paco_head


def step(model, optimizer, batch: int) -> dict:
    losses = model.loss(*views_of(batch))
    optimizer.zero_grad()
    losses["loss"].backward()
    optimizer.step()
    return losses


def sgd(model) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def query_of(model) -> dict[str, torch.Tensor]:
    """Parameters and buffers of the query encoder under the key encoder's names."""
    state = {}
    for part in ("backbone", "neck", "projector"):
        module = model.head.projector if part == "projector" else getattr(model, part)
        state |= {f"{part}.{name}": value for name, value in module.state_dict().items()}
    return state


# ---- PaCo ----------------------------------------------------------------------------------------


def test_both_encoders_start_alike():
    model = build(model_config())
    assert isinstance(model, PaCoClassifier)
    assert isinstance(model.data_preprocessor, ViewsDataPreprocessor)
    query = query_of(model)
    assert query.keys() == model.key_encoder.encoder.state_dict().keys()
    for name, value in model.key_encoder.encoder.state_dict().items():
        assert torch.equal(value, query[name]), name


def test_the_key_encoder_follows_by_the_definition():
    model = build(model_config(momentum=0.7))
    optimizer = sgd(model)
    names = [name for name, _ in model.key_encoder.encoder.named_parameters()]
    for _ in range(3):
        # Before the key pass, towards the parameters that the step starts from.
        before, query = copy.deepcopy(model.key_encoder.encoder.state_dict()), query_of(model)
        expected = {name: 0.7 * before[name] + 0.3 * query[name] for name in names}
        step(model, optimizer, 6)
        for name, p in model.key_encoder.encoder.named_parameters():
            torch.testing.assert_close(p.detach(), expected[name], msg=name)
            assert p.grad is None
    assert not torch.equal(
        model.key_encoder.encoder.projector[0].weight, model.head.projector[0].weight
    )


def test_batch_norm_in_groups_is_that_of_several_processes():
    model = build(dict(model_config(), batch_norm_group=4))
    plain = build(model_config())
    plain.load_state_dict(model.state_dict())
    inputs, samples = views_of(10)
    pooled, _, keys, *_ = model._encode(inputs, 10)
    processes = [plain.extract_feat(group)[-1] for group in inputs[:10].split(4)]
    torch.testing.assert_close(pooled[0], torch.cat(processes))
    # Keys are shuffled over the groups, in another order each time.
    assert not torch.allclose(model._encode(inputs, 10).keys, keys)
    model.shuffle_bn = False
    expected = torch.cat([plain.key_encoder(group) for group in inputs[10:].split(4)])
    torch.testing.assert_close(model._encode(inputs, 10).keys[0], expected)
    model.loss(inputs, samples)["loss"].backward()


def test_keys_come_from_the_updated_key_encoder():
    model = build(model_config(momentum=0.7))
    step(model, sgd(model), 6)
    inputs, samples = views_of(6)
    twin = copy.deepcopy(model)
    query = query_of(twin)
    with torch.no_grad():
        for name, p in twin.key_encoder.encoder.named_parameters():
            p.copy_(0.7 * p + 0.3 * query[name])
        pooled = twin.key_encoder.encoder.neck(twin.key_encoder.encoder.backbone(inputs[6:]))[-1]
        keys = F.normalize(twin.key_encoder.encoder.projector(pooled), dim=1)
    model.loss(inputs, samples)
    torch.testing.assert_close(model.head.queue.features[6:12], keys)
    assert torch.equal(model.head.queue.labels[6:12], labels_of(samples))


def test_each_encoder_keeps_its_own_batchnorm_statistics():
    model = build(model_config())
    inputs, samples = views_of(6)
    inputs[6:] = 3 * inputs[6:] + 1
    expected = [F.conv2d(v, model.backbone.conv1.weight, padding=1) for v in inputs.chunk(2)]
    model.loss(inputs, samples)
    encoders = (model, model.key_encoder.encoder)
    for encoder, activations in zip(encoders, expected, strict=True):
        mean = activations.mean((0, 2, 3))
        torch.testing.assert_close(encoder.backbone.bn1.running_mean, 0.1 * mean)
    model.eval()
    assert not model.key_encoder.encoder.backbone.bn1.training


# ---- GPaCo ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_views", [2, 3])
def test_gpaco_has_one_encoder_and_each_view_is_an_anchor(num_views):
    model = build(model_config(momentum=None))
    assert model.key_encoder is None
    inputs, samples = views_of(6, num_views)
    twin = copy.deepcopy(model)
    losses = model.loss(inputs, samples)
    pooled = torch.cat([twin.extract_feat(view)[-1] for view in inputs.split(6)])
    pooled, projections = (x.view(num_views, 6, -1) for x in (pooled, twin.head.projector(pooled)))
    expected = twin.head.loss(EncodedViews(pooled, projections), samples)
    for name, value in losses.items():
        torch.testing.assert_close(value, expected[name], msg=name)
    assert model.backbone.bn1.num_batches_tracked == num_views
    assert model.head.queue.num_valid == 6 * (num_views - 1)
    losses["loss"].backward()
    assert all(p.grad is not None for p in model.parameters())


# ---- Any number of views -------------------------------------------------------------------------


class Recorder:
    """Stands in for a head's loss, and keeps what it is handed."""

    def __call__(self, views: EncodedViews, data_samples: list[DataSample]) -> dict:
        self.views, self.samples = views, data_samples
        return dict(loss=views.pooled.sum())


def handed_over(model, inputs, samples, monkeypatch) -> EncodedViews:
    recorder = Recorder()
    monkeypatch.setattr(model.head, "loss", recorder)
    model.loss(inputs, samples)
    assert recorder.samples is samples
    return recorder.views


@pytest.mark.parametrize("momentum", [0.9, None], ids=["key encoder", "one encoder"])
@pytest.mark.parametrize("num_views", [2, 4])
def test_the_head_is_handed_every_view(momentum, num_views, monkeypatch):
    model = build(model_config(momentum))
    model.eval()  # so that no statistics of a batch tell one way from another
    inputs, samples = views_of(3, num_views)
    own = torch.randn(3, 1, 8, 8)
    batches = dict(contrast=inputs, classification=own)
    results = [handed_over(model, x, samples, monkeypatch) for x in (inputs, batches)]
    pooled = [model.extract_feat(view)[-1] for view in (*inputs.split(3), own)]
    num_encoded = num_views if momentum is None else 1
    for views in results:
        assert views.pooled.shape == (num_encoded, 3, 64)
        assert views.projections.shape == (num_encoded, 3, 6)
        for i in range(num_encoded):
            torch.testing.assert_close(views.pooled[i], pooled[i])
            torch.testing.assert_close(views.projections[i], model.head.projector(pooled[i]))
        if momentum is None:
            assert views.keys is None
            continue
        assert views.keys.shape == (num_views - 1, 3, 6)
        assert not views.keys.requires_grad
        for key, view in zip(views.keys, inputs.split(3)[1:], strict=True):
            torch.testing.assert_close(key, model.key_encoder(view))
    without, with_own = results
    assert without.classification is without.classification_projections is None
    torch.testing.assert_close(with_own.classification, pooled[-1])
    torch.testing.assert_close(
        with_own.classification_projections, model.head.projector(pooled[-1])
    )


def test_a_classification_view_makes_one_batch_of_all(monkeypatch):
    model = build(model_config(momentum=None))
    inputs, samples = views_of(6, 3)
    own = 3 * torch.randn(6, 1, 8, 8) + 1
    twin = copy.deepcopy(model)
    views = handed_over(model, dict(contrast=inputs, classification=own), samples, monkeypatch)
    assert model.backbone.bn1.num_batches_tracked == 1
    pooled = twin.extract_feat(torch.cat([own, inputs]))[-1]
    torch.testing.assert_close(views.pooled.flatten(0, 1), pooled[6:])
    torch.testing.assert_close(views.classification, pooled[:6])
    assert model.head.projector[1].num_batches_tracked == 1
    torch.testing.assert_close(model.backbone.bn1.running_mean, twin.backbone.bn1.running_mean)


@pytest.mark.parametrize("momentum", [0.9, None], ids=["PaCo", "GPaCo"])
@pytest.mark.parametrize("own", [False, True], ids=["contrast", "and classification"])
def test_training_on_many_views_learns_and_all_keys_enter_the_queue(momentum, own):
    model = build(model_config(momentum))
    optimizer = sgd(model)
    inputs, samples = views_of(4, 3)
    if own:
        inputs = dict(contrast=inputs, classification=inputs[:4] + 0.1 * torch.randn(4, 1, 8, 8))
    losses = []
    for i in range(30):
        result = model.loss(inputs, samples)
        assert result["num_valid"].item() == min(8 * i, 20)
        losses.append(result["loss"].item())
        optimizer.zero_grad()
        result["loss"].backward()
        optimizer.step()
    assert losses[-1] < losses[0] - 0.3


# ---- Both ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("momentum", [0.9, None], ids=["PaCo", "GPaCo"])
def test_training_learns_and_the_queue_fills(momentum):
    model = build(model_config(momentum))
    optimizer = sgd(model)
    inputs, samples = views_of(8)
    losses = []
    for i in range(30):
        result = model.loss(inputs, samples)
        assert result["num_valid"].item() == min(8 * i, 20)
        losses.append(result["loss"].item())
        optimizer.zero_grad()
        result["loss"].backward()
        optimizer.step()
    assert losses[-1] < losses[0] - 0.5


@pytest.mark.parametrize("momentum", [0.9, None], ids=["PaCo", "GPaCo"])
def test_inference_is_backbone_and_centers_without_a_prior(momentum):
    model = build(model_config(momentum))
    step(model, sgd(model), 6)
    model.eval()
    images = torch.randn(5, 1, 8, 8)
    pooled = model.backbone(images)[-1].mean((2, 3))
    centers = model.head.centers
    expected = F.linear(pooled, centers.weight, centers.bias)
    torch.testing.assert_close(model(images), expected)
    torch.testing.assert_close(model.extract_feat(images)[-1], pooled)
    results = model(images, [DataSample() for _ in range(5)], mode="predict")
    for sample, row in zip(results, expected, strict=True):
        torch.testing.assert_close(sample.pred_score, row.softmax(0))
        assert sample.pred_label.item() == row.argmax().item()


@pytest.mark.parametrize("momentum", [0.9, None], ids=["PaCo", "GPaCo"])
def test_the_state_dict_is_the_whole_state(momentum):
    model = build(model_config(momentum))
    for _ in range(4):
        step(model, sgd(model), 6)
    twin = build(model_config(momentum))
    twin.load_state_dict(copy.deepcopy(model.state_dict()))
    inputs, samples = views_of(6)
    expected = model.loss(inputs, samples)
    for name, value in twin.loss(inputs, samples).items():
        assert torch.equal(value, expected[name]), name
    for name, value in twin.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


def test_a_plain_classifier_s_checkpoint_starts_both_encoders():
    plain = build(
        dict(
            type="ImageClassifier",
            backbone=dict(type="SmallImageResNet", depth=8, in_channels=1),
            neck=dict(type="GlobalAveragePooling"),
            head=dict(type="ClassCentersHead", num_classes=5, in_channels=64),
        )
    )
    plain(torch.randn(4, 1, 8, 8))  # moves the BatchNorm statistics
    model = build(model_config())
    missing, unexpected = model.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert all("projector" in name or "queue" in name for name in missing)
    assert torch.equal(model.head.centers.weight, plain.head.centers.weight)
    for encoder in (model, model.key_encoder.encoder):
        for name, value in plain.backbone.state_dict().items():
            assert torch.equal(encoder.backbone.state_dict()[name], value), name


def test_a_checkpoint_s_own_key_encoder_is_kept():
    model = build(model_config())
    for _ in range(2):
        step(model, sgd(model), 6)
    twin = build(model_config())
    twin.load_state_dict(model.state_dict())
    for name, value in model.key_encoder.encoder.state_dict().items():
        assert torch.equal(twin.key_encoder.encoder.state_dict()[name], value), name


@pytest.mark.parametrize(
    ("head", "kept"),
    [
        (dict(), True),
        (dict(num_classes=3), False),
        (dict(num_classes=8), False),
        (dict(queue_size=7), False),
        (dict(feat_channels=4), False),
    ],
    ids=str,
)
def test_a_queue_is_loaded_for_the_same_classes_and_size_alone(head, kept, monkeypatch):
    said = []
    monkeypatch.setattr(paco_head, "print_log", lambda message, **_: said.append(message))
    source = build(model_config())
    source.loss(*views_of(9))
    config = model_config()
    config["head"].update(head)
    num_classes = config["head"]["num_classes"]
    model = build(config, (9, 8, 7, 6, 5, 4, 3, 2)[:num_classes])
    load_state_dict(model, source.state_dict())  # as Runner.load_checkpoint does
    assert torch.equal(model.backbone.conv1.weight, source.backbone.conv1.weight)
    assert model.head.queue.num_valid == (9 if kept else 0)
    assert ["queue starts empty" in message for message in said] == ([] if kept else [True])
    if kept:
        assert torch.equal(model.head.queue.features, source.head.queue.features)
        assert torch.equal(model.head.queue.labels, source.head.queue.labels)
    else:
        assert not model.head.queue.features.any()
        assert (model.head.queue.labels == -1).all()
    inputs, samples = views_of(4)
    for sample in samples:
        sample.set_gt_label(sample.gt_label % num_classes)
    assert model.loss(inputs, samples)["loss"].isfinite()


@pytest.mark.parametrize("momentum", [-0.1, 1.5, float("nan")])
def test_a_momentum_outside_its_range_is_an_error(momentum):
    with pytest.raises(ValueError, match=rf"momentum must lie in \[0, 1\], got {momentum}"):
        MODELS.build(model_config(momentum))


@pytest.mark.parametrize("momentum", [0.9, None], ids=["PaCo", "GPaCo"])
def test_another_head_is_an_error(momentum):
    config = model_config(momentum)
    config["head"] = dict(type="LinearClsHead", num_classes=5, in_channels=64)
    with pytest.raises(TypeError, match=r"head must be a ContrastHead, .* got LinearClsHead"):
        MODELS.build(config)


MIXED = dict(augments=dict(type="CutMix", alpha=1.0))


@pytest.mark.parametrize(
    "mixed", [dict(train_cfg=MIXED), dict(data_preprocessor=dict(batch_augments=MIXED))]
)
@pytest.mark.parametrize("momentum", [0.9, None], ids=["PaCo", "GPaCo"])
def test_the_classification_view_alone_is_mixed(mixed, momentum, monkeypatch):
    model = build(copy.deepcopy(model_config(momentum) | mixed))
    views = [torch.randint(0, 256, (6, 1, 8, 8), dtype=torch.uint8) for _ in range(3)]
    own = views.pop()
    labels = torch.randint(5, (6,))
    samples = [DataSample().set_gt_label(label) for label in labels.tolist()]
    inputs = dict(contrast=views, classification=own)
    np.random.seed(0)  # a share of which both images see something
    data = model.data_preprocessor(dict(inputs=inputs, data_samples=samples), training=True)
    assert torch.equal(data["inputs"]["contrast"], torch.cat(views).float())
    assert not torch.equal(data["inputs"]["classification"], own.float())
    scores = torch.stack([sample.gt_score for sample in data["data_samples"]])
    # The images and their targets are mixed in one proportion, of the same two images.
    share = scores.gather(1, labels[:, None])
    assert (share > 0).all() and scores.sum(1).allclose(torch.ones(6))
    assert torch.equal(labels_of(data["data_samples"]), labels)

    taken = []
    detailed = model.head.step.detailed
    monkeypatch.setattr(model.head.step, "detailed", lambda *x: taken.append(x) or detailed(*x))
    losses = model(**data, mode="loss")
    *_, given_labels, soft_targets = taken[0]
    assert torch.equal(given_labels, labels)
    assert torch.equal(soft_targets, scores.repeat(1 if momentum is not None else 2, 1))
    losses["loss"].backward()
    assert losses["loss"].isfinite()


@pytest.mark.parametrize(
    "mixed", [dict(train_cfg=MIXED), dict(data_preprocessor=dict(batch_augments=MIXED))]
)
def test_mixed_contrast_views_are_an_error(mixed):
    model = build(copy.deepcopy(model_config() | mixed))
    inputs, samples = views_of(6)
    data = dict(inputs=list(inputs.split(6)), data_samples=samples)
    with pytest.raises(ValueError, match=r"cannot be mixed \(Mixup, CutMix\).* train_cfg=None"):
        model.data_preprocessor(data, training=True)
    assert model.data_preprocessor(dict(inputs=inputs[:6]))  # a test is none of its business


def test_another_preprocessor_is_an_error():
    config = model_config() | dict(data_preprocessor=dict(type="ClsDataPreprocessor"))
    with pytest.raises(TypeError, match=r"must be a ViewsDataPreprocessor, got ClsDataPrep"):
        MODELS.build(config)


@pytest.mark.parametrize("rows", [6, 13])
def test_other_than_two_or_more_views_in_training_is_an_error(rows):
    model = build(model_config())
    inputs, samples = views_of(6, 3)
    with pytest.raises(ValueError, match=rf"ContrastViews.*{rows} views of 6 images"):
        model.loss(inputs[:rows], samples)


def test_a_neck_is_optional():
    config = model_config()
    config["backbone"] = dict(type="VisionTransformer", arch=VIT, img_size=8, patch_size=4)
    config["backbone"] |= dict(in_channels=1)
    config["head"]["in_channels"] = 16
    del config["neck"]
    model = MODELS.build(config)
    model.init_weights()
    model.head.set_class_counts(torch.tensor([5, 4, 3, 2, 1]))
    losses = model.loss(*views_of(3))
    losses["loss"].backward()
    assert losses["loss"].isfinite()


VIT = dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=16)
