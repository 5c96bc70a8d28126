"""Repeats what examples/cpp/train recorded: python check_training.py RUN.pt TRAINED.pt

From the same initial state and the same batches Python's modules must give the same losses, to
1e-5, and with the state that C++ saved the same predictions.
"""

import copy
import sys

import torch
import torch.jit._pickle
from torch import Tensor, nn
from torch.nn import functional as F

from paco.nn import ClassCenters, FeatureQueue, PaCoLoss, momentum_update_

DIM, WIDTH, CLASSES, STEPS = 32, 64, 10, 20


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers, channels = [], 1
        for width, stride in [(32, 1), (64, 2), (WIDTH, 1)]:
            layers += [nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)]
            layers += [nn.ReLU()]
            channels = width
        self.backbone = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.projector = nn.Sequential(
            nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU(), nn.Linear(WIDTH, DIM)
        )

    def project(self, pooled: Tensor) -> Tensor:
        return F.normalize(self.projector(pooled), dim=1)


class Key(nn.Module):
    def __init__(self, query: Encoder) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(query).requires_grad_(False)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query = Encoder()
        self.key = Key(self.query)
        self.centers = ClassCenters(WIDTH, CLASSES)
        self.queue = FeatureQueue(256, DIM)
        self.loss = PaCoLoss(alpha=0.05, temperature=0.1)

    def training_step(self, query_view: Tensor, key_view: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            key = self.key.encoder
            momentum_update_(list(key.parameters()), list(self.query.parameters()), 0.99)
            keys = key.project(key.backbone(key_view))
        pooled = self.query.backbone(query_view)
        loss = self.loss(
            torch.cat([self.query.project(pooled), keys]),
            torch.cat([labels, labels]),
            self.centers(pooled),
            self.queue.features,
            self.queue.labels,
            num_anchors=len(labels),
            queue_size=self.queue.num_valid,
        )
        self.queue.enqueue(keys, labels)
        return loss


def main() -> None:
    # What C++ puts around a dictionary to say of which types it is.
    with torch.serialization.safe_globals([torch.jit._pickle.restore_type_tag]):
        run = torch.load(sys.argv[1], weights_only=True)
    model = Model()
    model.load_state_dict(
        {name[8:]: value for name, value in run.items() if name.startswith("initial.")}
    )
    parameters = [*model.query.parameters(), *model.centers.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=5e-4)
    for i in range(STEPS):
        step = {name: run[f"step {i}.{name}"] for name in ("query_view", "key_view", "labels")}
        optimizer.param_groups[0]["lr"] = run[f"step {i}.lr"].item()
        loss = model.training_step(**step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        expected = run[f"step {i}.loss"].item()
        difference = abs(loss.item() - expected)
        print(f"step {i}: C++ {expected:.7f}, Python {loss.item():.7f}")
        assert difference <= 1e-5 * abs(expected), difference

    model.load_state_dict(torch.jit.load(sys.argv[2]).state_dict())
    with torch.no_grad():
        logits = model.eval().centers.predict(model.query.backbone(run["test.images"]))
    torch.testing.assert_close(logits, run["test.logits"], rtol=1e-5, atol=1e-5)
    print("C++ and Python train alike")


if __name__ == "__main__":
    main()
