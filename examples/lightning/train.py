"""PaCo as a LightningModule, a small network on long-tailed handwritten digits.

Needs lightning and scikit-learn beside libpaco: python examples/lightning/train.py [--steps N]
"""

import argparse

import paco.torchvision_compat  # noqa: F401  # isort: skip
import torch
from lightning import LightningModule, Trainer
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from paco import longtail, metrics
from paco.nn import ClassCenters, FeatureQueue, MomentumEncoder, PaCoLoss, TrainingStep

WIDTH, DIM, QUEUE = 64, 32, 256  # papers: DIM 128, QUEUE 8192


def long_tailed_digits() -> tuple[TensorDataset, TensorDataset]:
    """A training set of 110 zeros down to 2 nines, and a test set of 60 of each digit."""
    digits = load_digits()
    images = torch.tensor(digits.images / 8 - 1, dtype=torch.float32)[:, None]
    labels = torch.tensor(digits.target)
    is_test = torch.zeros(len(labels), dtype=torch.bool)
    is_test[longtail.long_tailed_subset(labels, [60] * 10, seed=0)] = True
    test = TensorDataset(images[is_test], labels[is_test])
    images, labels = images[~is_test], labels[~is_test]
    profile = longtail.exponential_profile(110, 10, imbalance_factor=50)
    chosen = longtail.long_tailed_subset(labels, profile, seed=0)
    return TensorDataset(images[chosen], labels[chosen]), test


def random_view(images: Tensor) -> Tensor:
    """Each image [1, H, W] of a batch, a little rotated, scaled and shifted."""
    angle, scale, dx, dy = torch.empty(4, len(images), device=images.device).uniform_(-0.2, 0.2)
    cos, sin = (1 + scale) * torch.cos(angle), (1 + scale) * torch.sin(angle)
    theta = torch.stack([cos, -sin, dx, sin, cos, dy], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


class PaCo(LightningModule):
    def __init__(self, class_counts: Tensor) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs, stride in [(1, 32, 1), (32, WIDTH, 2), (WIDTH, WIDTH, 2)]:
            convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]
        self.backbone = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        hidden = [nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU()]
        self.projector = nn.Sequential(*hidden, nn.Linear(WIDTH, DIM))
        encoder = nn.Sequential(self.backbone, self.projector)
        self.key_encoder = MomentumEncoder(encoder, momentum=0.99)  # papers: 0.999
        centers = ClassCenters(WIDTH, len(class_counts))
        centers.set_class_counts(class_counts)
        # Where several processes train, each enqueues the keys of all.
        self.step = TrainingStep(PaCoLoss(0.05, temperature=0.2), FeatureQueue(QUEUE, DIM), centers)
        self.class_counts = class_counts
        self.predictions, self.labels = [], []

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, y = batch
        pooled = self.backbone(random_view(images))
        self.key_encoder.update(nn.Sequential(self.backbone, self.projector))
        keys = self.key_encoder(random_view(images))
        loss = self.step(self.projector(pooled), keys, pooled, y)
        self.log("loss", loss, prog_bar=True)
        return loss

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, y = batch
        self.predictions.append(self.step.predict(self.backbone(images)).argmax(dim=1).cpu())
        self.labels.append(y.cpu())

    def on_test_epoch_end(self) -> None:
        predictions, labels = torch.cat(self.predictions), torch.cat(self.labels)
        accuracy = metrics.grouped_accuracy(predictions, labels, self.class_counts)
        self.log_dict({name: 100 * value for name, value in accuracy.items()})
        self.predictions, self.labels = [], []

    def configure_optimizers(self) -> dict:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            optimizer, self.trainer.estimated_stepping_batches
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000)
    steps = parser.parse_args().steps
    train, test = long_tailed_digits()
    model = PaCo(longtail.class_counts(train.tensors[1], num_classes=10))
    trainer = Trainer(max_epochs=1, logger=False, enable_checkpointing=False)
    sampler = RandomSampler(train, num_samples=32 * steps)  # one long epoch
    trainer.fit(model, DataLoader(train, batch_size=32, sampler=sampler))
    trainer.test(model, DataLoader(test, batch_size=200))


if __name__ == "__main__":
    main()
