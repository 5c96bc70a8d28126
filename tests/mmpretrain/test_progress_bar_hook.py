import math

import pytest
from digits_runs import runner

from paco.mmpretrain import progress_bar_hook


@pytest.mark.parametrize("interval", [0, math.inf])
def test_it_draws_now_and_then_and_at_the_end(tmp_path, capsys, monkeypatch, interval):
    monkeypatch.setattr(progress_bar_hook, "INTERVAL", interval)
    run = runner(tmp_path, "ce", custom_hooks=[dict(type="ProgressBarHook")], log_level="ERROR")
    run.val_loop.evaluator.metrics[0].class_counts = [1] * 10
    run.train()
    assert run.max_iters == 5
    out = capsys.readouterr().out
    drawn = [done for done in range(1, 6) if f"] {done}/5, " in out]
    assert drawn == ([1, 2, 3, 4, 5] if interval == 0 else [5])
    assert out.endswith("\n")
