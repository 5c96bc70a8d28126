from collections.abc import Iterator

import pytest
import torch
from helpers.small_models import NUM_CLASSES, build, labels_of, views_of
from mmpretrain.registry import MODELS
from torch.nn import functional as F

from paco import reference
from paco.mmpretrain import EncodedViews

PROJECTOR = dict(type="Projector", num_layers=2, norm=True, hidden_channels=9)


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    # Two ways to compute a gradient through BatchNorm of few rows differ by its rounding.
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def model_config(momentum: float | None = None, **head) -> dict:
    return dict(
        type="PaCoClassifier",
        backbone=dict(type="SmallImageResNet", depth=8, in_channels=1),
        neck=dict(type="GlobalAveragePooling"),
        head=dict(
            dict(
                type="BCLHead",
                num_classes=NUM_CLASSES,
                in_channels=64,
                feat_channels=6,
                projector=PROJECTOR,
                prototype_projector=PROJECTOR,
                contrast_loss=dict(type="BCLLoss", temperature=0.2),
                classification_weight=2.0,
                contrast_weight=0.6,
            ),
            **head,
        ),
        momentum=momentum,
    )


def expected_losses(head, views: EncodedViews, labels: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Both terms by their definitions."""
    centers = head.centers
    logits = reference.center_logits(
        views.classification,
        centers.weight,
        centers.bias,
        centers.log_prior,
        centers.center_temperature,
        centers.tau,
        centers.scale,
    )
    contrast = reference.bcl_loss(
        F.normalize(torch.cat(list(views.projections)), dim=1),
        torch.cat([labels] * len(views.projections)),
        F.normalize(head.prototype_projector(centers.weight), dim=1),
        temperature=0.2,
    )
    return 2.0 * F.cross_entropy(logits, labels), 0.6 * contrast


@pytest.mark.parametrize("num_views", [2, 3])
@pytest.mark.parametrize("options", [{}, dict(scale=30.0, tau=0.7)], ids=str)
def test_the_loss_is_cross_entropy_and_bcl(rng, num_views, options):
    head = build(model_config(**options)).head
    batch = rng.randint(2, 9)
    _, samples = views_of(batch)
    pooled = torch.randn(num_views, batch, 64)
    projections = torch.randn(num_views, batch, 6)
    views = EncodedViews(pooled, projections, None, torch.randn(batch, 64), torch.randn(batch, 6))
    losses = head.loss(views, samples)
    cross_entropy, contrast = expected_losses(head, views, labels_of(samples))
    torch.testing.assert_close(losses["cross_entropy"], cross_entropy)
    torch.testing.assert_close(losses["contrast"], contrast)
    torch.testing.assert_close(losses["loss"], cross_entropy + contrast)
    correct = head.centers(views.classification).argmax(1) == labels_of(samples)
    assert losses["accuracy_top-1"].item() == pytest.approx(100 * correct.double().mean().item())
    first, *others = F.normalize(projections, dim=2)
    similarity = torch.stack([(first * other).sum(1).mean() for other in others]).mean()
    torch.testing.assert_close(losses["view_similarity"], similarity)


def test_the_gradient_flows_to_every_parameter():
    model = build(model_config())
    inputs, samples = views_of(4, num_views=3)
    contrast, classification = inputs.split([8, 4])
    losses = model.loss(dict(contrast=contrast, classification=classification), samples)
    losses["loss"].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_the_classifier_learns_from_its_own_view_and_as_prototypes():
    head = build(model_config(classification_weight=0.0)).head
    _, samples = views_of(4)
    own = torch.randn(4, 64, requires_grad=True)
    projections = torch.randn(2, 4, 6, requires_grad=True)
    views = EncodedViews(torch.randn(2, 4, 64), projections, None, own, torch.randn(4, 6))
    head.loss(views, samples)["loss"].backward()
    assert own.grad.abs().sum() == 0  # of a loss without weight
    assert projections.grad.abs().sum() > 0
    assert head.centers.weight.grad.abs().sum() > 0  # through the prototypes


def test_it_predicts_with_the_centers_alone():
    model = build(model_config()).eval()
    head = model.head
    images = torch.randn(3, 1, 8, 8)
    (pooled,) = model.extract_feat(images)
    torch.testing.assert_close(
        model(images), F.linear(pooled, head.centers.weight, head.centers.bias)
    )


def test_rows_have_unit_length_under_autocast():
    torch.set_default_dtype(torch.float32)
    head = build(model_config()).head
    rows = []
    head.contrast_loss.register_forward_pre_hook(lambda module, inputs: rows.extend(inputs))
    _, samples = views_of(4)
    with torch.autocast("cpu", torch.bfloat16):
        projections = head.projector(torch.randn(8, 64)).view(2, 4, 6)
        views = EncodedViews(torch.randn(2, 4, 64), projections, None, torch.randn(4, 64))
        head.loss(views, samples)
    features, _, prototypes = rows
    for x in (features, prototypes):
        torch.testing.assert_close(x.norm(dim=1), torch.ones(len(x)), rtol=1e-6, atol=0)


def test_contrast_views_alone_are_an_error():
    model = build(model_config())
    with pytest.raises(ValueError, match="BCLHead: there is no classification view"):
        model.loss(*views_of(4))


def test_a_key_encoder_is_an_error():
    model = build(model_config(momentum=0.9))
    inputs, samples = views_of(4, num_views=3)
    contrast, classification = inputs.split([8, 4])
    with pytest.raises(ValueError, match=r"BCLHead: all views .* one encoder: set momentum=None"):
        model.loss(dict(contrast=contrast, classification=classification), samples)


@pytest.mark.parametrize("name", ["classification_weight", "contrast_weight"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_bad_weight_is_an_error(name, value):
    with pytest.raises(ValueError, match=f"BCLHead: {name} must be finite and >= 0, got {value}"):
        MODELS.build(model_config(**{name: value}))


def test_centers_of_a_plain_head_are_loaded():
    plain = MODELS.build(dict(type="ClassCentersHead", num_classes=NUM_CLASSES, in_channels=64))
    head = build(model_config()).head
    head.load_state_dict(plain.state_dict(), strict=False)
    assert torch.equal(head.centers.weight, plain.centers.weight)
