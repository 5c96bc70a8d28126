"""BCL in a plain PyTorch loop: what it changes in train.py, on the same digits.

Three views of each image pass one encoder. The first is the classifier's; the other two are
contrasted with each other and with one prototype a class, made of the classifier's weights.

Needs torchvision and scikit-learn beside libpaco: python examples/pytorch/bcl.py [--steps N]
"""

import argparse

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, RandomSampler
from train import BATCH, DEVICE, DIM, Encoder, TwoViews, long_tailed_digits

from paco import longtail, metrics
from paco.nn import BCLLoss, ClassCenters

CLASSIFICATION, CONTRAST = 2.0, 0.6  # weights of the two losses, as on CIFAR


class ThreeViews(TwoViews):
    """One random view of each image for the classifier, two to contrast."""

    def __getitem__(self, i: int) -> tuple[torch.Tensor, ...]:
        return self.view(self.images[i]), *super().__getitem__(i)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=400)
    steps = parser.parse_args().steps
    images, labels, test_images, test_labels = long_tailed_digits()
    counts = longtail.class_counts(labels, num_classes=10)
    encoder = Encoder().to(DEVICE)
    centers = ClassCenters(encoder.width, num_classes=10).to(DEVICE)
    centers.set_class_counts(counts)
    hidden = [nn.Linear(encoder.width, encoder.width), nn.BatchNorm1d(encoder.width), nn.ReLU()]
    prototype_projector = nn.Sequential(*hidden, nn.Linear(encoder.width, DIM)).to(DEVICE)
    contrast = BCLLoss(temperature=0.1)

    modules = nn.ModuleList([encoder, centers, prototype_projector])
    optimizer = torch.optim.SGD(modules.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    dataset = ThreeViews(images, labels)
    loader = DataLoader(dataset, BATCH, sampler=RandomSampler(dataset, num_samples=steps * BATCH))
    for step, batch in enumerate(loader, 1):
        *views, y = (x.to(DEVICE) for x in batch)
        pooled, projections = encoder(torch.cat(views))
        features = F.normalize(projections[len(y) :], dim=1)
        prototypes = F.normalize(prototype_projector(centers.weight), dim=1)
        loss = CLASSIFICATION * F.cross_entropy(centers(pooled[: len(y)]), y)
        loss = loss + CONTRAST * contrast(features, y.repeat(2), prototypes)
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
