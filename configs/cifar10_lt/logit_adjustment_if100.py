_base_ = "../cifar100_lt/logit_adjustment_if100.py"

images = dict(type="CIFAR10LT", data_root="data/cifar10")

model = dict(head=dict(num_classes=10))
train_dataloader = dict(dataset=images)
val_dataloader = dict(dataset=images)
test_dataloader = val_dataloader

param_scheduler = [
    dict(_base_.param_scheduler[0], start_factor=1 / 20, end=20),
    dict(_base_.param_scheduler[1], milestones=[604, 926, 1128]),
]
train_cfg = dict(max_epochs=1241)
