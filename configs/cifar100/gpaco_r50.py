_base_ = "../cifar100_lt/gpaco_if100.py"

model = dict(
    backbone=dict(_delete_=True, type="ResNet_CIFAR", depth=50, zero_init_residual=False),
    head=dict(
        in_channels=2048,
        feat_channels=128,
        projector=dict(kaiming_last=False),
        loss=dict(temperature=0.07),
    ),
)

sim32 = [*_base_.sim32[:-1], dict(_base_.sim32[-1], prob=0.5)]
views = dict(type="ContrastViews", views=[sim32, sim32])
train_dataloader = dict(dataset=dict(imbalance_factor=1, pipeline=[views]))
