import numpy as np
import pytest
import torch
from helpers.image_files import write_image
from mmpretrain.registry import TRANSFORMS

ANCHOR = [dict(type="RandomCrop", crop_size=16)]
KEY = [dict(type="RandomFlip", prob=0.5), dict(type="RandomCrop", crop_size=20)]


@pytest.mark.parametrize("in_memory", [False, True])
def test_it_is_the_toolbox_s_pipeline_of_two_views(rng, tmp_path, in_memory):
    pixels = write_image(tmp_path / "a.png")
    info = dict(img=pixels) if in_memory else dict(img_path=str(tmp_path / "a.png"))
    steps = [
        dict(type="MultiView", num_views=[1, 1], transforms=[ANCHOR, KEY]),
        dict(type="PackInputs"),
    ]
    if not in_memory:
        steps.insert(0, dict(type="LoadImageFromFile"))
    pipelines = [
        TRANSFORMS.build(dict(type="Compose", transforms=transforms))
        for transforms in ([dict(type="TwoViews", anchor=ANCHOR, key=KEY)], steps)
    ]
    seed = rng.randrange(2**32)
    results = []
    for pipeline in pipelines:
        np.random.seed(seed)
        results.append(pipeline(dict(info, gt_label=3)))
    views, expected = (result["inputs"] for result in results)
    assert [view.shape for view in views] == [(3, 16, 16), (3, 20, 20)]
    for view, other in zip(views, expected, strict=True):
        assert torch.equal(view, other)
    samples = [result["data_samples"] for result in results]
    assert samples[0].gt_label.tolist() == samples[1].gt_label.tolist() == [3]
    assert samples[0].metainfo == samples[1].metainfo


def test_its_text_names_both_views():
    text = repr(TRANSFORMS.build(dict(type="TwoViews", anchor=ANCHOR, key=KEY)))
    assert text.index("anchor=") < text.index("16") < text.index("key=") < text.index("20")
