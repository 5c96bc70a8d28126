import pytest
import torch
from helpers.figures import check_png, legend_of

from paco import metrics
from paco.tools.analysis import calibration
from paco.tools.analysis.calibration import draw
from paco.tools.analysis.predictions import Predictions, load_predictions


def test_the_points_are_the_bins():
    # Four confidences in three of fifteen bins.
    confidence = torch.tensor([0.9, 0.92, 0.55, 0.65])
    run = Predictions([0, 1, 2, 3], torch.tensor([0, 1, 0, 1]), torch.stack([confidence] * 2, 1))
    run.probabilities[:, 1] = 1 - confidence
    figure = draw({"run": run})
    top, bottom = figure.axes
    _, line = top.lines
    expected = [[55, 100], [65, 0], [91, 50]]
    assert line.get_xydata() == pytest.approx(torch.tensor(expected).numpy(), abs=1e-4)
    shares = bottom.patches[0].get_data().values
    assert shares.tolist() == [0] * 8 + [25, 25] + [0] * 3 + [50, 0]
    error = metrics.expected_calibration_error(run.probabilities, run.labels)
    assert legend_of(figure) == ["calibrated", f"run (ECE {100 * error:.1f} %)"]


def test_the_command_line(tmp_path, predictions, baseline):
    out = tmp_path / "calibration.png"
    calibration.main([str(predictions), str(baseline), "--out", str(out)])
    figure = draw({path.stem: load_predictions(path) for path in (predictions, baseline)})
    check_png(out, figure)
    assert [entry.split(" (")[0] for entry in legend_of(figure)] == [
        "calibrated",
        "run",
        "baseline",
    ]
