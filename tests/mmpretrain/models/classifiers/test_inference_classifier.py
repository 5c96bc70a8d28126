import pytest
import torch
from helpers.small_models import build, model_config
from mmpretrain.models import LinearClsHead
from mmpretrain.models.backbones.mixmim import MixMIMBlock
from mmpretrain.models.utils import ShiftWindowMSA
from mmpretrain.registry import MODELS

from paco import deploy
from paco.mmpretrain import InferenceClassifier


def test_it_gives_the_logits_of_the_classifier_and_leaves_training_behind():
    model = build(model_config())
    model.eval()
    inference = InferenceClassifier(model)
    images = torch.randn(3, 1, 8, 8)
    torch.testing.assert_close(inference(images), model(images))
    kept = {name.split(".")[0] for name in inference.state_dict()}
    assert kept == {"backbone", "centers"}


def test_it_keeps_the_target_prior():
    model = build(model_config())
    model.eval()
    model.head.set_target_prior(torch.tensor([1.0, 0.0, 2.0, 3.0, 4.0]))
    inference = InferenceClassifier(model)
    images = torch.randn(3, 1, 8, 8)
    torch.testing.assert_close(inference(images), model(images))
    assert (inference(images)[:, 1] == -torch.inf).all()


def test_without_a_neck():
    model = build(model_config())
    model.eval()
    model.backbone = torch.nn.Sequential(model.backbone, model.neck)
    model.neck = None
    images = torch.randn(3, 1, 8, 8)
    torch.testing.assert_close(InferenceClassifier(model)(images), model(images))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_swin_is_exported_for_any_number_of_images(tmp_path):
    """The toolbox's own way to put windows together keeps the batch that is traced."""
    arch = dict(embed_dims=8, depths=[2, 2, 2, 2], num_heads=[1, 2, 2, 4])
    backbone = dict(type="SwinTransformer", arch=arch, img_size=64, window_size=2)
    head = dict(type="ClassCentersHead", num_classes=5, in_channels=64, prior=False)
    neck = dict(type="GlobalAveragePooling")
    model = MODELS.build(dict(type="ImageClassifier", backbone=backbone, neck=neck, head=head))
    model.init_weights()
    model.eval()
    inference = InferenceClassifier(model)
    deploy.export_classifier(inference, torch.randn(2, 3, 64, 64), tmp_path / "swin.pt")
    traced, _ = deploy.load(tmp_path / "swin.pt")
    batch = {0: torch.export.Dim("batch", min=1)}
    program = torch.export.export(inference, (torch.randn(2, 3, 64, 64),), dynamic_shapes=(batch,))
    for n in (1, 5):
        images = torch.randn(n, 3, 64, 64)
        with torch.no_grad():
            torch.testing.assert_close(traced(images), model(images))
            torch.testing.assert_close(program.module()(images), model(images))


@pytest.mark.parametrize("kind", [ShiftWindowMSA, MixMIMBlock])
def test_windows_are_put_together_as_they_were_taken_apart(kind):
    x = torch.randn(3, 8, 12, 5)
    windows = kind.window_partition(x, 4)
    assert torch.equal(kind.window_reverse(windows.view(-1, 4, 4, 5), 8, 12, 4), x)


def test_mode_is_that_of_the_classifier():
    model = build(model_config())
    assert InferenceClassifier(model.eval()).training is False
    assert InferenceClassifier(model.train()).training is True


def test_another_head_is_refused():
    model = build(model_config())
    model.head = LinearClsHead(num_classes=5, in_channels=64)
    with pytest.raises(TypeError, match="ClassCentersHead or a PaCoHead, got a LinearClsHead"):
        InferenceClassifier(model)
