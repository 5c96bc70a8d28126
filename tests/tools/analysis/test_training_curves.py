import json
from pathlib import Path

import pytest
from helpers.figures import check_png, legend_of

from paco.tools.analysis import training_curves
from paco.tools.analysis.training_curves import draw, read_scalars


def write_log(work_dir: Path, epochs: range, slope: float, start: str = "20260101_000000") -> Path:
    """A log of 10 steps an epoch, every 5th of them, and a validation an epoch."""
    lines = []
    for epoch in epochs:
        for step in (10 * epoch - 5, 10 * epoch):
            lines.append(dict(loss=slope * step, lr=0.1, epoch=epoch, iter=step, step=step))
        accuracy = {
            f"long_tail/{group}": slope * epoch + i
            for i, group in enumerate(("mean", "many", "medium"))
        }
        lines.append({**accuracy, "long_tail/few": float("nan"), "step": epoch})
    path = work_dir / start / "vis_data" / "scalars.json"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return work_dir


def test_training_and_validation_share_an_axis_of_epochs(tmp_path):
    series, unit = read_scalars(write_log(tmp_path / "a", range(1, 4), 2.0))
    assert unit == "epoch"
    assert series["loss"] == [(x, 20.0 * x) for x in (0.5, 1, 1.5, 2, 2.5, 3)]
    assert series["long_tail/mean"] == [(1, 2.0), (2, 4.0), (3, 6.0)]


@pytest.mark.parametrize(("steps", "logged"), [(84, (50,)), (120, (50, 100)), (30, (30,))])
def test_an_epoch_s_last_steps_need_not_be_logged(tmp_path, steps, logged):
    lines = []
    for epoch in range(1, 4):
        at = [steps * (epoch - 1) + step for step in logged]
        lines += [dict(loss=1.0, epoch=epoch, iter=i, step=i) for i in at]
        lines.append({"long_tail/mean": 1.0, "step": epoch})
    path = tmp_path / "20260101_000000" / "vis_data" / "scalars.json"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    series, _ = read_scalars(tmp_path)
    expected = [epoch + step / steps for epoch in range(3) for step in logged]
    assert [x for x, _ in series["loss"]] == pytest.approx(expected)
    assert [x for x, _ in series["long_tail/mean"]] == [1, 2, 3]


def test_a_resumed_run_is_joined_where_it_went_on(tmp_path):
    # The first part was killed in epoch 4, after the checkpoint of epoch 2.
    write_log(tmp_path / "a", range(1, 5), 1.0, "20260101_000000")
    series, _ = read_scalars(write_log(tmp_path / "a", range(3, 6), 2.0, "20260101_010000"))
    assert series["long_tail/mean"] == [(1, 1.0), (2, 2.0), (3, 6.0), (4, 8.0), (5, 10.0)]
    assert [x for x, _ in series["loss"]] == [i / 2 for i in range(1, 11)]


def test_steps_where_a_run_counts_no_epochs(tmp_path):
    path = tmp_path / "a" / "20260101_000000" / "vis_data" / "scalars.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"loss": 3.0, "iter": 50, "step": 50}\n{"long_tail/mean": 9.0, "step": 100}\n')
    series, unit = read_scalars(tmp_path / "a")
    assert unit == "step"
    assert series["loss"] == [(50, 3.0)] and series["long_tail/mean"] == [(100, 9.0)]
    with pytest.raises(ValueError, match="epochs and some steps"):
        draw([tmp_path / "a", write_log(tmp_path / "b", range(1, 3), 1.0)])


def test_a_panel_a_quantity_and_a_line_a_run(tmp_path):
    runs = [write_log(tmp_path / name, range(1, 4), slope) for name, slope in [("a", 1), ("b", 2)]]
    figure = draw(runs)
    # There are no few-shot classes.
    titles = ["training loss", "learning rate", "all classes"]
    titles += [f"{group}-shot classes" for group in ("many", "medium")]
    assert [ax.get_title() for ax in figure.axes] == titles
    assert legend_of(figure) == ["a", "b"]
    for line, slope in zip(figure.axes[2].lines, (1, 2), strict=True):
        assert line.get_xydata().tolist() == [[e, slope * e] for e in (1, 2, 3)]
    assert figure.axes[2].get_ylabel() == "accuracy, %"


def test_the_command_line(tmp_path, capsys):
    work_dir, out = write_log(tmp_path / "a", range(1, 4), 1.0), tmp_path / "figures" / "c.png"
    training_curves.main([str(work_dir), "--keys", "loss", "--out", str(out)])
    check_png(out, draw([work_dir], ["loss"]))
    for arguments, message in [
        ([str(tmp_path)], "has no */vis_data/scalars.json"),
        ([str(work_dir), "--keys", "los"], "no run has ['los']; there are ["),
    ]:
        with pytest.raises(SystemExit):
            training_curves.main(arguments)
        assert message in capsys.readouterr().err
