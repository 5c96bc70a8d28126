import errno
import os
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from helpers.modules import new_step, step_batch
from helpers.problems import identical
from torch import nn

import paco
from paco import deploy
from paco.nn import ClassCenters, TrainingStep

RELEASED = Path(__file__).parent / "data" / "releases"


def in_a_fresh_process(program, *arguments):
    """Runs a program that knows libtorch, and this package only if it imports it."""
    environment = {**os.environ, "PYTHONPATH": str(Path(paco.__file__).parent.parent)}
    subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], check=True, env=environment
    )


# ---- The classifier ------------------------------------------------------------------------------


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.centers = ClassCenters(8, 5)
        self.centers.set_class_counts(torch.tensor([90, 30, 10, 3, 1]))

    def forward(self, x):
        return self.centers.predict(self.features(x))


@pytest.fixture
def classifier():
    model = Classifier()
    model(torch.randn(16, 3, 9, 9))  # BatchNorm statistics that are not the initial ones
    return model


# A compilation takes long, and one image is the number that might be taken for a constant.
@pytest.mark.parametrize(
    ("suffix", "batch"), [(".pt", 1), (".pt", 3), (".pt2", 1), (".onnx", 1), (".onnx", 3)]
)
def test_classifier_file_gives_the_models_logits_and_metadata(
    classifier, tmp_path, suffix, batch, monkeypatch
):
    path = tmp_path / f"model{suffix}"
    metadata = {"classes": "Katze\nHund\nλ", "config": "x = 'a'\ny = \"b\""}
    difference = deploy.export_classifier(classifier, torch.randn(batch, 3, 9, 9), path, metadata)
    assert 0 <= difference < 1e-5
    loaded, texts = deploy.load(path)
    for n in [1, 2, 7]:
        x = torch.randn(n, 3, 9, 9)
        torch.testing.assert_close(loaded(x), classifier.eval()(x))
    assert {name: text for name, text in texts.items() if not name.startswith("AOTI_")} == {
        **metadata,
        "input_shape": "3,9,9",
        "input_dtype": "float32",
        "dtype": "float32",
        "paco_version": paco.__version__,
        "torch_version": torch.__version__,
    }
    assert_takes_images_of_its_own_alone(loaded, classifier)
    if suffix == ".pt2":
        assert_takes_the_threads_of_its_process(path)
        monkeypatch.setenv("AOTI_RUNTIME_CHECK_INPUTS", "1")
        assert_checks_images_and_takes_any_number(path, classifier)


def assert_takes_images_of_its_own_alone(loaded, model):
    large = torch.randn(18, 3, 9, 12)
    for images in (
        torch.randn(2, 9, 9, 3).permute(0, 3, 1, 2),
        torch.randn(2, 3, 9, 9).to(memory_format=torch.channels_last),
        large[:, :, :, 1:10],
        large[::2, :, :, :9],
        torch.randn(1, 3, 9, 9).expand(5, 3, 9, 9),
        torch.randn(64, 3, 9, 9),
    ):
        torch.testing.assert_close(loaded(images), model(images))
    for images in (
        torch.randn(2, 3, 9, 9).double(),
        torch.randn(2, 3, 9, 9).half(),
        torch.zeros(2, 3, 9, 9, dtype=torch.uint8),
        torch.randn(3, 9, 9),
        torch.randn(2, 1, 3, 9, 9),
        torch.randn(2, 9, 9, 3),
        torch.randn(2, 3, 9, 8),
    ):
        with pytest.raises(ValueError, match=r"takes float32 images \[N, 3, 9, 9\], got \["):
            loaded(images)


def assert_checks_images_and_takes_any_number(path, model):
    from torch._inductor import config

    package = torch._inductor.aoti_load_package(str(path))
    # PyTorch 2.8 checks a bound that its code does not need.
    small = (1, 15) if hasattr(config.aot_inductor, "check_lowerbound") else ()
    for n in (*small, 16, 40):
        x = torch.randn(n, 3, 9, 9)
        torch.testing.assert_close(package(x), model(x))
    for images in (
        torch.randn(2, 3, 9, 9).double(),
        torch.randn(2, 3, 9, 8),
        torch.randn(2, 9, 9, 3).permute(0, 3, 1, 2),
    ):
        with pytest.raises(RuntimeError):
            package(images)


def assert_takes_the_threads_of_its_process(path):
    with zipfile.ZipFile(path) as archive:
        sources = [archive.read(name) for name in archive.namelist() if name.endswith(".cpp")]
    code = b"".join(sources)
    assert b"#pragma omp parallel" in code
    assert b"num_threads(" not in code


class ClassifierWithFeatures(Classifier):
    def forward(self, x):
        return self.logits_and_features(x)[0]

    def logits_and_features(self, x):
        features = self.features(x)
        return self.centers.predict(features), features


@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [(".pt", None), (".pt", torch.bfloat16), (".pt2", None), (".onnx", None)],
)
def test_classifier_file_gives_the_models_features(tmp_path, suffix, dtype):
    model = ClassifierWithFeatures()
    model(torch.randn(16, 3, 9, 9))
    path = tmp_path / f"model{suffix}"
    deploy.export_classifier(model, torch.randn(2, 3, 9, 9), path, dtype=dtype)
    loaded, texts = deploy.load(path)
    assert texts["features"] == "8"
    assert loaded.has_features
    tolerance = {} if dtype is None else dict(rtol=0.05, atol=0.05)
    for n in [1, 5]:
        x = torch.randn(n, 3, 9, 9)
        expected = model.eval().logits_and_features(x)
        torch.testing.assert_close(loaded.logits_and_features(x), expected, **tolerance)
        torch.testing.assert_close(loaded(x), expected[0], **tolerance)
    with pytest.raises(ValueError, match=r"takes float32 images \[N, 3, 9, 9\]"):
        loaded.logits_and_features(x.double())
    if suffix == ".pt":  # programs that know nothing of features
        logits = torch.jit.load(path)(x)
        torch.testing.assert_close(logits, expected[0], **tolerance)


def test_a_file_without_features_says_so(classifier, tmp_path):
    deploy.export_classifier(classifier, torch.randn(2, 3, 9, 9), tmp_path / "model.pt")
    loaded, _ = deploy.load(tmp_path / "model.pt")
    assert not loaded.has_features
    with pytest.raises(ValueError, match=r"no pooled features, .*: export it again"):
        loaded.logits_and_features(torch.randn(2, 3, 9, 9))


@pytest.mark.parametrize("suffix", [".pt", ".pt2"])
def test_classifier_file_in_bfloat16(classifier, tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    x = torch.randn(4, 3, 9, 9)
    difference = deploy.export_classifier(classifier, x, path, dtype=torch.bfloat16)
    loaded, texts = deploy.load(path)
    assert texts["dtype"] == "bfloat16"
    y, expected = loaded(x), classifier.eval()(x)
    assert y.dtype == torch.float32
    assert next(classifier.parameters()).dtype == torch.float32
    # bfloat16 it is, and no worse: 8 bits.
    assert 1e-4 < difference < 0.03
    torch.testing.assert_close(y, expected, rtol=0, atol=0.03 * expected.abs().max().item())


def test_formats_that_do_not_exist_are_refused(classifier, tmp_path):
    x = torch.randn(2, 3, 9, 9)
    with pytest.raises(ValueError, match=r"path must end in \.pt, \.pt2, \.onnx, got .*model\.pth"):
        deploy.export_classifier(classifier, x, tmp_path / "model.pth")
    with pytest.raises(ValueError, match=r"dtype must be bfloat16.* got torch\.float16 for \.pt"):
        deploy.export_classifier(classifier, x, tmp_path / "model.pt", dtype=torch.float16)
    with pytest.raises(ValueError, match=r"got torch\.bfloat16 for \.onnx"):
        deploy.export_classifier(classifier, x, tmp_path / "model.onnx", dtype=torch.bfloat16)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_missing_onnx_is_named(classifier, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"needs {package}: pip install onnx onnxscript"):
        deploy.export_classifier(classifier, torch.randn(2, 3, 9, 9), tmp_path / "model.onnx")


def test_classifier_needs_torch_alone(classifier, tmp_path):
    path, expected = tmp_path / "model.pt", tmp_path / "expected.pt"
    x = torch.randn(3, 3, 9, 9)
    deploy.export_classifier(classifier, x, path)
    torch.save([x, classifier.eval()(x).detach()], expected)
    program = """
import sys, torch
x, expected = torch.load(sys.argv[2])
torch.testing.assert_close(torch.jit.load(sys.argv[1])(x), expected)
assert "paco" not in sys.modules
"""
    in_a_fresh_process(program, path, expected)


@pytest.mark.parametrize("training", [False, True])
def test_classifier_is_exported_for_evaluation_and_left_as_it_was(classifier, tmp_path, training):
    classifier.train(training)
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    deploy.export_classifier(classifier, torch.randn(2, 3, 9, 9), tmp_path / "model.pt")
    assert classifier.training == classifier.features.training == training
    assert identical(dict(classifier.state_dict()), before)
    loaded, _ = deploy.load(tmp_path / "model.pt")
    assert not loaded.model.training
    x = torch.randn(4, 3, 9, 9)
    torch.testing.assert_close(loaded(x), classifier.eval()(x))


@pytest.mark.parametrize("suffix", [".pt", ".pt2", ".onnx"])
def test_classifier_with_the_training_logits_is_refused(classifier, tmp_path, suffix):
    classifier.forward = lambda x: classifier.centers(classifier.features(x))
    path = tmp_path / f"model{suffix}"
    with pytest.raises(RuntimeError, match=r"needs libpaco.*ClassCenters\.predict"):
        deploy.export_classifier(classifier, torch.randn(2, 3, 9, 9), path)
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_classifier_whose_forward_depends_on_the_values_is_refused(classifier, tmp_path):
    example = torch.randn(2, 3, 9, 9)
    first = example[1, 0, 0, 0].item()  # of the batch that is traced

    def forward(x):
        logits = classifier.centers.predict(classifier.features(x))
        return logits if x[0, 0, 0, 0] == first else 2 * logits

    classifier.forward = forward
    (tmp_path / "model.pt").write_text("an earlier export")
    with pytest.raises(RuntimeError, match=r"differ from the model's by [0-9]"):
        deploy.export_classifier(classifier, example, tmp_path / "model.pt")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["an earlier export"]


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize(
    ("suffix", "head", "complaint"),
    [
        (".pt", lambda logits: logits * len(logits), "differ from the model's by .*; "),
        (".pt", lambda logits: logits.view(len(logits), -1), "fails: .*shape.*; "),
        (".pt2", lambda logits: logits * len(logits), "^export_classifier: "),
        (".onnx", lambda logits: logits * len(logits), "^export_classifier: "),
    ],
)
def test_a_number_of_images_that_would_be_kept_is_refused(
    classifier, tmp_path, suffix, head, complaint
):
    classifier.forward = lambda x: head(classifier.centers.predict(classifier.features(x)))
    with pytest.raises(RuntimeError, match=rf"{complaint}the model's forward .* len\(\) or int"):
        deploy.export_classifier(classifier, torch.randn(2, 3, 9, 9), tmp_path / f"model{suffix}")
    assert not list(tmp_path.iterdir())


def test_classifier_of_nan_is_refused(classifier, tmp_path):
    with torch.no_grad():
        classifier.centers.bias[0] = float("nan")
        classifier.features[1].running_var[1] = float("nan")
    message = r"2 tensors of the model hold NaN.*: features\.1\.running_var, centers\.bias$"
    with pytest.raises(ValueError, match=message):
        deploy.export_classifier(classifier, torch.randn(2, 3, 9, 9), tmp_path / "model.pt")
    assert not list(tmp_path.iterdir())


def test_text_that_is_too_long_is_refused(classifier, tmp_path):
    texts = {"config": "ä" * (8 << 20) + "ä"}
    with pytest.raises(ValueError, match=r"'config' .* of 16777216 bytes at most, got 16777218"):
        deploy.export_classifier(classifier, torch.randn(2, 3, 9, 9), tmp_path / "a.pt", texts)
    with pytest.raises(ValueError, match="of 16777216 bytes at most"):
        deploy.export_training_step(new_step(), tmp_path / "step.pt", texts)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".pt", ".pt2", ".onnx"])
def test_a_full_disk_is_named_and_leaves_nothing(classifier, tmp_path, suffix, monkeypatch):
    def write(path, content):
        Path(path).touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    if suffix == ".onnx":
        import onnx_ir  # with which torch writes it

        monkeypatch.setattr(onnx_ir, "save", lambda model, path, **_: write(path, b""))
    monkeypatch.setattr(Path, "write_bytes", write)
    path = tmp_path / f"model{suffix}"
    with pytest.raises(OSError, match=r"No space left on device: '.*/model\.") as info:
        deploy.export_classifier(classifier, torch.randn(2, 3, 9, 9), path)
    assert info.value.filename == str(path)
    assert not list(tmp_path.iterdir())


def test_what_pytorch_cannot_optimize_is_a_warning(classifier, tmp_path, monkeypatch):
    """tests/tools/test_classify.py has a model at which it fails by itself."""
    path = tmp_path / "model.pt"
    x = torch.randn(2, 3, 9, 9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        deploy.export_classifier(classifier, x, path)

    def fails(module):
        raise RuntimeError("Traceback of TorchScript:\n    x = y\nexpected a tensor")

    for optimized, reason in [
        (fails, r"expected a tensor"),
        (lambda module: lambda x: 2 * module(x), r"its logits would differ by [0-9.]+ of"),
    ]:
        monkeypatch.setattr(torch.jit, "optimize_for_inference", optimized)
        with pytest.warns(UserWarning, match=rf"optimize_for_inference fails .*{reason}.*without"):
            deploy.export_classifier(classifier, x, path)
    torch.testing.assert_close(deploy.load(path)[0](x), classifier.eval()(x))


@pytest.mark.parametrize("suffix", [".pt", ".pt2"])
def test_a_file_that_is_not_what_was_written_is_refused(classifier, tmp_path, suffix):
    """PyTorch reads it as if it were: a bit of a weight changes every logit."""
    path = tmp_path / f"model{suffix}"
    deploy.export_classifier(classifier, torch.randn(2, 3, 9, 9), path, {"classes": "a"})
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        kind = "/data/" if suffix == ".pt" else ".so"
        largest = max(
            (entry for entry in archive.infolist() if kind in entry.filename),
            key=lambda entry: entry.file_size,
        )
        at = whole.index(archive.read(largest)) + largest.file_size // 2
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 64]) + whole[at + 1 :])
    with pytest.raises(ValueError, match=r"model\.pt.* is damaged: .* is not what was written"):
        deploy.load(path)
    for content in (b"", b"no model", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"model\.pt.* is no file that paco\.deploy wrote"):
            deploy.load(path)
    path.write_bytes(whole)
    deploy.load(path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/extra/notes", bytes((16 << 20) + 1))
    with pytest.raises(ValueError, match="notes unpacks to 16777217 bytes, and 16777216 is the"):
        deploy.load(path)
    with pytest.raises(FileNotFoundError, match=r"none\.pt"):
        deploy.load(tmp_path / f"none{suffix}")


# ---- The training step ---------------------------------------------------------------------------


def run(step, inputs):
    """Losses, gradients and final state of some batches."""
    step.zero_grad()
    result = {}
    for i, (queries, keys, pooled, labels) in enumerate(inputs):
        queries = queries.clone().requires_grad_()
        pooled = pooled.clone().requires_grad_()
        loss = step(queries, keys, pooled, labels)
        loss.backward()
        result.update({f"loss {i}": loss, f"queries {i}": queries.grad, f"pooled {i}": pooled.grad})
    result.update({f"gradient of {n}": p.grad for n, p in step.named_parameters()})
    result.update(step.state_dict())
    result["prediction"] = step.predict(inputs[0][2])
    return {name: value.detach().clone() for name, value in result.items()}


def test_training_step_file_keeps_its_centers_detached(tmp_path):
    step = new_step()
    detached = TrainingStep(step.loss, step.queue, step.centers, detach_centers=True)
    deploy.export_training_step(detached, tmp_path / "step.pt")
    loaded, _ = deploy.load(tmp_path / "step.pt")
    queries, keys, pooled, labels = step_batch(6)
    loss = loaded(queries, keys, pooled.requires_grad_(), labels)
    assert torch.autograd.grad(loss, pooled, allow_unused=True) == (None,)


@pytest.mark.parametrize("both_views", [False, True], ids=["PaCo", "GPaCo"])
def test_training_step_as_one_graph_does_what_the_module_does(tmp_path, both_views):
    from torch._inductor.package import load_package

    step = new_step()
    path = tmp_path / "step.pt2"
    deploy.export_training_step(step, path, {"note": "λ"}, both_views)
    program = load_package(str(path))
    texts = program.get_metadata()
    assert texts["note"] == "λ"
    inputs, outputs = (texts[name].split(",") for name in ("inputs", "outputs"))
    state = dict(zip(inputs[4:], load_package(str(path), "initial_state")(), strict=True))
    assert identical(state, dict(step.state_dict()))
    for n in (2, 6, 7):  # across the queue's end
        queries, keys, pooled, labels = step_batch(n)
        rows = [queries, keys, torch.cat([pooled, pooled.flip(0)]) if both_views else pooled]
        rows = [x.requires_grad_() for x in rows]
        results = dict(
            zip(outputs, program(*(x.detach() for x in rows), labels, *state.values()), strict=True)
        )
        step.zero_grad()
        loss = step(*rows, labels)
        loss.backward()
        expected = {
            "loss": loss.detach(),
            "grad queries": rows[0].grad,
            "grad pooled": rows[2].grad,
        }
        if both_views:
            expected["grad keys"] = rows[1].grad
        for name, parameter in step.named_parameters():
            expected[f"grad {name}"] = parameter.grad
        for name, buffer in step.queue.named_buffers():
            expected[f"queue.{name}"] = buffer
        torch.testing.assert_close(results, expected)
        state.update((name, x) for name, x in results.items() if name in state)


def test_a_training_step_in_another_format_is_refused(tmp_path):
    for arguments in (("step.onnx",), ("step.pt", None, True)):
        with pytest.raises(ValueError, match=r"path must end in \.pt or \.pt2"):
            deploy.export_training_step(new_step(), *arguments)


def test_export_of_a_training_step_leaves_it_as_it_was(tmp_path):
    step = new_step()
    step(*step_batch(9))
    before = {name: value.clone() for name, value in step.state_dict().items()}
    deploy.export_training_step(step, tmp_path / "step.pt")
    assert identical(dict(step.state_dict()), before)
    assert step.centers.weight.grad is None
    loaded, _ = deploy.load(tmp_path / "step.pt")
    assert identical(dict(loaded.state_dict()), before)


def test_training_step_whose_file_does_something_else_is_refused(tmp_path, monkeypatch):
    step, other = new_step(), new_step()
    other.centers.load_state_dict(step.centers.state_dict())
    other.loss.temperature *= 1.001
    scripted = torch.jit.script(other)
    monkeypatch.setattr(torch.jit, "script", lambda module: scripted)
    with pytest.raises(RuntimeError, match=r"a step of .* and one of the module itself"):
        deploy.export_training_step(step, tmp_path / "step.pt")


def test_training_step_file_continues_bit_for_bit(tmp_path):
    step = new_step()
    step(*step_batch(9))
    texts = {"classes": "a\nb\nc\nd", "input_size": "224,224"}  # the latter is not a segmentor's
    deploy.export_training_step(step, tmp_path / "step.pt", texts)
    loaded, metadata = deploy.load(tmp_path / "step.pt")
    assert texts.items() <= metadata.items()
    assert metadata["paco_version"] == paco.__version__
    assert {n for n, p in loaded.named_parameters() if p.requires_grad} == {
        "centers.weight",
        "centers.bias",
    }
    inputs = [step_batch(3), step_batch(20), step_batch(4)]
    assert identical(run(loaded, inputs), run(step, inputs))


STEP_IN_A_FRESH_PROCESS = """
import sys, torch, paco
step, data = torch.jit.load(sys.argv[1]), torch.load(sys.argv[2])
for inputs, loss in zip(data["inputs"], data["losses"]):
    torch.testing.assert_close(step(*inputs), loss)
for name, value in step.state_dict().items():
    torch.testing.assert_close(value, data["state"][name])
torch.testing.assert_close(step.predict(data["inputs"][0][2]), data["prediction"])
"""


def test_training_step_file_runs_in_a_fresh_process(tmp_path):
    save_release_file(tmp_path / "step.pt", tmp_path / "expected.pt")
    in_a_fresh_process(STEP_IN_A_FRESH_PROCESS, tmp_path / "step.pt", tmp_path / "expected.pt")


def save_release_file(path, expected):
    """A training step and what it does, for :func:`test_file_of_an_earlier_release_runs`."""
    step = new_step()
    step(*step_batch(9))
    deploy.export_training_step(step, path)
    inputs = [step_batch(3), step_batch(20), step_batch(4)]
    with torch.no_grad():
        losses = [step(*x) for x in inputs]
        prediction = step.predict(inputs[0][2])
    state = dict(step.state_dict())
    data = {"inputs": inputs, "losses": losses, "state": state, "prediction": prediction}
    torch.save(data, expected)


RELEASES = sorted(path.name for path in RELEASED.iterdir() if path.is_dir())


def test_the_file_of_this_release_is_kept():
    assert paco.__version__ in RELEASES


@pytest.mark.parametrize("release", RELEASES)
def test_file_of_an_earlier_release_runs(release):
    step, metadata = deploy.load(RELEASED / release / "training_step.pt")
    assert metadata["paco_version"] == release
    data = torch.load(RELEASED / release / "expected.pt", weights_only=True)
    for inputs, loss in zip(data["inputs"], data["losses"], strict=True):
        torch.testing.assert_close(step(*inputs), loss)
    assert step.state_dict().keys() == data["state"].keys()
    for name, value in step.state_dict().items():
        torch.testing.assert_close(value, data["state"][name])
    torch.testing.assert_close(step.predict(data["inputs"][0][2]), data["prediction"])


# ---- Both ----------------------------------------------------------------------------------------


def test_no_warning_of_torchscripts_deprecation_gets_out(classifier, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        deploy.export_classifier(classifier, torch.randn(2, 3, 9, 9), tmp_path / "model.pt")
        deploy.export_training_step(new_step(), tmp_path / "step.pt")
        deploy.load(tmp_path / "step.pt")


def test_torchscript_on_python_3_14_says_what_to_use(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 14, 0))
    with pytest.raises(RuntimeError, match=r"export a \.pt2 or \.onnx file, or use Python 3\.10"):
        deploy.export_training_step(new_step(), tmp_path / "step.pt")
    assert not list(tmp_path.iterdir())


if __name__ == "__main__":
    # A release: PYTHONPATH=. python tests/test_deploy.py
    folder = RELEASED / paco.__version__
    folder.mkdir(parents=True)
    save_release_file(folder / "training_step.pt", folder / "expected.pt")
