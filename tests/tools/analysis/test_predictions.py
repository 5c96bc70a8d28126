import pytest
import torch
from helpers.figures import CONFIG, write_predictions
from mmengine.config import Config

from paco.mmpretrain import DigitsLT
from paco.tools.analysis.predictions import (
    check_same_images,
    load_classes,
    load_predictions,
    load_runs,
)

# The sizes of DigitsLT with an imbalance factor of 50.
COUNTS = [110, 71, 46, 29, 19, 12, 8, 5, 3, 2]


def test_the_classes_are_those_of_the_training_set():
    classes = load_classes(Config.fromfile(CONFIG))
    assert classes.names == tuple("0123456789")
    assert classes.counts.tolist() == COUNTS


def test_repeated_images_count_once(tmp_path):
    config = tmp_path / "repeated.py"
    config.write_text(
        f"_base_ = '{CONFIG}'\n"
        "dataset = _base_.train_dataloader.dataset\n"
        "train_dataloader = dict(\n"
        "    dataset=dict(_delete_=True, type='RepeatDataset', times=3, dataset=dataset))\n"
    )
    assert load_classes(Config.fromfile(config)).counts.tolist() == COUNTS


def test_a_file_is_read_as_it_was_written(tmp_path, labels):
    probabilities = torch.randn(len(labels), 10).softmax(dim=1)
    path = write_predictions(tmp_path / "run.pkl", labels, probabilities, first=7)
    read = load_predictions(path)
    assert read.images == list(range(7, 7 + len(labels)))
    assert torch.equal(read.labels, labels)
    assert torch.equal(read.probabilities, probabilities)
    assert torch.equal(read.classes, probabilities.argmax(dim=1))


def test_another_pickle_is_refused(tmp_path):
    path = tmp_path / "metrics.pkl"
    path.write_bytes(b"\x80\x04}\x94.")  # an empty dictionary
    with pytest.raises(ValueError, match=r"metrics\.pkl does not hold predictions"):
        load_predictions(path)


def test_predictions_of_other_classes_are_refused(tmp_path, labels):
    path = write_predictions(tmp_path / "a.pkl", labels, torch.eye(11)[labels])
    with pytest.raises(ValueError, match=r"a\.pkl is of 11 classes, the config of 10"):
        load_runs([path], load_classes(Config.fromfile(CONFIG)))


def test_runs_on_other_images_are_refused(tmp_path, labels, predictions):
    run = load_predictions(predictions)
    check_same_images(predictions, run, run)
    probabilities = run.probabilities
    other_label = labels.clone()
    other_label[4] = 0
    path = tmp_path / "b.pkl"
    for changed_labels, changed_probabilities, first, message in [
        (labels[1:], probabilities[1:], 0, "has 299 images, and the first run 300"),
        (labels, probabilities, 3, "number 0 is 3, label 0, and in the first run 0, label 0"),
        (other_label, probabilities, 0, "number 4 is 4, label 0, and in the first run 4, label 4"),
    ]:
        write_predictions(path, changed_labels, changed_probabilities, first)
        with pytest.raises(ValueError, match=rf"b\.pkl .*{message}"):
            check_same_images(path, run, load_predictions(path))


def test_a_config_whose_classes_have_no_names_is_named(monkeypatch):
    monkeypatch.setattr(DigitsLT, "METAINFO", {})
    with pytest.raises(ValueError, match="DigitsLT has no class names"):
        load_classes(Config.fromfile(CONFIG))
