import pytest
import torch
from helpers.figures import CONFIG, check_png, legend_of
from mmengine.config import Config

from paco import metrics
from paco.tools.analysis import per_class_accuracy
from paco.tools.analysis.per_class_accuracy import draw, running_mean
from paco.tools.analysis.predictions import Classes, Predictions, load_classes, load_predictions


def test_the_points_are_the_accuracies_by_class_size(rng):
    counts = torch.tensor([5, 300, 50, 120, 7])
    labels = torch.randint(5, (100,))
    runs = {
        name: Predictions(list(range(100)), labels, torch.randn(100, 5).softmax(dim=1))
        for name in ("run", "baseline")
    }
    figure = draw(Classes(tuple("abcde"), counts), runs)
    top, bottom = figure.axes
    order = [1, 3, 2, 4, 0]
    accuracies = []
    for line, run in zip(top.lines, runs.values(), strict=False):
        accuracy = 100 * metrics.per_class_accuracy(run.classes, labels, 5)
        assert line.get_ydata().tolist() == accuracy[order].tolist()
        accuracies.append(accuracy.mean())
    assert legend_of(figure) == [
        f"{name} (mean {mean:.1f} %)" for name, mean in zip(runs, accuracies, strict=True)
    ]
    assert [text.get_text() for text in top.texts] == ["many", "medium", "few"]
    assert [text.get_position()[0] for text in top.texts] == [0.5, 2, 3.5]
    assert [tick.get_text() for tick in bottom.get_xticklabels()] == list("bdcea")
    (sizes,) = bottom.patches
    assert sizes.get_data().values.tolist() == [300, 120, 50, 7, 5]


def test_many_classes_are_points_and_a_running_mean():
    counts = torch.arange(200, 0, -1)
    labels = torch.arange(200).repeat(5)
    run = Predictions(list(range(1000)), labels, torch.rand(1000, 200))
    top, _ = draw(Classes(tuple(map(str, range(200))), counts), {"run": run}).axes
    points, mean = top.lines[:2]
    assert len(points.get_ydata()) == 200
    assert mean.get_ydata()[50] == pytest.approx(points.get_ydata()[45:56].mean())


def test_running_mean_at_the_ends_and_over_nan():
    values = torch.tensor([1.0, 3.0, torch.nan, 5.0])
    assert running_mean(values, 2).tolist() == [2.0, 2.0, 4.0, 5.0]


def test_the_command_line(tmp_path, predictions, baseline):
    out = tmp_path / "per_class.png"
    per_class_accuracy.main(
        [*map(str, (CONFIG, predictions, "--baseline", baseline, "--out", out))]
    )
    runs = {path.stem: load_predictions(path) for path in (predictions, baseline)}
    check_png(out, draw(load_classes(Config.fromfile(CONFIG)), runs))


def test_a_missing_file_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        per_class_accuracy.main([str(CONFIG), str(tmp_path / "none.pkl")])
    assert "none.pkl" in capsys.readouterr().err
