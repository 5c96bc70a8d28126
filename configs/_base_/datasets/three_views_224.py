# Two views of 224 x 224 to contrast, beside the classifier's, in the ways of BCL's and ProCo's
# recipes: without blur, and with or without RandAugment. For a data set that has its own file.
jittered_224 = [
    dict(type="NumpyToPIL", to_rgb=True),
    dict(type="torchvision/RandomResizedCrop", size=224),  # scale .08 to 1
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
    dict(type="PILToNumpy", to_bgr=True),
]
