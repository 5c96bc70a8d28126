"""PaCo in a plain PyTorch loop: torchvision's ResNet-18 on long-tailed handwritten digits.

Needs torchvision and scikit-learn beside libpaco: python examples/pytorch/train.py [--steps N]
"""

import argparse

import paco.torchvision_compat  # noqa: F401  # isort: skip
import torch
import torchvision
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision.transforms import v2

from paco import longtail, metrics
from paco.nn import ClassCenters, FeatureQueue, MomentumEncoder, PaCoLoss, TrainingStep

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BATCH, DIM, QUEUE, MOMENTUM = 32, 64, 256, 0.99  # papers: DIM 128, QUEUE 8192, MOMENTUM 0.999


def long_tailed_digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images and labels, 110 zeros down to 2 nines, and 60 test images of each digit."""
    digits = load_digits()
    images = torch.tensor(digits.images / 16, dtype=torch.float32)[:, None]
    images = F.interpolate(images, size=32, mode="bilinear").repeat(1, 3, 1, 1)
    labels = torch.tensor(digits.target)
    is_test = torch.zeros(len(labels), dtype=torch.bool)
    is_test[longtail.long_tailed_subset(labels, [60] * 10, seed=0)] = True
    test = images[is_test], labels[is_test]
    images, labels = images[~is_test], labels[~is_test]
    profile = longtail.exponential_profile(110, 10, imbalance_factor=50)
    chosen = longtail.long_tailed_subset(labels, profile, seed=0)
    return images[chosen], labels[chosen], *test


class TwoViews(Dataset):
    """Two random views of each image: one for the anchor, one for the key."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels
        self.view = v2.RandomAffine(degrees=15, translate=(0.1, 0.1), scale=(0.8, 1.2))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor, Tensor]:
        return self.view(self.images[i]), self.view(self.images[i]), self.labels[i]


class Encoder(nn.Module):
    """A backbone, and a projector to the space in which images are compared."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = torchvision.models.resnet18()
        self.width = self.backbone.fc.in_features
        self.backbone.fc = nn.Identity()
        hidden = [nn.Linear(self.width, self.width), nn.BatchNorm1d(self.width), nn.ReLU()]
        self.projector = nn.Sequential(*hidden, nn.Linear(self.width, DIM))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        pooled = self.backbone(images)
        return pooled, self.projector(pooled)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=400)
    steps = parser.parse_args().steps
    images, labels, test_images, test_labels = long_tailed_digits()
    counts = longtail.class_counts(labels, num_classes=10)
    encoder = Encoder().to(DEVICE)
    key_encoder = MomentumEncoder(encoder, MOMENTUM)
    centers = ClassCenters(encoder.width, num_classes=10)
    centers.set_class_counts(counts)
    loss = PaCoLoss(alpha=0.05, temperature=0.2)
    training_step = TrainingStep(loss, FeatureQueue(QUEUE, DIM), centers).to(DEVICE)

    parameters = [*encoder.parameters(), *centers.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    dataset = TwoViews(images, labels)
    loader = DataLoader(dataset, BATCH, sampler=RandomSampler(dataset, num_samples=steps * BATCH))
    for step, batch in enumerate(loader, 1):
        anchor_view, key_view, y = (x.to(DEVICE) for x in batch)
        pooled, queries = encoder(anchor_view)
        key_encoder.update(encoder)
        _, keys = key_encoder(key_view)
        loss = training_step(queries, keys, pooled, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        if step % 20 == 0 or step == steps:
            print(f"step {step}: loss {loss.item():.3f}")

    encoder.eval()
    with torch.no_grad():
        predictions = centers.predict(encoder.backbone(test_images.to(DEVICE))).argmax(dim=1)
    accuracy = metrics.grouped_accuracy(predictions.cpu(), test_labels, counts)
    print(", ".join(f"{name} {100 * value:.1f} %" for name, value in accuracy.items()))


if __name__ == "__main__":
    main()
