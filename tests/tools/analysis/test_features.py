import pytest
import torch
from helpers.figures import CONFIG, check_png, legend_of
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

from paco.tools.analysis import features
from paco.tools.analysis.features import choose_classes, draw, embed, extract
from paco.tools.analysis.predictions import load_classes


@pytest.fixture(scope="module")
def model():
    init_default_scope("mmpretrain")
    cfg = Config.fromfile(CONFIG)
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    model.init_weights()
    return model.eval()


@pytest.fixture(scope="module")
def checkpoint(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("features") / "model.pth"
    torch.save({"state_dict": model.state_dict()}, path)
    return path


def test_classes_are_chosen_from_the_largest_to_the_smallest():
    counts = torch.tensor([5, 90, 70, 20, 1])
    assert choose_classes(counts, 3).tolist() == [1, 3, 4]
    assert choose_classes(counts, 99).tolist() == [1, 2, 3, 0, 4]


def test_features_and_centers_are_the_model_s(model, checkpoint):
    chosen = torch.tensor([2, 7])
    values, labels, centers = extract(Config.fromfile(CONFIG), checkpoint, chosen)
    assert labels.bincount(minlength=10).tolist() == [0, 0, 60, 0, 0, 0, 0, 60, 0, 0]
    assert torch.equal(centers, model.head.centers.weight)
    # Logits of the features are those of the classifier.
    from paco.mmpretrain import DigitsLT

    dataset = DigitsLT(split="test", pipeline=[dict(type="PackInputs")])
    images = [dataset[i] for i in range(600) if dataset.get_data_info(i)["gt_label"] in (2, 7)]
    data = model.data_preprocessor(dict(inputs=[x["inputs"] for x in images]))
    with torch.no_grad():
        expected = model(data["inputs"])
        torch.testing.assert_close(model.head.centers.predict(values), expected)


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_classes_apart_stay_apart_and_centers_lie_among_their_images(method):
    centers = torch.eye(3, 8)
    labels = torch.arange(3).repeat(40)
    points, center_points, names = embed(
        centers[labels] + 0.1 * torch.randn(120, 8) + 5, 3 * centers - 7, method
    )
    assert points.shape == (120, 2) and len(names) == 2
    distance = torch.cdist(*map(torch.as_tensor, (points, center_points)))
    assert torch.equal(distance.argmin(dim=1), labels)


def test_the_figure_has_a_point_an_image_and_a_star_a_class():
    classes = load_classes(Config.fromfile(CONFIG))
    chosen = choose_classes(classes.counts, 4)
    labels = chosen.repeat(20)
    centers = torch.randn(10, 6)
    figure = draw(classes, chosen, torch.randn(80, 6), labels, centers, "pca")
    points, stars = figure.axes[0].collections[:2]
    assert points.get_array().tolist() == classes.counts[labels].tolist()
    assert stars.get_array().tolist() == classes.counts[chosen].tolist()
    assert [text.get_text() for text in figure.axes[0].texts] == list(map(str, chosen.tolist()))
    assert legend_of(figure) == ["image", "center"]
    assert "component 1" in figure.axes[0].get_xlabel()


def test_the_command_line(checkpoint, tmp_path):
    out = tmp_path / "features.png"
    features.main([str(CONFIG), str(checkpoint), "--num-classes", "3", "--out", str(out)])
    classes = load_classes(Config.fromfile(CONFIG))
    chosen = choose_classes(classes.counts, 3)
    check_png(
        out, draw(classes, chosen, *extract(Config.fromfile(CONFIG), checkpoint, chosen), "tsne")
    )


def test_another_head_is_refused(tmp_path, capsys):
    config = tmp_path / "other.py"
    config.write_text(
        f"_base_ = {str(CONFIG)!r}\n"
        "model = dict(_delete_=True, type='ImageClassifier', data_preprocessor=dict("
        "type='ClsDataPreprocessor'), backbone=dict(type='SmallConvNet', in_channels=1), "
        "neck=dict(type='GlobalAveragePooling'), "
        "head=dict(type='LinearClsHead', num_classes=10, in_channels=128))\n"
    )
    checkpoint = tmp_path / "other.pth"
    torch.save({"state_dict": MODELS.build(Config.fromfile(config).model).state_dict()}, checkpoint)
    with pytest.raises(SystemExit):
        features.main([str(config), str(checkpoint)])
    assert (
        "must have a ClassCentersHead or a PaCoHead, got LinearClsHead" in capsys.readouterr().err
    )


def test_a_checkpoint_of_another_model_is_refused(model, tmp_path, capsys):
    path = tmp_path / "other.pth"
    torch.save({"state_dict": {f"encoder.{k}": v for k, v in model.state_dict().items()}}, path)
    with pytest.raises(SystemExit):
        features.main([str(CONFIG), str(path), "--out", str(tmp_path / "a.png")])
    assert "other.pth is not of the config's model" in capsys.readouterr().err
