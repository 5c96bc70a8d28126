# Two views of 224 x 224 in the ways of PaCo's and GPaCo's ImageNet recipes. A data set adds itself.
data_preprocessor = dict(
    mean=[123.675, 116.28, 103.53],  # (.485, .456, .406) of 255
    std=[58.395, 57.12, 57.375],  # (.229, .224, .225) of 255
    to_rgb=True,
)

rand_augment = dict(type="EfficientNetRandAugment", num_policies=2, magnitude_level=10)

crop_flip_jitter = [
    dict(type="NumpyToPIL", to_rgb=True),
    dict(type="torchvision/RandomResizedCrop", size=224),  # scale .08 to 1
    dict(type="torchvision/RandomHorizontalFlip"),
    dict(type="torchvision/ColorJitter", brightness=0.4, contrast=0.4, saturation=0.4),
]
grey_blur = [
    dict(type="torchvision/RandomGrayscale", p=0.2),
    dict(type="PILToNumpy", to_bgr=True),
    dict(type="GaussianBlur", magnitude_range=(0.1, 2.0), magnitude_std="inf", prob=0.5),
]

randcls = [*crop_flip_jitter, dict(type="PILToNumpy", to_bgr=True), rand_augment]
sim = [*crop_flip_jitter, *grey_blur]
randclsstack = [*crop_flip_jitter, *grey_blur, rand_augment]
views = dict(type="ContrastViews", views=[randcls, sim])

train_dataloader = dict(
    batch_size=32,  # on each of 4 processes
    num_workers=8,
    # Fresh workers, seeded for the epoch, so that a resumed run repeats their draws.
    persistent_workers=False,
    worker_init_fn=dict(type="seed_worker"),
    drop_last=True,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(pipeline=[views]),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=8,
    persistent_workers=False,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="ResizeEdge", scale=256, backend="pillow"),
            dict(type="CenterCrop", crop_size=224),
            dict(type="PackInputs"),
        ]
    ),
)
val_evaluator = dict(type="LongTailMetric")
test_dataloader = val_dataloader
test_evaluator = val_evaluator
