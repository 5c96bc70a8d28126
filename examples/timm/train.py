"""GPaCo with timm's models, augmentation, optimizers and schedules, on long-tailed digits.

Needs timm and scikit-learn beside libpaco: python examples/timm/train.py [--steps N]
"""

import argparse

import paco.torchvision_compat  # noqa: F401  # isort: skip
import timm
import torch
from PIL import Image
from sklearn.datasets import load_digits
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler

from paco import longtail, metrics
from paco.nn import ClassCenters, FeatureQueue, PaCoLoss, TrainingStep

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BATCH, DIM, QUEUE, SIZE = 32, 64, 256, 32  # papers: DIM 128, QUEUE 8192, SIZE 224


class LongTailedDigits(Dataset):
    """Training images, 110 zeros down to 2 nines, or 60 test images of each digit."""

    def __init__(self, train: bool, views: list) -> None:
        digits = load_digits()
        labels = torch.tensor(digits.target)
        is_test = torch.zeros(len(labels), dtype=torch.bool)
        is_test[longtail.long_tailed_subset(labels, [60] * 10, seed=0)] = True
        chosen = (is_test != train).nonzero().flatten()
        if train:
            profile = longtail.exponential_profile(110, 10, imbalance_factor=50)
            chosen = chosen[longtail.long_tailed_subset(labels[chosen], profile, seed=0)]
        pixels = (digits.images[chosen] * (255 / 16)).round().astype("uint8")
        self.images = [Image.fromarray(image).convert("RGB") for image in pixels]
        self.labels = labels[chosen]
        self.views = views

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, ...]:
        return *(view(self.images[i]) for view in self.views), self.labels[i]


class Model(nn.Module):
    """A backbone, GPaCo's projector (no BatchNorm) and its step."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.backbone = timm.create_model(name, num_classes=0)
        width = self.backbone.num_features
        hidden = [nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
        self.projector = nn.Sequential(*hidden, nn.Linear(width, DIM))
        loss = PaCoLoss(alpha=0.05, temperature=0.2)
        self.step = TrainingStep(loss, FeatureQueue(QUEUE, DIM), ClassCenters(width, 10))

    def forward(self, images: Tensor) -> Tensor:
        return self.step.predict(self.backbone(images))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet10t", help="a model of timm's")
    parser.add_argument("--steps", type=int, default=400)
    args = parser.parse_args()

    # A mirrored digit is none; otherwise the usual augmentation, twice.
    view = timm.data.create_transform(
        SIZE, is_training=True, scale=(0.6, 1), hflip=0, auto_augment="rand-m9-mstd0.5"
    )
    dataset = LongTailedDigits(train=True, views=[view, view])
    sampler = RandomSampler(dataset, num_samples=args.steps * BATCH)
    counts = longtail.class_counts(dataset.labels, num_classes=10)
    model = Model(args.model).to(DEVICE)
    model.step.centers.set_class_counts(counts)

    optimizer = create_optimizer_v2(model, opt="sgd", lr=0.05, weight_decay=5e-4)
    scheduler, _ = create_scheduler_v2(
        optimizer, "cosine", args.steps, warmup_epochs=0, step_on_epochs=False, updates_per_epoch=1
    )
    for step, batch in enumerate(DataLoader(dataset, BATCH, sampler=sampler), 1):
        anchor_view, key_view, y = (x.to(DEVICE) for x in batch)
        # One encoder sees both views, and each of the 2 BATCH rows is an anchor.
        pooled = torch.cat([model.backbone(anchor_view), model.backbone(key_view)])
        queries, keys = model.projector(pooled).chunk(2)
        loss = model.step(queries, keys, pooled, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step_update(step)
        if step % 20 == 0 or step == args.steps:
            print(f"step {step}: loss {loss.item():.3f}")

    test_view = timm.data.create_transform(SIZE, crop_pct=1)
    model.eval()
    loader = DataLoader(LongTailedDigits(train=False, views=[test_view]), batch_size=200)
    with torch.no_grad():
        predictions = torch.cat([model(x.to(DEVICE)).argmax(dim=1).cpu() for x, _ in loader])
    accuracy = metrics.grouped_accuracy(predictions, loader.dataset.labels, counts)
    print(", ".join(f"{name} {100 * value:.1f} %" for name, value in accuracy.items()))


if __name__ == "__main__":
    main()
