# CIFAR-100-LT, one view: random crop, flip, AutoAugment, cutout.
data_preprocessor = dict(
    mean=[125.307, 122.961, 113.8575],  # (.4914, .4822, .4465) of 255
    std=[51.5865, 50.847, 51.255],  # (.2023, .1994, .2010) of 255
    to_rgb=False,  # the images are RGB already
)

autoaug_cutout = [
    dict(type="NumpyToPIL"),
    dict(type="torchvision/RandomCrop", size=32, padding=4),
    dict(type="torchvision/RandomHorizontalFlip"),
    dict(type="CIFAR10Policy"),
    dict(type="PILToNumpy"),
    # A black hole, as in the published code, which cuts before it normalises.
    dict(type="SquareCutout", size=16),
]

train_dataloader = dict(
    batch_size=128,
    num_workers=2,
    # Fresh workers, seeded for the epoch, so that a resumed run repeats their draws.
    persistent_workers=False,
    worker_init_fn=dict(type="seed_worker"),
    drop_last=True,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="CIFAR100LT",
        data_root="data/cifar100",
        split="train",
        imbalance_factor=100,
        pipeline=[*autoaug_cutout, dict(type="PackInputs")],
    ),
)
val_dataloader = dict(
    batch_size=256,
    num_workers=2,
    persistent_workers=False,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="CIFAR100LT",
        data_root="data/cifar100",
        split="test",
        pipeline=[dict(type="PackInputs")],
    ),
)
val_evaluator = dict(type="LongTailMetric")
test_dataloader = val_dataloader
test_evaluator = val_evaluator
