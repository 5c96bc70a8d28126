# CIFAR-100-LT, two views: for anchors that of the one-view pipeline, for keys SimCLR's.
_base_ = "./cifar100_lt.py"

sim32 = [
    dict(type="NumpyToPIL"),
    dict(type="torchvision/RandomResizedCrop", size=32, scale=(0.2, 1.0)),
    dict(type="torchvision/RandomHorizontalFlip"),
    dict(
        type="RandomApply",
        prob=0.8,
        # The toolbox's own takes images for BGR, and its hue fails under numpy 2 (mmcv 2.2).
        transforms=[
            dict(
                type="torchvision/ColorJitter",
                brightness=0.4,
                contrast=0.4,
                saturation=0.4,
                hue=0.1,
            )
        ],
    ),
    dict(type="torchvision/RandomGrayscale", p=0.2),
    dict(type="PILToNumpy"),
    dict(type="GaussianBlur", magnitude_range=(0.1, 2.0), magnitude_std="inf", prob=0.5),
]

views = dict(type="ContrastViews", views=[_base_.autoaug_cutout, sim32])
train_dataloader = dict(dataset=dict(pipeline=[views]))
