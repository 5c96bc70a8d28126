import pytest
import torch
import torchvision
from helpers.digits_runs import CONFIGS
from helpers.reference_layout import (
    BCLReferenceModel,
    CifarResNet,
    ProCoCriterion,
    ProCoReferenceModel,
    ReferenceModel,
)
from mmengine.config import Config
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from paco.mmpretrain import convert_reference_state, proco_estimates

NUM_CLASSES, DIM, QUEUE_SIZE = 7, 12, 90
CIFAR = dict(type="SmallImageResNet", depth=14)


def reference_model(gpaco: bool = False, encoder: nn.Module | None = None) -> ReferenceModel:
    return ReferenceModel(encoder or CifarResNet(2, DIM), NUM_CLASSES, QUEUE_SIZE, gpaco)


def paco_model(
    backbone: dict = CIFAR, width: int = 64, gpaco: bool = False, **head
) -> ImageClassifier:
    config = dict(
        type="PaCoClassifier",
        backbone=backbone,
        neck=dict(type="GlobalAveragePooling"),
        head=dict(
            type="PaCoHead",
            num_classes=NUM_CLASSES,
            in_channels=width,
            feat_channels=DIM,
            queue_size=QUEUE_SIZE,
            projector=dict(type="Projector", num_layers=3 if gpaco else 2, norm=not gpaco),
            loss=dict(type="PaCoLoss", alpha=0.05, temperature=0.2),
            **head,
        ),
        momentum=None if gpaco else 0.999,
    )
    return MODELS.build(config).eval()


def assert_equal_to_1e_5(value: Tensor, expected: Tensor) -> None:
    assert expected.std() > 1e-3
    assert (value - expected).abs().max() <= 1e-5 * expected.abs().max()


@torch.no_grad()
def check(reference: ReferenceModel, model: ImageClassifier, size: int = 32) -> None:
    """Converts with DistributedDataParallel's prefix and compares all that the two compute."""
    state = {f"module.{name}": value for name, value in reference.state_dict().items()}
    converted, unused = convert_reference_state(state, model)
    model.load_state_dict(converted)
    images = torch.randn(3, 3, size, size)
    assert_equal_to_1e_5(model(images), reference.logits(images))
    (pooled,) = model.extract_feat(images)
    assert_equal_to_1e_5(model.head.projector(pooled), reference.encoder_q(images))
    assert torch.equal(model.head.queue.features, reference.queue)
    assert torch.equal(model.head.queue.labels, reference.queue_l)
    assert model.head.step.queue.state.tolist() == [int(reference.queue_ptr), len(reference.queue)]
    if model.key_encoder is None:
        assert unused == []
    else:
        assert sorted(unused) == ["linear_k.bias", "linear_k.weight"]
        keys = reference.encoder_k(images)
        assert_equal_to_1e_5(model.key_encoder(images), keys)


@pytest.mark.parametrize("gpaco", [False, True], ids=["paco", "gpaco"])
def test_cifar(gpaco):
    reference = reference_model(gpaco)
    if not gpaco:  # A key encoder lags behind.
        for parameter in reference.encoder_k.parameters():
            nn.init.normal_(parameter, std=0.2)
    check(reference, paco_model(gpaco=gpaco))


def test_a_published_imagenet_recipe():
    config = Config.fromfile(CONFIGS / "imagenet_lt" / "paco_x50.py")
    encoder = torchvision.models.resnext50_32x4d(num_classes=128)
    reference = ReferenceModel(encoder, 1000, 8192, gpaco=False)
    check(reference, MODELS.build(config.model).eval(), size=64)


def test_the_resnet_50_of_cifar():
    encoder = torchvision.models.resnet50(num_classes=128)
    encoder.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    encoder.maxpool = nn.Identity()
    reference = ReferenceModel(encoder, 100, 1024, gpaco=True)

    def call_them_shortcuts(_module: nn.Module, state: dict, *_: object) -> None:
        for name in list(state):
            state[name.replace(".downsample.", ".shortcut.")] = state.pop(name)

    reference.register_state_dict_post_hook(call_them_shortcuts)
    config = Config.fromfile(CONFIGS / "cifar100" / "gpaco_r50.py")
    check(reference, MODELS.build(config.model).eval())


@pytest.mark.parametrize("head", ["ClassCentersHead", "LinearClsHead"])
@torch.no_grad()
def test_a_plain_classifier_takes_backbone_and_centers(head):
    reference = reference_model()
    config = dict(type=head, num_classes=NUM_CLASSES, in_channels=64)
    if head == "ClassCentersHead":
        config["loss"] = dict(type="CrossEntropyLoss")
    neck = dict(type="GlobalAveragePooling")
    model = ImageClassifier(backbone=CIFAR, neck=neck, head=config).eval()
    converted, unused = convert_reference_state(reference.state_dict(), model)
    model.load_state_dict(converted)
    images = torch.randn(3, 3, 32, 32)
    assert_equal_to_1e_5(model(images), reference.logits(images))
    parts = {name.split(".")[0] for name in unused}
    assert parts == {"encoder_q", "encoder_k", "linear_k", "queue"}
    assert all(name.startswith("encoder_q.fc.") for name in unused if "encoder_q" in name)


def test_rows_that_no_step_wrote_are_not_valid():
    reference = reference_model()
    # The reference begins with random rows, scaled to unit length over the wrong dimension.
    reference.queue[20:] = F.normalize(torch.randn(QUEUE_SIZE, DIM), dim=0)[20:]
    reference.queue_ptr[0] = 20
    state, _ = convert_reference_state(reference.state_dict(), paco_model())
    assert state["head.step.queue.state"].tolist() == [20, 20]
    assert torch.equal(state["head.step.queue.features"][:20], reference.queue[:20])
    assert state["head.step.queue.features"][20:].abs().sum() == 0
    assert (state["head.step.queue.labels"][20:] == -1).all()


def test_a_queue_that_no_step_leaves_is_an_error():
    reference = reference_model()
    reference.queue[3] *= 2
    reference.queue_ptr[0] = 20
    with pytest.raises(ValueError, match=r"queue: row 3.* not of unit length"):
        convert_reference_state(reference.state_dict(), paco_model())


def test_the_prior_stays_what_it_is():
    model = paco_model()
    model.head.set_class_counts(torch.arange(1, NUM_CLASSES + 1))
    state, _ = convert_reference_state(reference_model().state_dict(), model)
    assert torch.equal(state["head.step.centers.log_prior"], model.head.centers.log_prior)


def test_all_that_has_no_counterpart_is_named():
    state = reference_model().state_dict()
    del state["encoder_q.bn1.weight"], state["encoder_k.layer2.1.conv1.weight"]
    state |= {"encoder_q.layer9.weight": torch.ones(1), "scaler": torch.ones(1)}
    state["linear.weight"] = torch.ones(NUM_CLASSES + 1, 64)
    with pytest.raises(ValueError) as error:
        convert_reference_state(state, paco_model())
    unknown, missing, misshapen = str(error.value).split("; ")
    assert unknown.endswith("without a place in the model: encoder_q.layer9.weight, scaler")
    assert missing.endswith(
        "without a counterpart in the checkpoint: "
        "backbone.bn1.weight, key_encoder.encoder.backbone.layer2.1.conv1.weight"
    )
    assert misshapen.endswith("linear.weight is [8, 64] and head.step.centers.weight [7, 64]")


def test_an_incomplete_queue_is_named():
    state = reference_model().state_dict()
    del state["queue_ptr"]
    with pytest.raises(
        ValueError, match=r"place in the model: queue, queue_l.*head\.step\.queue\.state"
    ):
        convert_reference_state(state, paco_model())


@pytest.mark.parametrize("gpaco", [False, True], ids=["paco", "gpaco"])
def test_paco_is_not_gpaco(gpaco):
    if gpaco:
        parts = (
            r"[1-9]\d+ tensors of the model without a counterpart .*: head\.projector\..*, \.\.\."
        )
    else:
        parts = r"[1-9]\d+ tensors of the checkpoint without .*: encoder_k\.(\w|\.)*, .*, \.\.\."
    with pytest.raises(ValueError, match=parts):
        convert_reference_state(reference_model(gpaco).state_dict(), paco_model(gpaco=not gpaco))


def test_cosine_centers_are_an_error():
    message = "class centers are linear, and the config's cosines with scale 20"
    with pytest.raises(ValueError, match=message):
        convert_reference_state(reference_model().state_dict(), paco_model(scale=20.0))


# ---- BCL -----------------------------------------------------------------------------------------


@torch.no_grad()
def check_bcl(reference: BCLReferenceModel, model: ImageClassifier, size: int) -> None:
    state = {f"module.{name}": value for name, value in reference.state_dict().items()}
    converted, unused = convert_reference_state(state, model)
    assert unused == []
    model.load_state_dict(converted)
    images = torch.randn(3, 3, size, size)
    pooled = reference.encoder(images)
    assert_equal_to_1e_5(model(images), reference.fc(pooled))
    assert_equal_to_1e_5(model.head.projector(pooled), reference.head(pooled))
    prototypes = model.head.prototype_projector(model.head.centers.weight)
    assert_equal_to_1e_5(prototypes, reference.prototypes())


def bcl_model(**head) -> ImageClassifier:
    projector = dict(type="Projector", num_layers=2, norm=True)
    config = dict(
        type="PaCoClassifier",
        backbone=CIFAR,
        neck=dict(type="GlobalAveragePooling"),
        head=dict(
            type="BCLHead",
            num_classes=NUM_CLASSES,
            in_channels=64,
            feat_channels=DIM,
            projector=projector,
            prototype_projector=projector,
            contrast_loss=dict(type="BCLLoss", temperature=0.1),
            classification_weight=1.0,
            contrast_weight=1.0,
            **head,
        ),
        momentum=None,
    )
    return MODELS.build(config).eval()


@pytest.mark.parametrize("cosine", [True, False])
def test_bcl(cosine):
    reference = BCLReferenceModel(CifarResNet(2, DIM), NUM_CLASSES, cosine)
    check_bcl(reference, bcl_model(scale=30.0 if cosine else None), size=32)


def test_the_published_recipe_of_bcl():
    config = Config.fromfile(CONFIGS / "imagenet_lt" / "bcl_x50.py")
    encoder = torchvision.models.resnext50_32x4d(num_classes=1024)
    reference = BCLReferenceModel(encoder, 1000, cosine=True)
    check_bcl(reference, MODELS.build(config.model).eval(), size=64)


@torch.no_grad()
def test_a_plain_classifier_takes_backbone_and_centers_of_bcl():
    reference = BCLReferenceModel(CifarResNet(2, DIM), NUM_CLASSES, cosine=True)
    head = dict(type="ClassCentersHead", num_classes=NUM_CLASSES, in_channels=64, scale=30.0)
    neck = dict(type="GlobalAveragePooling")
    model = ImageClassifier(backbone=CIFAR, neck=neck, head=head).eval()
    converted, unused = convert_reference_state(reference.state_dict(), model)
    model.load_state_dict(converted)
    images = torch.randn(3, 3, 32, 32)
    assert_equal_to_1e_5(model(images), reference.fc(reference.encoder(images)))
    assert {name.split(".")[0] for name in unused} == {"head", "head_fc"}


@pytest.mark.parametrize(
    ("cosine", "scale", "message"),
    [
        (True, 16.0, "are cosines with scale 30, and the config's cosines with scale 16"),
        (True, None, "are cosines with scale 30, and the config's linear"),
        (False, 30.0, "are linear, and the config's cosines with scale 30"),
    ],
)
def test_another_classifier_than_the_checkpoint_s_is_an_error(cosine, scale, message):
    reference = BCLReferenceModel(CifarResNet(2, DIM), NUM_CLASSES, cosine)
    with pytest.raises(ValueError, match=f"class centers {message}"):
        convert_reference_state(reference.state_dict(), bcl_model(scale=scale))


# ---- ProCo ---------------------------------------------------------------------------------------


def proco_reference(name: str) -> tuple[ProCoReferenceModel, ImageClassifier]:
    """The reference's model of a recipe of ours, and ours."""
    model = MODELS.build(Config.fromfile(CONFIGS / f"{name}.py").model).eval()
    if name.startswith("cifar"):
        reference = ProCoReferenceModel(CifarResNet(5, 1), 100, 128, hidden=512, cosine=False)
    else:
        encoder = torchvision.models.resnet50()
        reference = ProCoReferenceModel(encoder, 1000, 1024, hidden=2048, cosine=True)
    return reference, model


@pytest.mark.parametrize("name", ["cifar100_lt/proco_if100", "imagenet_lt/proco_r50"])
@torch.no_grad()
def test_proco_s_recipes(name):
    reference, model = proco_reference(name)
    criterion = ProCoCriterion(*model.head.contrast_loss.older_mean.shape)
    before = model.state_dict()["head.contrast_loss.older_mean"].clone()
    state = {f"module.{name}": value for name, value in reference.state_dict().items()}
    without, _ = convert_reference_state(state, model)
    assert torch.equal(without["head.contrast_loss.older_mean"], before)
    state = reference.state_dict() | proco_estimates(criterion)
    converted, unused = convert_reference_state(state, model)
    assert unused == []
    model.load_state_dict(converted)
    images = torch.randn(3, 3, 64, 64) if name.startswith("imagenet") else torch.randn(3, 3, 32, 32)
    assert_equal_to_1e_5(model(images), reference.logits(images))
    (pooled,) = model.extract_feat(images)
    assert_equal_to_1e_5(model.head.projector(pooled), reference.head(reference.encoder(images)))
    loss = model.head.contrast_loss
    assert torch.equal(loss.older_mean, criterion.estimator_old.Ave)
    assert torch.equal(loss.younger_mean, criterion.estimator.Ave)
    assert torch.equal(loss.older_count, criterion.estimator_old.Amount.long())
    assert torch.equal(loss.younger_count, criterion.estimator.Amount.long())


def test_a_plain_classifier_takes_proco_s_backbone_and_centers():
    reference, _ = proco_reference("cifar100_lt/proco_if100")
    config = dict(type="LinearClsHead", num_classes=100, in_channels=64)
    neck = dict(type="GlobalAveragePooling")
    backbone = dict(type="SmallImageResNet", depth=32)
    model = ImageClassifier(backbone=backbone, neck=neck, head=config).eval()
    converted, unused = convert_reference_state(reference.state_dict(), model)
    model.load_state_dict(converted)
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        assert_equal_to_1e_5(model(images), reference.logits(images))
    assert unused and all(name.startswith("head.") for name in unused)
