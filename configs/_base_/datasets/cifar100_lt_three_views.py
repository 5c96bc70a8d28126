# CIFAR-100-LT, three views: that of the one-view pipeline for the classifier, two of SimCLR to
# contrast.
_base_ = "./cifar100_lt.py"

simclr32 = [
    dict(type="NumpyToPIL"),
    dict(type="torchvision/RandomResizedCrop", size=32),  # scale .08 to 1
    dict(type="torchvision/RandomHorizontalFlip"),
    dict(
        type="RandomApply",
        prob=0.8,
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
]

views = dict(type="ContrastViews", views=[simclr32, simclr32], classification=_base_.autoaug_cutout)
train_dataloader = dict(batch_size=256, dataset=dict(pipeline=[views]))
