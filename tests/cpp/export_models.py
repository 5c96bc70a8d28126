"""Writes the TorchScript files that the C++ tests load: python export_models.py FOLDER

step.pt        a training step: loss, queue and centers
step_run.pt    its inputs for a few steps, the losses and gradients that Python gets, and the
               queue afterwards
training_run*  a step in both formats, and twenty steps of a run: batches and losses
classifier.pt  a small classifier
modules.pt     all modules with state, and modules_after.pt the same after a step
modules_run.pt that step's batch and loss
images.pt      images, labels and Python's logits, as examples/cpp/classify.cpp reads them
reference_*.pt the functions of paco/reference.py
classify/      a classifier with features, its images, and the logits and features of Python's
digits/        scikit-learn's digits in folders, as examples/cpp/train.cpp reads them
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from paco import deploy, reference
from paco.image_metadata import image_metadata
from paco.nn import ClassCenters, FeatureQueue, MomentumEncoder, PaCoLoss, ProCoLoss, TrainingStep

NUM_STEPS, BATCH, DIM, FEATURES, CLASSES = 4, 6, 5, 7, 4
CLASS_COUNTS = torch.tensor([50, 20, 7, 2])


class Tensors(nn.Module):
    """A file of named tensors that C++ reads with torch::jit::load."""

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor.detach())

    def forward(self) -> None:
        pass


def new_step() -> TrainingStep:
    return TrainingStep(
        PaCoLoss(alpha=0.05, temperature=0.2),
        FeatureQueue(2 * BATCH - 1, DIM),
        ClassCenters(FEATURES, CLASSES),
    )


class Modules(nn.Module):
    """Everything that nn/state_test.cpp has, under the same names."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(FEATURES, DIM)
        self.key = MomentumEncoder(self.query, 0.9)
        self.step = new_step()
        self.proco = ProCoLoss(CLASSES, DIM, 0.1)

    def take_step(self, pooled: Tensor, labels: Tensor) -> Tensor:
        self.key.update(self.query)
        queries = self.query(pooled)
        loss = self.step(queries, self.key(pooled), pooled, labels)
        return loss + self.proco(F.normalize(queries, dim=1), labels)


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.centers = ClassCenters(8, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.centers.predict(self.backbone(images))


def export_step(folder: Path) -> None:
    step = new_step()
    step.centers.set_class_counts(CLASS_COUNTS)
    deploy.export_training_step(step, folder / "step.pt")

    queries = torch.randn(NUM_STEPS, BATCH, DIM, requires_grad=True)
    keys = torch.randn(NUM_STEPS, 2 * BATCH, DIM)  # of two views
    pooled = torch.randn(NUM_STEPS, BATCH, FEATURES)
    labels = torch.randint(CLASSES, (NUM_STEPS, BATCH))
    losses = torch.stack(
        [step(*batch) for batch in zip(queries, keys, pooled, labels, strict=True)]
    )
    losses.sum().backward()
    save_tensors(
        folder / "step_run.pt",
        queries=queries,
        keys=keys,
        pooled=pooled,
        labels=labels,
        losses=losses,
        grad_queries=queries.grad,
        grad_weight=step.centers.weight.grad,
        queue=step.queue.features,
        queue_labels=step.queue.labels,
        queue_state=step.queue.state,
    )


def export_training_run(folder: Path) -> None:
    steps, views = 20, 9
    step = new_step()
    step.centers.set_class_counts(CLASS_COUNTS)
    for suffix in ("pt", "pt2"):
        deploy.export_training_step(step, folder / f"training_run_step.{suffix}")
    query_views, key_views = torch.randn(2, steps, BATCH, views)
    labels = torch.randint(CLASSES, (steps, BATCH))
    initial = [torch.randn(views, FEATURES) / 3, torch.randn(FEATURES, DIM) / 3]
    backbone, projector = (nn.Parameter(x.clone()) for x in initial)
    key = [x.clone() for x in initial]
    parameters = [backbone, projector, *step.centers.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    losses = []
    for i in range(steps):
        with torch.no_grad():
            torch._foreach_lerp_(key, [backbone, projector], 1 - 0.9)
            keys = (key_views[i] @ key[0]).tanh() @ key[1]
        pooled = (query_views[i] @ backbone).tanh()
        loss = step(pooled @ projector, keys, pooled, labels[i])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    save_tensors(
        folder / "training_run.pt",
        backbone=initial[0],
        projector=initial[1],
        query_views=query_views,
        key_views=key_views,
        labels=labels,
        losses=torch.stack(losses),
    )


def export_modules(folder: Path) -> None:
    modules = Modules()
    modules.step.centers.set_class_counts(CLASS_COUNTS)
    nn.init.normal_(modules.query.weight)  # away from the key encoder
    pooled = torch.randn(2, BATCH, FEATURES)
    labels = torch.randint(CLASSES, (2, BATCH))
    with torch.no_grad():
        modules.take_step(pooled[0], labels[0])  # something in the queue
        torch.jit.script(modules).save(str(folder / "modules.pt"))
        loss = modules.take_step(pooled[1], labels[1])
    torch.jit.script(modules).save(str(folder / "modules_after.pt"))
    save_tensors(folder / "modules_run.pt", pooled=pooled[1], labels=labels[1], loss=loss)


def export_classifier(folder: Path) -> None:
    model = Classifier().eval()
    images = torch.randn(100, 3, 12, 12)
    deploy.export_classifier(model, images[:2], folder / "classifier.pt")
    logits = model(images)
    save_tensors(folder / "images.pt", images=images, labels=logits.argmax(1), logits=logits)


class ClassifierWithFeatures(Classifier):
    def forward(self, images: Tensor) -> Tensor:
        return self.logits_and_features(images)[0]

    def logits_and_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.backbone(images)
        return self.centers.predict(features), features


def export_images_and_classifier(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    model = ClassifierWithFeatures().eval()
    mean, std = [120.0, 110.0, 100.0], [60.0, 50.0, 40.0]
    texts = image_metadata(["ant", "bee", "cat", "dog"], mean=mean, std=std, channels="RGB")
    pixels = torch.randint(256, (10, 12, 10, 3), dtype=torch.uint8)
    for i, image in enumerate(pixels.numpy()):
        Image.fromarray(image).save(folder / f"{i}.png")
        image.tofile(folder / f"{i}.rgb")
    images = (pixels - torch.tensor(mean)) / torch.tensor(std)
    images = images.permute(0, 3, 1, 2).contiguous()
    deploy.export_classifier(model, images[:2], folder / "model.pt", texts)
    with torch.no_grad():
        for name, x in zip(("logits", "features"), model.logits_and_features(images), strict=True):
            x.numpy().tofile(folder / name)


def export_reference(folder: Path) -> None:
    # Defaults are left out: a file may not have a keyword-only argument after them.
    for name in reference.__all__:
        graph = torch.jit.script(getattr(reference, name)).inlined_graph
        function = torch._C._create_function_from_graph(name, graph)
        function.save(str(folder / f"reference_{name}.pt"))


def export_digits(folder: Path) -> None:
    """60 test images of each digit, and for training 110 images of 0 down to 2 of 9."""
    digits = load_digits()
    for label in range(10):
        images = digits.images[digits.target == label]
        count = int(110 * 50 ** (-label / 9))
        for i, image in enumerate(images[: 60 + count]):
            path = folder / ("test" if i < 60 else "train") / str(label) / f"{i:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image * (255 / 16)).astype(np.uint8)).save(path)


def save_tensors(path: Path, **tensors: torch.Tensor) -> None:
    torch.jit.script(Tensors(tensors)).save(str(path))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    export_step(folder)
    export_training_run(folder)
    export_modules(folder)
    export_classifier(folder)
    export_images_and_classifier(folder / "classify")
    export_reference(folder)
    export_digits(folder / "digits")
