# Two views of 224 x 224 in the ways of PaCo's and GPaCo's ImageNet recipes. A data set adds itself.
data_preprocessor = dict(
    mean=[123.675, 116.28, 103.53],  # (.485, .456, .406) of 255
    std=[58.395, 57.12, 57.375],  # (.229, .224, .225) of 255
    to_rgb=True,
)

# The RandAugment of EfficientNet's TPU code, whose levels of some operations grow milder: level 10
# of 10 posterizes to 4 bits and hardly solarizes. The toolbox's timm_increasing, where they grow
# stronger, would black an image out.
rand_augment = dict(
    type="RandAugment",
    policies=[
        dict(type="AutoContrast"),
        dict(type="Equalize"),
        dict(type="Invert"),
        dict(type="Rotate", magnitude_range=(0, 30)),
        dict(type="Posterize", magnitude_range=(0, 4)),
        dict(type="Solarize", magnitude_range=(0, 256)),
        dict(type="SolarizeAdd", magnitude_range=(0, 110)),
        dict(type="ColorTransform", magnitude_range=(-0.9, 0.9), random_negative_prob=0.0),
        dict(type="Contrast", magnitude_range=(-0.9, 0.9), random_negative_prob=0.0),
        dict(type="Brightness", magnitude_range=(-0.9, 0.9), random_negative_prob=0.0),
        dict(type="Sharpness", magnitude_range=(-0.9, 0.9), random_negative_prob=0.0),
        dict(type="Shear", magnitude_range=(0, 0.3), direction="horizontal"),
        dict(type="Shear", magnitude_range=(0, 0.3), direction="vertical"),
        dict(type="Translate", magnitude_range=(0, 0.45), direction="horizontal"),
        dict(type="Translate", magnitude_range=(0, 0.45), direction="vertical"),
    ],
    num_policies=2,
    magnitude_level=10,
    magnitude_std=0.5,
    hparams=dict(pad_val=(104, 116, 124), interpolation="bilinear"),  # the mean, BGR
)

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

train_dataloader = dict(
    batch_size=32,  # on each of 4 processes
    num_workers=8,
    # Fresh workers, seeded for the epoch, so that a resumed run repeats their draws.
    persistent_workers=False,
    worker_init_fn=dict(type="seed_worker"),
    drop_last=True,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="MultiView", num_views=[1, 1], transforms=[randcls, sim]),
            dict(type="PackInputs"),
        ]
    ),
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
