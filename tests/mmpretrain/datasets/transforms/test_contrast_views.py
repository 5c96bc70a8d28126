import numpy as np
import pytest
import torch
from helpers.image_files import write_image
from mmpretrain.registry import TRANSFORMS

ANCHOR = [dict(type="RandomCrop", crop_size=16)]
KEY = [dict(type="RandomFlip", prob=0.5), dict(type="RandomCrop", crop_size=20)]


OWN = [dict(type="RandomCrop", crop_size=12)]


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize("own", [None, OWN], ids=["contrast", "and classification"])
@pytest.mark.parametrize("views", [[ANCHOR, KEY], [ANCHOR, KEY, KEY]], ids=["two", "three"])
def test_it_is_the_toolbox_s_pipeline_of_views(rng, tmp_path, views, own, in_memory):
    pixels = write_image(tmp_path / "a.png")
    info = dict(img=pixels) if in_memory else dict(img_path=str(tmp_path / "a.png"))
    transforms = views if own is None else [*views, own]
    steps = [
        dict(type="MultiView", num_views=[1] * len(transforms), transforms=transforms),
        dict(type="PackInputs"),
    ]
    if not in_memory:
        steps.insert(0, dict(type="LoadImageFromFile"))
    ours = dict(type="ContrastViews", views=views, classification=own)
    pipelines = [
        TRANSFORMS.build(dict(type="Compose", transforms=transforms))
        for transforms in ([ours], steps)
    ]
    seed = rng.randrange(2**32)
    results = []
    for pipeline in pipelines:
        np.random.seed(seed)
        results.append(pipeline(dict(info, gt_label=3)))
    inputs, expected = (result["inputs"] for result in results)
    if own is not None:
        assert inputs.keys() == {"contrast", "classification"}
        assert inputs["classification"].shape == (3, 12, 12)
        inputs = [*inputs["contrast"], inputs["classification"]]
    assert [view.shape for view in inputs[: len(views)]] == (
        [(3, 16, 16)] + [(3, 20, 20)] * (len(views) - 1)
    )
    for view, other in zip(inputs, expected, strict=True):
        assert torch.equal(view, other)
    samples = [result["data_samples"] for result in results]
    assert samples[0].gt_label.tolist() == samples[1].gt_label.tolist() == [3]
    assert samples[0].metainfo == samples[1].metainfo


def test_its_text_names_all_views():
    transform = TRANSFORMS.build(
        dict(type="ContrastViews", views=[ANCHOR, KEY], classification=OWN)
    )
    text = repr(transform)
    assert text.index("views=") < text.index("16") < text.index("20")
    assert text.index("20") < text.index("classification=") < text.index("12")


def test_no_view_is_an_error():
    with pytest.raises(ValueError, match=r"ContrastViews: views .*one or more, got \[\]"):
        TRANSFORMS.build(dict(type="ContrastViews", views=[]))


def test_the_old_name_is_an_error_that_has_the_new_one():
    with pytest.raises(TypeError, match=r"TwoViews is now called ContrastViews\(views="):
        TRANSFORMS.build(dict(type="TwoViews", anchor=ANCHOR, key=KEY))
