import numpy as np
import pytest
import torch
from helpers.refusals import refused
from helpers.segmentation import CONFIGS, build, load, total
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from PIL import Image

from paco import deploy
from paco.mmseg import DigitsScenes
from paco.tools import count_pixels, export_segmentor, test, train
from paco.tools.analysis import segmentation_overlay

CONFIG = f"{CONFIGS}/digits_seg/fcn_paco.py"
FEW = [
    "train_dataloader.dataset.num_scenes=20",
    "val_dataloader.dataset.num_scenes=8",
    "test_dataloader.dataset.num_scenes=8",
    "train_cfg.max_iters=3",
    "train_cfg.val_interval=3",
    "default_hooks.checkpoint.interval=3",
]


def labels_of(dataset):
    return np.stack([dataset.get_data_info(i)["gt_seg_map"] for i in range(len(dataset))])


def test_scenes_are_long_tailed_in_training_alone():
    counts = {}
    for split in ("train", "test"):
        labels = labels_of(DigitsScenes(split=split, num_scenes=300))
        counts[split] = np.bincount(labels.ravel(), minlength=256)
        assert set(np.unique(labels)) == {*range(11), 255}
    digits = counts["train"][1:11]
    assert 8 < digits[0] / digits[9] < 40
    assert counts["test"][1:11].max() / counts["test"][1:11].min() < 2


def test_a_seed_draws_the_same_scenes_again():
    first, again, other = (DigitsScenes(num_scenes=4, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(labels_of(first), labels_of(again))
    assert not np.array_equal(labels_of(first), labels_of(other))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(split="val"), "split must be 'train' or 'test', got 'val'"),
        (dict(num_scenes=0), "num_scenes must be at least 1, got 0"),
        (dict(imbalance_factor=0.5), "imbalance_factor must be at least 1, got 0.5"),
    ],
)
def test_bad_settings_are_an_error(settings, message):
    with pytest.raises(ValueError, match=f"DigitsScenes: {message}"):
        DigitsScenes(**settings)


def test_class_pixels_of_the_config_are_the_training_set_s(tmp_path):
    count_pixels.main([CONFIG, str(tmp_path / "pixels.txt")])
    counted = [int(n) for n in (tmp_path / "pixels.txt").read_text().split()]
    assert counted == load("digits_seg/fcn").val_evaluator.class_pixels


@pytest.mark.parametrize("name", ["fcn", "fcn_paco"])
def test_it_takes_two_steps(name):
    config = load(f"digits_seg/{name}")
    init_default_scope("mmseg")
    dataset = DATASETS.build({**config.train_dataloader.dataset, "num_scenes": 4})
    model = build(config.model).train()
    samples = [dataset[i] for i in range(4)]
    data = {name: [sample[name] for sample in samples] for name in ("inputs", "data_samples")}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(2):
        losses = model(**model.data_preprocessor(data, training=True), mode="loss")
        optimizer.zero_grad()
        total(losses).backward()
        optimizer.step()
        assert total(losses).isfinite()
    assert ("decode.loss_paco" in losses) == (name == "fcn_paco")


def test_tools_train_test_and_export_it(tmp_path, capsys):
    train.main([CONFIG, "--work-dir", str(tmp_path), "--cfg-options", *FEW])
    checkpoint = str(tmp_path / "iter_3.pth")
    test.main([CONFIG, checkpoint, "--work-dir", str(tmp_path / "test"), "--cfg-options", *FEW])
    # Each loads the other's: the projector serves training alone.
    plain = CONFIG.replace("fcn_paco", "fcn")
    test.main([plain, checkpoint, "--work-dir", str(tmp_path / "plain"), "--cfg-options", *FEW])
    picture = tmp_path / "overlay.png"
    models = [f"{config}:{checkpoint}" for config in (plain, CONFIG)]
    segmentation_overlay.main([str(picture), *models, "--images", "3", "--scale", "2"])
    assert Image.open(picture).width == 3 * 2 * 48 + 2 * 4  # with gaps
    export_segmentor.main([CONFIG, checkpoint, "--work-dir", str(tmp_path)])
    assert "which agree with the model's" in capsys.readouterr().out
    assert (tmp_path / "segmentor.pt").exists()


def test_overlays_have_captions_and_a_legend():
    images = [np.full((10, 30, 3), 9, np.uint8), np.full((5, 20, 3), 9, np.uint8)]
    colours = {name: np.array([200, 10 * i, 0]) for i, name in enumerate(["sky", "road", "tree"])}
    picture = np.asarray(segmentation_overlay.draw(dict(a=images, b=images), colours, scale=2))
    assert picture.shape[1] == 2 * 30 + 4 + 2 * 20
    for top in (0, 20 + 20):  # of a caption, with its row below
        assert (picture[top : top + 20] == 0).all(2).any()
        row = (picture[top + 20 : top + 40] == 9).all(2)
        assert row[:, :60].all()
        assert not row[:, 60:64].any()
        assert row[:10, 64:].all()
    for colour in colours.values():
        assert (picture[80:] == colour).all(2).sum() > 100


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        (["bgr_to_rgb=False"], dict(channels="BGR", mean="80.0,80.0,80.0", std="60.0,60.0,60.0")),
        (["bgr_to_rgb=True"], dict(channels="RGB")),
        (["rgb_to_bgr=True"], dict(channels="RGB")),
        (["mean=None", "std=None"], dict(mean="0.0,0.0,0.0", std="1.0,1.0,1.0")),
    ],
)
def test_an_export_says_what_the_preprocessor_does(tmp_path, options, texts):
    checkpoint = tmp_path / "checkpoint.pth"
    torch.save({"state_dict": build(load("digits_seg/fcn").model).state_dict()}, checkpoint)
    config = CONFIG.replace("fcn_paco", "fcn")
    settings = [f"model.data_preprocessor.{option}" for option in options]
    export_segmentor.main(
        [config, str(checkpoint), "--work-dir", str(tmp_path), "--cfg-options", *settings]
    )
    kept = deploy.load(tmp_path / "segmentor.pt")[1]
    assert {name: kept[name] for name in texts} == texts


def test_a_label_that_is_no_class_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(DigitsScenes, "METAINFO", dict(classes=("paper", *"012345")))
    with refused(capsys, r"train_\d+.png has label \d+, which is"):
        count_pixels.main([CONFIG, str(tmp_path / "pixels.txt")])
    assert list(tmp_path.iterdir()) == []


def test_a_pipeline_that_reads_no_labels_is_named(tmp_path, capsys):
    options = ["--cfg-options", "train_dataloader.dataset.pipeline=[]"]
    with refused(capsys, r"pipeline must have a LoadAnnotations, got \[\]"):
        count_pixels.main([CONFIG, str(tmp_path / "pixels.txt"), *options])
