"""Each format of tools/export.py, from the command line to a file that does what the model does."""

import hashlib
import json
from importlib import metadata
from pathlib import Path

import pytest
import torch
from helpers.digits_runs import CONFIGS
from helpers.refusals import refused
from mmengine.config import Config
from mmpretrain import get_model
from mmpretrain.structures import DataSample

import paco
from paco import deploy
from paco.mmpretrain import DigitsLT, EncodedViews
from paco.tools import export

CONFIG = CONFIGS / "digits_lt" / "paco.py"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A checkpoint as training leaves one, with statistics and keys that are not the first ones."""
    path = tmp_path_factory.mktemp("checkpoint") / "epoch_1.pth"
    torch.manual_seed(0)
    model = get_model(str(CONFIG)).train()
    model.head.set_class_counts(torch.arange(10, 0, -1))
    model.backbone(torch.randn(64, 1, 8, 8))
    model.head.queue.enqueue(
        torch.randn(20, model.head.queue.features.size(1)), torch.arange(20) % 10
    )
    meta = dict(dataset_meta=DigitsLT.METAINFO)
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    return path


def run(*arguments: object) -> None:
    export.main([str(CONFIG), *map(str, arguments)])


@pytest.mark.parametrize(
    ("options", "file", "tolerance"),
    [
        ((), "classifier.pt", 1e-5),
        (("--bf16",), "classifier.pt", 0.05),
        (("--format", "pt2"), "classifier.pt2", 1e-5),
        (("--format", "onnx"), "classifier.onnx", 1e-5),
    ],
    ids=["pt", "pt-bf16", "pt2", "onnx"],
)
def test_the_exported_classifier_is_the_model(
    checkpoint, tmp_path, capsys, options, file, tolerance
):
    run(checkpoint, "--shape", 1, 8, 8, "--work-dir", tmp_path, *options)
    said = capsys.readouterr().out
    assert f"{tmp_path / file}: normalised images [N, 1, 8, 8] to logits, which agree" in said

    classifier, texts = deploy.load(tmp_path / file)
    model = get_model(str(CONFIG), pretrained=str(checkpoint)).eval()
    for n in (1, 5, 64):
        images = torch.randn(n, 1, 8, 8)
        with torch.no_grad():
            expected = model(images)
        logits = classifier(images)
        assert logits.dtype == torch.float32
        bound = tolerance * expected.abs().max().item()
        torch.testing.assert_close(logits, expected, rtol=0, atol=bound)
    assert (logits - expected).abs().max() > 0 or tolerance < 0.05  # bfloat16 it is

    assert texts["config"] == Config.fromfile(CONFIG).pretty_text
    assert texts["checkpoint"] == checkpoint.name
    assert texts["checkpoint_sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert texts["paco_version"] == paco.__version__
    assert texts["torch_version"] == torch.__version__
    assert texts["dtype"] == ("bfloat16" if "--bf16" in options else "float32")
    toolbox = dict(entry.split() for entry in texts["toolbox"].split(", "))
    assert toolbox and all(metadata.version(name) == v for name, v in toolbox.items())
    assert texts["classes"].split() == list("0123456789")
    assert texts["channels"] == "GRAY"
    assert texts["input_shape"] == "1,8,8"


@pytest.mark.parametrize("options", [(), ("--bf16",), ("--format", "pt2"), ("--format", "onnx")])
def test_the_target_prior_is_in_the_file(checkpoint, tmp_path, options):
    prior = tmp_path / "prior.json"
    q = [5, 0, 1, 2, 3, 4, 1.5, 2, 0.5, 1]
    prior.write_text(json.dumps(q))
    arguments = ("--shape", 1, 8, 8, "--work-dir", tmp_path, "--target-prior", prior, *options)
    run(checkpoint, *arguments)
    (file,) = tmp_path.glob("classifier.*")
    classifier, texts = deploy.load(file)
    assert json.loads(texts["target_prior"]) == pytest.approx([x / 20 for x in q])
    model = get_model(str(CONFIG), pretrained=str(checkpoint)).eval()
    images = torch.randn(5, 1, 8, 8)
    with torch.no_grad():
        expected = model(images) + (torch.tensor(q) / 20).log()
    tolerance = 0.05 if "--bf16" in options else 1e-5
    torch.testing.assert_close(classifier(images), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("format_", ["training-step", "training-step-pt2"])
def test_a_training_step_takes_no_target_prior(checkpoint, tmp_path, capsys, format_):
    with pytest.raises(SystemExit):
        run(checkpoint, "--format", format_, "--target-prior", tmp_path / "prior.json")
    assert f"--target-prior is for classifiers, not for {format_}" in capsys.readouterr().err


def test_the_exported_training_step_is_the_heads(checkpoint, tmp_path, capsys):
    run(checkpoint, "--format", "training-step", "--work-dir", tmp_path)
    assert "one step agrees with the model's" in capsys.readouterr().out
    step, texts = deploy.load(tmp_path / "training_step.pt")
    assert texts["checkpoint"] == checkpoint.name
    head = get_model(str(CONFIG), pretrained=str(checkpoint)).head
    assert step.queue.state[1] == head.queue.num_valid == 20
    dim, width = head.queue.features.size(1), head.centers.weight.size(1)
    batch = torch.randn(6, dim), torch.randn(6, dim), torch.randn(6, width), torch.randint(10, (6,))
    torch.testing.assert_close(step(*batch), head.step(*batch))
    assert torch.equal(step.queue.labels, head.queue.labels)


def test_supcon_s_training_step_is_the_heads(checkpoint, tmp_path):
    options = {"model.head.loss.type": "MultiTaskLoss", "model.head.detach_centers": True}
    arguments = [f"{name}={value}" for name, value in options.items()]
    out = ("--format", "training-step", "--work-dir", tmp_path)
    run(checkpoint, *out, "--cfg-options", *arguments)
    step, _ = deploy.load(tmp_path / "training_step.pt")
    config = Config.fromfile(CONFIG)
    config.merge_from_dict(options)
    head = get_model(config, pretrained=str(checkpoint)).head.eval()
    head.set_class_counts(torch.arange(10, 0, -1))  # those of the checkpoint

    samples = [DataSample().set_gt_label(y) for y in torch.randint(10, (6,)).tolist()]
    labels = torch.cat([sample.gt_label for sample in samples])
    pooled = torch.randn(12, head.centers.weight.size(1), requires_grad=True)
    projections = head.projector(pooled)
    loss = step(*projections.chunk(2), pooled, labels)
    views = EncodedViews(*(x.unflatten(0, (2, 6)) for x in (pooled, projections)))
    expected = head.loss(views, samples)["loss"]
    torch.testing.assert_close(loss, expected)
    gradients = [
        torch.autograd.grad(value, pooled, retain_graph=True) for value in (loss, expected)
    ]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(
    ("arguments", "part", "name"),
    [
        ((), "backbone", r"backbone\..*"),
        ((), "head.step.centers", r"head\.step\.centers\.weight"),
        (("--format", "training-step"), "head.step.queue", r"head\.step\.queue\.features"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(
    checkpoint, tmp_path, arguments, part, name, capsys
):
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"] = {
        name: value for name, value in content["state_dict"].items() if not name.startswith(part)
    }
    other, out = tmp_path / "other.pth", tmp_path / "out"
    torch.save(content, other)
    with refused(capsys, rf"other\.pth is not .* are missing: {name}"):
        run(other, "--shape", 1, 8, 8, "--work-dir", out, *arguments)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--format", "onnx", "--bf16"), "--bf16 is for pt and pt2, not for onnx"),
        (
            ("--format", "training-step", "--bf16"),
            "--bf16 is for pt and pt2, not for training-step",
        ),
        ((), "say it, such as --shape 3 32 32"),
    ],
)
def test_what_cannot_be_exported_is_a_sentence(checkpoint, tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit) as exit:
        run(checkpoint, "--work-dir", tmp_path, *arguments)
    assert message in str(exit.value) + capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
