from types import SimpleNamespace

import matplotlib
from matplotlib import font_manager

from paco.tools.analysis import figure


def test_class_names_of_cjk_have_a_font_where_there_is_one(monkeypatch):
    assert matplotlib.rcParams["font.family"] == figure.fonts()
    names = ["Noto Sans CJK JP", "DejaVu Sans", "SimHei"]
    fonts = [SimpleNamespace(name=name) for name in names]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", fonts)
    assert figure.fonts() == ["DejaVu Sans", "Noto Sans CJK JP", "SimHei"]
