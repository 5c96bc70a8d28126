"""ProCo in a plain PyTorch loop: what it changes in train.py, on the same digits.

Three views of each image pass one encoder. The first is the classifier's; the other two are
contrasted with the distributions of the classes, which are estimated anew in each epoch.

Needs torchvision and scikit-learn beside libpaco: python examples/pytorch/proco.py [--steps N]
"""

import argparse

import torch
from bcl import ThreeViews
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from train import BATCH, DEVICE, DIM, Encoder, long_tailed_digits

from paco import longtail, metrics
from paco.nn import ClassCenters, ProCoLoss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=400)
    steps = parser.parse_args().steps
    images, labels, test_images, test_labels = long_tailed_digits()
    counts = longtail.class_counts(labels, num_classes=10)
    encoder = Encoder().to(DEVICE)
    centers = ClassCenters(encoder.width, num_classes=10).to(DEVICE)
    centers.set_class_counts(counts)
    contrast = ProCoLoss(num_classes=10, dim=DIM, temperature=0.1).to(DEVICE)
    contrast.set_class_counts(counts)

    parameters = nn.ModuleList([encoder, centers]).parameters()
    optimizer = torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    loader = DataLoader(ThreeViews(images, labels), BATCH, shuffle=True, drop_last=True)
    step = 0
    while step < steps:
        contrast.start_epoch()
        for *views, y in loader:
            pooled, projections = encoder(torch.cat(views).to(DEVICE))
            y = y.to(DEVICE)
            loss = F.cross_entropy(centers(pooled[:BATCH]), y)
            loss = loss + contrast(F.normalize(projections[BATCH:], dim=1), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            step += 1
            if step % 20 == 0 or step == steps:
                print(f"step {step}: loss {loss.item():.3f}")
            if step == steps:
                break

    encoder.eval()
    with torch.no_grad():
        predictions = centers.predict(encoder.backbone(test_images.to(DEVICE))).argmax(dim=1)
    accuracy = metrics.grouped_accuracy(predictions.cpu(), test_labels, counts)
    print(", ".join(f"{name} {100 * value:.1f} %" for name, value in accuracy.items()))


if __name__ == "__main__":
    main()
