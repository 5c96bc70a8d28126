import importlib
import re

import pytest
import torch
from helpers.figures import CONFIG, check_png, write_predictions
from mmengine.config import Config

from paco import metrics
from paco.metrics import Difference
from paco.tools.analysis import compare_runs
from paco.tools.analysis.compare_runs import draw
from paco.tools.analysis.predictions import load_classes, load_predictions


def test_the_table_is_that_of_the_metrics_and_the_intervals(
    tmp_path, predictions, baseline, capsys
):
    out = tmp_path / "compare.png"
    arguments = [str(CONFIG), str(predictions), str(baseline), "--seed", "3", "--out", str(out)]
    compare_runs.main(arguments)
    printed = capsys.readouterr().out
    compare_runs.main(arguments)
    assert capsys.readouterr().out == printed

    counts = load_classes(Config.fromfile(CONFIG)).counts
    run, other = load_predictions(predictions), load_predictions(baseline)
    differences = metrics.paired_difference(run.classes, other.classes, run.labels, counts, seed=3)
    for key, name in [("all", "mean"), ("many", "many"), ("medium", "medium"), ("few", "few")]:
        (line,) = [line for line in printed.splitlines() if line.startswith(name)]
        figures = [float(x) for x in re.findall(r"[-+]?\d+\.\d", line)]
        expected = [
            metrics.grouped_accuracy(r.classes, r.labels, counts)[key] for r in (run, other)
        ]
        assert figures == pytest.approx([100 * x for x in (*expected, *differences[key])], abs=0.06)
    check_png(out, draw(["run", "baseline"], differences))


def test_the_figure_shows_each_difference_with_its_interval():
    differences = {
        "top1": Difference(0.05, 0.02, 0.08),
        "all": Difference(-0.04, -0.06, -0.01),
        "many": Difference(*[float("nan")] * 3),
    }
    ax = draw(["a", "b"], differences).axes[0]
    assert ax.get_title() == "a over b"
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["top-1", "mean"]
    _, *lines = [line.get_xdata() for line in ax.lines]
    assert [list(map(float, line)) for line in lines] == [[2, 8], [5], [-6, -1], [-4]]
    assert [text.get_text() for text in ax.texts] == ["+5.0", "\N{MINUS SIGN}4.0"]


def test_runs_on_other_images_are_refused(tmp_path, predictions, labels, capsys):
    other = write_predictions(tmp_path / "b.pkl", labels, torch.eye(10)[labels], first=1)
    with pytest.raises(SystemExit):
        compare_runs.main([str(CONFIG), str(predictions), str(other)])
    assert "b.pkl is of other test images: number 0 is 1" in capsys.readouterr().err


@pytest.mark.parametrize("tool", ["compare_runs", "group_confusion", "per_class_accuracy"])
def test_options_override_the_config(tool, tmp_path, predictions, baseline, capsys):
    second = ["--baseline"] if tool == "per_class_accuracy" else []
    arguments = [CONFIG, predictions, *second, baseline, "--out", tmp_path / "a.png"]
    arguments += ["--cfg-options", "train_dataloader.dataset.split=none"]
    with pytest.raises(SystemExit):
        importlib.import_module(f"paco.tools.analysis.{tool}").main([*map(str, arguments)])
    assert "split must be 'train' or 'test', got 'none'" in capsys.readouterr().err
