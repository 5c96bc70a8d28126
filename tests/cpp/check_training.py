"""Repeats what examples/cpp/train recorded: python check_training.py RUN.pt TRAINED.pt

From the same initial state and the same batches Python's modules must give the same losses, to
1e-5, and with the state that C++ saved the same predictions.
"""

import sys

import torch
import torch.jit._pickle
from torch import Tensor, nn

from paco.nn import ClassCenters, FeatureQueue, MomentumEncoder, PaCoLoss, TrainingStep

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

    def forward(self, images: Tensor) -> Tensor:
        return self.projector(self.backbone(images))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query = Encoder()
        self.key = MomentumEncoder(self.query, 0.99)
        self.step = TrainingStep(
            PaCoLoss(alpha=0.05, temperature=0.1),
            FeatureQueue(256, DIM),
            ClassCenters(WIDTH, CLASSES),
        )

    def training_step(self, query_view: Tensor, key_view: Tensor, labels: Tensor) -> Tensor:
        self.key.update(self.query)
        pooled = self.query.backbone(query_view)
        return self.step(self.query.projector(pooled), self.key(key_view), pooled, labels)


def main() -> None:
    # C++ puts a tag around a dictionary that says of which types it is.
    with torch.serialization.safe_globals([torch.jit._pickle.restore_type_tag]):
        run = torch.load(sys.argv[1], weights_only=True)
    model = Model()
    model.load_state_dict(
        {name[8:]: value for name, value in run.items() if name.startswith("initial.")}
    )
    parameters = [*model.query.parameters(), *model.step.centers.parameters()]
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
        logits = model.eval().step.predict(model.query.backbone(run["test.images"]))
    torch.testing.assert_close(logits, run["test.logits"], rtol=1e-5, atol=1e-5)
    print("C++ and Python train alike")


if __name__ == "__main__":
    main()
