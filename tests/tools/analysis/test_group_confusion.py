import pytest
import torch
from helpers.figures import CONFIG, check_png
from mmengine.config import Config

from paco import metrics
from paco.tools.analysis import group_confusion
from paco.tools.analysis.group_confusion import draw
from paco.tools.analysis.predictions import Classes, Predictions, load_classes, load_predictions

COUNTS = torch.tensor([500, 200, 50, 5])


def run_of(labels: list[int], predicted: list[int]) -> Predictions:
    return Predictions(list(range(len(labels))), torch.tensor(labels), torch.eye(4)[predicted])


def test_by_hand():
    # Class 0: two right, one taken for the other large class, one for the rare one. Class 1: right.
    labels = [0, 0, 0, 0, 1, 2, 2, 3, 3]
    predicted = [0, 0, 1, 3, 1, 3, 2, 0, 2]
    matrix = group_confusion.group_confusion(run_of(labels, predicted), COUNTS)
    assert matrix.tolist() == [[75, 12.5, 0, 12.5], [50, 0, 0, 50], [0, 50, 50, 0]]


def test_right_is_the_group_s_accuracy_and_rows_sum_to_100():
    labels = torch.randint(4, (200,))
    run = Predictions(list(range(200)), labels, torch.rand(200, 4))
    matrix = group_confusion.group_confusion(run, COUNTS)
    accuracy = metrics.grouped_accuracy(run.classes, labels, COUNTS)
    for row, name in zip(matrix, ("many", "medium", "few"), strict=True):
        assert row[0].item() == pytest.approx(100 * accuracy[name])
        assert row.sum().item() == pytest.approx(100)


def test_a_group_without_an_image_says_so():
    figure = draw(Classes(tuple("abcd"), COUNTS), {"run": run_of([0, 1, 3], [0, 1, 3])})
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts[:4] == ["100.0", "0.0", "0.0", "0.0"]
    assert texts[4:8] == ["no image"] * 4


def test_the_command_line(tmp_path, predictions, baseline):
    out = tmp_path / "confusion.png"
    group_confusion.main([*map(str, (CONFIG, predictions, baseline, "--out", out))])
    classes = load_classes(Config.fromfile(CONFIG))
    runs = {path.stem: load_predictions(path) for path in (predictions, baseline)}
    figure = draw(classes, runs)
    check_png(out, figure)
    assert [ax.get_title() for ax in figure.axes[:2]] == ["run", "baseline"]
    rows = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert rows == ["many\n(1 class)", "medium\n(3 classes)", "few\n(6 classes)"]
    for ax, run in zip(figure.axes, runs.values(), strict=False):
        matrix = group_confusion.group_confusion(run, classes.counts)
        assert torch.equal(torch.as_tensor(ax.images[0].get_array().data), matrix)
