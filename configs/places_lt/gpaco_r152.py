_base_ = [
    "../_base_/models/resnet50_gpaco.py",
    "../_base_/datasets/places_lt.py",
    "../_base_/schedules/places_30e.py",
    "../_base_/default_runtime.py",
]

model = dict(
    backbone=dict(
        type="LastBlockResNet",
        depth=152,
        init_cfg=dict(type="Pretrained", checkpoint="torchvision://resnet152"),
    ),
    head=dict(num_classes=365, loss=dict(alpha=0.02)),
)
