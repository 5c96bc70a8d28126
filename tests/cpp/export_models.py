"""Writes the TorchScript files that the C++ tests load: python export_models.py FOLDER

step.pt        a training step: loss, queue and centers
step_run.pt    its inputs for a few steps, the losses and gradients that Python gets, and the
               queue afterwards
classifier.pt  a small classifier
modules.pt     all modules with state, and modules_after.pt the same after a step
modules_run.pt that step's batch and loss
images.pt      images, labels and Python's logits, as examples/cpp/classify.cpp reads them
reference_*.pt the functions of paco/reference.py
digits.csv     scikit-learn's digits, as examples/cpp/train.cpp reads them
"""

import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from paco import deploy, reference
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


def export_reference(folder: Path) -> None:
    # Defaults are left out: a file may not have a keyword-only argument after them.
    for name in reference.__all__:
        graph = torch.jit.script(getattr(reference, name)).inlined_graph
        function = torch._C._create_function_from_graph(name, graph)
        function.save(str(folder / f"reference_{name}.pt"))


def export_digits(folder: Path) -> None:
    digits = load_digits()
    np.savetxt(folder / "digits.csv", np.c_[digits.target, digits.data], "%d", ",")


def save_tensors(path: Path, **tensors: torch.Tensor) -> None:
    torch.jit.script(Tensors(tensors)).save(str(path))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    export_step(folder)
    export_modules(folder)
    export_classifier(folder)
    export_reference(folder)
    export_digits(folder)
