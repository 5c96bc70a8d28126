import copy
from types import SimpleNamespace

import pytest
import torch
from helpers.modules import saved_and_loaded
from helpers.segmentation import HEADS, batch, build, labels_of, segmentor, total
from mmengine.hooks import EMAHook
from mmengine.runner import load_checkpoint, save_checkpoint
from torch.nn import functional as F

from paco import reference
from paco.mmseg import InferenceSegmentor


@pytest.mark.parametrize("head", HEADS)
def test_any_head_trains_with_paco(head):
    model = build(segmentor(head, contrast={})).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    images, samples = batch(5)
    for _ in range(2):
        losses = model.loss(images, samples)
        assert {"decode.loss_ce", "decode.loss_paco"} <= losses.keys()
        optimizer.zero_grad()
        total(losses).backward()
        optimizer.step()
        assert total(losses).isfinite()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
    assert model.contrast.projector[0].conv.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("head", HEADS)
def test_loss_is_of_the_features_that_the_head_classifies(head):
    model = build(segmentor(head, contrast=dict(loss_weight=0.5))).train()
    seen = {}
    # Dropout2d drops none here, and its input is its output.
    if model.decode_head.dropout is not None:
        model.decode_head.dropout.p = 0.0
    model.decode_head.conv_seg.register_forward_hook(
        lambda _, args, out: seen.update(features=args[0], logits=out)
    )
    images, samples = batch(5)
    losses = model.loss(images, samples)
    embeddings = model.contrast.projector(seen["features"])
    expected = 0.5 * reference.pixel_paco_loss(
        embeddings.double(),
        seen["logits"].double(),
        labels_of(samples),
        alpha=0.01,
        temperature=0.07,
    )
    torch.testing.assert_close(losses["decode.loss_paco"].double(), expected, rtol=1e-4, atol=1e-5)


def test_features_are_those_before_the_dropout():
    model = build(segmentor("FCNHead", contrast={})).train()
    model.decode_head.dropout.p = 0.999
    features = []
    model.contrast.projector.register_forward_pre_hook(lambda _, args: features.append(args[0]))
    model.loss(*batch(5))
    assert (features[0].abs().sum((0, 2, 3)) > 0).float().mean() > 0.5


def test_the_head_s_own_losses_are_the_toolbox_s():
    plain = build(segmentor("UPerHead")).train()
    ours = build(segmentor("UPerHead", contrast={})).train()
    ours.load_state_dict(plain.state_dict(), strict=False)
    images, samples = batch(5)
    torch.manual_seed(0)
    expected = plain.loss(images, samples)
    torch.manual_seed(0)
    actual = ours.loss(images, samples)
    for name, value in expected.items():
        assert torch.equal(actual[name], value), name
    assert actual.keys() - expected.keys() == {"decode.loss_paco"}


def test_inference_and_checkpoints_are_the_toolbox_s(tmp_path):
    plain = build(segmentor("FCNHead")).eval()
    ours = build(segmentor("FCNHead", contrast=dict(queue_size=32))).eval()
    save_checkpoint(plain.state_dict(), str(tmp_path / "plain.pth"))
    load_checkpoint(ours, str(tmp_path / "plain.pth"))
    images, samples = batch(5)

    def labels(model):
        return torch.stack(
            [x.pred_sem_seg.data for x in model.predict(images, copy.deepcopy(samples))]
        )

    assert torch.equal(labels(ours), labels(plain))
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    save_checkpoint(ours.state_dict(), str(tmp_path / "ours.pth"))
    load_checkpoint(plain, str(tmp_path / "ours.pth"))
    assert torch.equal(labels(ours), labels(plain))
    extra = ours.state_dict().keys() - plain.state_dict().keys()
    assert all(name.startswith("contrast.") for name in extra)
    assert plain.state_dict().keys() <= ours.state_dict().keys()


def test_the_projector_is_not_called_in_inference():
    model = build(segmentor("FCNHead", contrast={})).eval()
    model.contrast.projector.register_forward_pre_hook(lambda *_: pytest.fail("called"))
    images, samples = batch(5)
    model.predict(images, samples)
    model(images, mode="tensor")
    parts = InferenceSegmentor(model)
    assert not any("contrast" in name or "auxiliary" in name for name in parts.state_dict())
    expected = model.encode_decode(images, [sample.metainfo for sample in samples])
    assert torch.equal(parts(images), expected)


def test_settings_of_the_head_are_those_of_the_projector():
    settings = segmentor("FCNHead", contrast=dict(feat_channels=24))
    norm = dict(type="GN", num_groups=2)
    settings["decode_head"] |= dict(norm_cfg=norm, ignore_index=7, act_cfg=dict(type="GELU"))
    model = build(settings)
    assert isinstance(model.contrast.projector[0].norm, torch.nn.GroupNorm)
    assert isinstance(model.contrast.projector[1].activate, torch.nn.GELU)
    assert [layer.weight.shape[:2] for layer in (model.contrast.projector[0].conv,)] == [(16, 16)]
    assert model.contrast.projector[2].weight.shape[:2] == (24, 16)
    assert model.contrast.loss_module.ignore_index == 7


# ---- The queue -----------------------------------------------------------------------------------


def test_pixels_of_the_past_are_contrast():
    model = build(segmentor("FCNHead", contrast=dict(queue_size=50, queue_pixels=2))).train()
    queue = model.contrast.queue
    images, samples = batch(5, images=3)
    model.loss(images, samples)
    assert queue.num_valid == 6
    torch.testing.assert_close(queue.features[:6].norm(dim=1), torch.ones(6))
    assert ((queue.labels[:6] >= 0) & (queue.labels[:6] <= 5)).all()
    for _ in range(9):
        model.loss(images, samples)
    assert queue.num_valid == 50
    model.eval()
    before = saved_and_loaded(queue.state_dict())
    model.predict(images, samples)
    assert torch.equal(queue.features, before["features"])


def test_a_resumed_queue_goes_on():
    model = build(segmentor("FCNHead", contrast=dict(queue_size=50, queue_pixels=2))).train()
    model.loss(*batch(5))
    other = build(segmentor("FCNHead", contrast=dict(queue_size=50, queue_pixels=2)))
    other.load_state_dict(saved_and_loaded(model.state_dict()))
    assert torch.equal(other.contrast.queue.features, model.contrast.queue.features)
    assert other.contrast.queue.num_valid == 4


@pytest.mark.parametrize("change", [dict(classes=4), dict(queue_size=40), dict(feat_channels=64)])
def test_a_queue_that_does_not_fit_stays_empty(change, tmp_path):
    def new(classes=5, **contrast):
        settings = dict(queue_size=50, queue_pixels=2) | contrast
        return build(segmentor("FCNHead", classes=classes, contrast=settings)).train()

    model = new()
    model.loss(*batch(5))
    save_checkpoint(model.state_dict(), str(tmp_path / "model.pth"))
    other = new(**change)
    load_checkpoint(other, str(tmp_path / "model.pth"))
    assert other.contrast.queue.num_valid == 0
    assert (other.contrast.queue.labels == -1).all()


# ---- Bad input -----------------------------------------------------------------------------------


def test_label_that_is_no_class_is_an_error():
    model = build(segmentor("FCNHead", contrast={})).train()
    features, logits = torch.randn(1, 16, 4, 4), torch.randn(1, 5, 4, 4)
    with pytest.raises(ValueError, match=r"labels must lie in \[0, C\) with C = 5.*got 5"):
        model.contrast(features, logits, torch.full((1, 8, 8), 5))


def test_head_without_features_of_pixels_is_an_error():
    settings = segmentor("FCNHead", contrast={})
    settings["decode_head"] = dict(
        type="FPNHead", in_channels=[8], in_index=[0], channels=16, num_classes=5,
        feature_strides=[4], norm_cfg=dict(type="BN"),
    )  # fmt: skip
    build(settings)  # classifies by cls_seg
    settings["decode_head"] |= dict(num_classes=2, out_channels=1, threshold=0.3)
    with pytest.raises(ValueError, match="num_classes, 2, got out_channels 1"):
        build(settings)
    settings = segmentor("FCNHead", contrast={})
    settings["decode_head"] = dict(
        type="SegmenterMaskTransformerHead", in_channels=64, channels=16, num_classes=5,
        num_layers=1, num_heads=2, embed_dims=16, norm_cfg=dict(type="LN"),
    )  # fmt: skip
    with pytest.raises(TypeError, match=r"classify its features by cls_seg.*Mask"):
        build(settings)


def test_contrast_without_a_loss_is_an_error():
    settings = segmentor("FCNHead") | dict(type="PaCoEncoderDecoder", contrast=dict(queue_size=8))
    with pytest.raises(ValueError, match=r"contrast must have a loss.*got \{'queue_size': 8\}"):
        build(settings)


@pytest.mark.parametrize("name", ["feat_channels", "queue_pixels"])
def test_sizes_below_one_are_an_error(name):
    with pytest.raises(ValueError, match=f"PixelContrast: {name} must be at least 1, got 0"):
        build(segmentor("FCNHead", contrast={name: 0}))


def test_contrast_of_known_rows_is_the_reference():
    model = build(segmentor("FCNHead", contrast=dict(queue_size=8, queue_pixels=3))).eval()
    features, logits = torch.randn(2, 16, 3, 3), torch.randn(2, 5, 3, 3)
    labels = torch.randint(5, (2, 6, 6))
    model.contrast(features, logits, labels)
    queue = model.contrast.queue
    filled = [x.clone() for x in (queue.features, queue.labels, queue.num_valid)]
    value = model.contrast(features, logits, labels)
    expected = reference.pixel_paco_loss(
        model.contrast.projector(features), logits, labels, *filled, alpha=0.01, temperature=0.07
    )
    torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)
    # What was enqueued are unit rows of the batch.
    rows = (
        F.normalize(model.contrast.projector(features), dim=1).permute(0, 2, 3, 1).reshape(-1, 128)
    )
    newest = queue.features[:4]  # of the second call, which wrapped around
    assert (torch.cdist(newest, rows).amin(1) < 1e-3).all()


def test_an_average_of_the_queue_of_pixels_is_refused():
    averages = EMAHook(update_buffers=True)
    with_queue = build(segmentor("FCNHead", contrast=dict(queue_size=64)))
    with pytest.raises(ValueError, match="update_buffers must be False"):
        averages.before_run(SimpleNamespace(model=with_queue))
    EMAHook().before_run(SimpleNamespace(model=with_queue))
    averages.before_run(SimpleNamespace(model=build(segmentor("FCNHead", contrast={}))))
