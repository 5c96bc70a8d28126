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


def test_a_class_name_that_no_font_here_can_write_is_a_number_and_not_boxes(capsys):
    none_has = "\U0010fffd"  # for private use
    names = {3: "Ärger λ", 5: f"a {none_has}", 7: none_has}
    assert figure.drawable(names) == {3: "Ärger λ", 5: "class 5", 7: "class 7"}
    assert "2 class names are drawn as numbers" in capsys.readouterr().err
    assert figure.drawable({3: "Ärger λ"}) == {3: "Ärger λ"}
    assert not capsys.readouterr().err
