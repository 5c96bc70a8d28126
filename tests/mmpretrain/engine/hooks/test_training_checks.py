"""What is refused before the first step, on the digits."""

import pytest
from helpers.digits_runs import runner


def refused(folder, recipe="paco", **options) -> str:
    """Why a run does not start."""
    with pytest.raises(ValueError) as info:
        runner(folder, recipe, **options).train()
    return str(info.value)


def test_an_average_of_the_queue_is_refused(tmp_path):
    hooks = [dict(type="ClassCountsHook"), dict(type="EMAHook", update_buffers=True)]
    assert "update_buffers must be False" in refused(tmp_path, custom_hooks=hooks)
    runner(tmp_path, "ce", custom_hooks=hooks).train()  # it has no queue


def test_an_average_of_the_parameters_keeps_the_queue_whole(tmp_path):
    hooks = [dict(type="ClassCountsHook"), dict(type="EMAHook")]
    run = runner(tmp_path, custom_hooks=hooks)
    run.train()
    queue = run.model.head.queue
    (average,) = (hook.ema_model for hook in run.hooks if hasattr(hook, "ema_model"))
    for name, value in average.module.head.queue.state_dict().items():
        assert value.equal(queue.state_dict()[name]), name


def test_nothing_trains_unchecked_for_want_of_the_hook(tmp_path):
    options = {"custom_hooks": [], "model.head.prior": False}
    with pytest.raises(RuntimeError, match=r"PaCoHead has no class counts, .*ClassCountsHook"):
        runner(tmp_path, **options).train()


@pytest.mark.parametrize("folds", [False, True])
def test_a_class_emptied_by_indices_or_folds_is_refused(tmp_path, folds):
    labels = runner(tmp_path).train_dataloader.dataset.get_gt_labels().tolist()
    ordered = sorted(range(len(labels)), key=lambda i: labels[i])
    inner = dict(type="DigitsLT", indices=ordered, pipeline=[dict(type="PackInputs")])
    if folds:  # the images of the last digits are those of the last fold
        dataset = dict(type="KFoldDataset", dataset=inner, fold=4, num_splits=5)
    else:
        dataset = inner | dict(indices=ordered[: len(ordered) // 2])
    options = {"train_dataloader.dataset": dataset | dict(_delete_=True)}
    said = refused(tmp_path, **options)
    assert "the training set has no image of" in said and "set prior=False" in said
    runner(tmp_path, "ce", **options).call_hook("before_train")


@pytest.mark.parametrize(("batch_size", "drop_last"), [(1, False), (2, False), (2, True)])
def test_a_last_batch_of_one_image_is_refused(tmp_path, batch_size, drop_last):
    # An odd number of images, of all classes.
    number = len(runner(tmp_path).train_dataloader.dataset)
    options = {
        "train_dataloader.dataset.indices": list(range(1 - number % 2, number)),
        "train_dataloader.batch_size": batch_size,
        "train_dataloader.drop_last": drop_last,
    }
    if drop_last:
        runner(tmp_path, **options).call_hook("before_train")
    else:
        said = refused(tmp_path, **options)
        assert "one image" in said and "drop_last=True" in said


@pytest.mark.parametrize("classes", [None, ()])
def test_a_data_set_without_class_names_is_named(tmp_path, classes, monkeypatch):
    run = runner(tmp_path)
    dataset = run.train_dataloader.dataset
    monkeypatch.setattr(dataset, "_metainfo", {} if classes is None else dict(classes=classes))
    with pytest.raises(ValueError, match=r"DigitsLT has no class names: give it classes="):
        run.call_hook("before_train")


def test_several_labels_an_image_are_refused(tmp_path, monkeypatch):
    run = runner(tmp_path)
    dataset = run.train_dataloader.dataset
    monkeypatch.setattr(dataset, "get_data_info", lambda i: dict(gt_label=[i % 10, 3]))
    with pytest.raises(ValueError, match=r"DigitsLT has several labels an image"):
        run.call_hook("before_train")
