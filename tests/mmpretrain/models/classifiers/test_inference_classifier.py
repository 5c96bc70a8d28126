import pytest
import torch
from helpers.small_models import build, model_config
from mmpretrain.models import LinearClsHead

from paco.mmpretrain import InferenceClassifier


def test_it_gives_the_logits_of_the_classifier_and_leaves_training_behind():
    model = build(model_config())
    model.eval()
    inference = InferenceClassifier(model)
    images = torch.randn(3, 1, 8, 8)
    torch.testing.assert_close(inference(images), model(images))
    kept = {name.split(".")[0] for name in inference.state_dict()}
    assert kept == {"backbone", "centers"}


def test_without_a_neck():
    model = build(model_config())
    model.eval()
    model.backbone = torch.nn.Sequential(model.backbone, model.neck)
    model.neck = None
    images = torch.randn(3, 1, 8, 8)
    torch.testing.assert_close(InferenceClassifier(model)(images), model(images))


def test_mode_is_that_of_the_classifier():
    model = build(model_config())
    assert InferenceClassifier(model.eval()).training is False
    assert InferenceClassifier(model.train()).training is True


def test_another_head_is_refused():
    model = build(model_config())
    model.head = LinearClsHead(num_classes=5, in_channels=64)
    with pytest.raises(TypeError, match="ClassCentersHead or a PaCoHead, got a LinearClsHead"):
        InferenceClassifier(model)
